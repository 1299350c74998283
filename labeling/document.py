"""A thread as wrapped lines for the annotation screen: prose, code and quotes told apart, keywords marked.

Pure and quick: each line knows which characters of which post it shows, so that evidence can be
marked on the screen and kept as offsets. Text is made printable here, piece by piece.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from db.threads import Thread
from pipeline.channels import is_log_line
from pipeline.keywords import KeywordMatcher
from pipeline.terminal import printable
from pipeline.text import to_text

HEAD, MATCH, DIM = "head", "match", "dim"
FENCE = re.compile(r" {0,3}(```|~~~)")
QUOTE = re.compile(r" {0,3}>(?!>> )")  # and no prompt of Python
INDENTED = (" ", "\t")  # below a line of a log it is more of it: a frame's code, a message's rest
LONGEST_TITLE = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the screen: (text, style) pieces; styles are head, prose, code, match and dim.

    `post`, `start` and `end` say what it shows: characters of a post's text, or no post's. `is_log` marks
    a line of a log or traceback, fenced or not.
    """

    pieces: tuple[tuple[str, str], ...]
    post: int | None = None
    start: int = 0
    end: int = 0
    is_log: bool = False

    @property
    def text(self) -> str:
        """The whole line."""
        return "".join(text for text, _ in self.pieces)


@dataclass(frozen=True, slots=True)
class Document:
    """The lines of a thread, those at which a post begins, and those with a keyword."""

    lines: tuple[Line, ...]
    post_lines: tuple[int, ...] = ()
    match_lines: tuple[int, ...] = ()

    def hits(self, words: str) -> list[int]:
        """Return the lines that hold the words, whatever their case."""
        wanted = words.casefold()
        return [number for number, line in enumerate(self.lines) if wanted in line.text.casefold()]

    def find(self, words: str, after: int) -> int | None:
        """Return the next line after `after` that holds the words, from the top again at the end."""
        hits = self.hits(words)
        return next((number for number in hits if number > after), hits[0] if hits else None)

    def line_of(self, post: int, offset: int) -> int:
        """Return the line that shows a character of a post, or else the one after it."""
        for number, line in enumerate(self.lines):
            if line.post is not None and (line.post > post or (line.post == post and line.end > offset)):
                return number
        return max(len(self.lines) - 1, 0)


def notice(message: str, width: int) -> Document:
    """Return a message in place of a thread."""
    return Document(tuple(Line(((part, HEAD),)) for part in wrap(printable(message), max(width, 20))))


def to_document(thread: Thread, keywords: KeywordMatcher, width: int) -> Document:
    """Return the thread wrapped to `width` cells (at least 20)."""
    width = max(width, 20)
    lines: list[Line] = [
        Line(((part, HEAD),)) for part in wrap(printable(thread.title[:LONGEST_TITLE]), width)
    ]
    lines.append(Line(((printable(thread.url)[:width], HEAD),)))
    post_lines = []
    for post in thread.posts:
        post_lines.append(len(lines))
        accepted = " · accepted" if post.accepted else ""
        lines.append(Line(((f"── {post.position} {post.role}{accepted} "[:width].ljust(width, "─"), HEAD),)))
        text = to_text(post.body, post.body_format)
        marks = [(match.start, match.end) for match in keywords.find(text.plain)]
        styles = _styles(text.code, marks)
        lines += _lines(post.position, text.plain, styles, width, post.body_format == "markdown")
    return Document(tuple(lines), tuple(post_lines), lines_with_keywords(lines))


def lines_with_keywords(lines: Sequence[Line]) -> tuple[int, ...]:
    """Return the numbers of the lines with a keyword."""
    return tuple(
        number for number, line in enumerate(lines) if any(style == MATCH for _, style in line.pieces)
    )


def _styles(code: tuple[tuple[int, int], ...], marks: list[tuple[int, int]]) -> list[tuple[int, str]]:
    """Return where each style begins, in order; a keyword stands out from both prose and code."""
    changes = [(0, "prose")]
    borders = sorted({0, *(edge for span in (*code, *marks) for edge in span)})
    code_starts, mark_starts = [start for start, _ in code], [start for start, _ in marks]
    for border in borders:
        style = "prose"
        if _inside(border, code, code_starts):
            style = "code"
        if _inside(border, marks, mark_starts):
            style = MATCH
        changes.append((border, style))
    return changes


def _inside(
    offset: int, spans: tuple[tuple[int, int], ...] | list[tuple[int, int]], starts: list[int]
) -> bool:
    index = bisect_right(starts, offset) - 1
    return index >= 0 and offset < spans[index][1]


def _lines(
    post: int, text: str, styles: list[tuple[int, str]], width: int, is_markdown: bool
) -> Iterator[Line]:
    starts = [start for start, _ in styles]
    position, is_log = 0, False
    for paragraph in text.split("\n"):
        end = position + len(paragraph)
        is_log = is_log_line(paragraph) or (is_log and paragraph.startswith(INDENTED))
        is_dim = is_markdown and _is_dim(paragraph, styles[bisect_right(starts, position) - 1][1])
        for start, stop in _wrapped(paragraph, position, width):
            pieces = _pieces(text, start, stop, styles, starts)
            if is_dim:
                pieces = ((piece, style if style == MATCH else DIM) for piece, style in pieces)
            yield Line(tuple(pieces), post, start, stop, is_log)
        position = end + 1


def _is_dim(paragraph: str, style: str) -> bool:
    """Say whether a line of Markdown quotes another post, or is the fence around code."""
    return (FENCE if style == "code" else QUOTE).match(paragraph) is not None


def _wrapped(paragraph: str, position: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the offsets of each line of a paragraph: broken at the last space that fits, else hard."""
    start, narrow = 0, paragraph.isascii()
    while len(paragraph) - start > width or not narrow:
        stop = _fitting(paragraph, start, width)
        if stop >= len(paragraph):
            break
        space = paragraph.rfind(" ", start + width // 3, stop + 1)
        stop = space + 1 if space > 0 else stop
        yield position + start, position + stop
        start = stop
    yield position + start, position + len(paragraph)


def _fitting(paragraph: str, start: int, width: int) -> int:
    """Return where the text that fits into `width` cells ends; wide characters take two cells."""
    window = paragraph[start : start + width]
    if window.isascii():
        return start + width
    from rich.cells import cell_len

    while cell_len(window) > width and len(window) > 1:
        window = window[: max(1, len(window) - max(1, (cell_len(window) - width) // 2))]
    return start + len(window)


def _pieces(
    text: str, start: int, stop: int, styles: list[tuple[int, str]], starts: list[int]
) -> Iterator[tuple[str, str]]:
    index = bisect_right(starts, start) - 1
    while start < stop:
        following = starts[index + 1] if index + 1 < len(starts) else stop
        end = min(stop, following)
        if end > start:
            yield printable(text[start:end]).replace("\t", "    ").replace("\n", " "), styles[index][1]
        start, index = max(start, end), index + 1
