"""A thread as wrapped lines for the annotation screen: prose and code told apart, keywords marked.

Pure and quick: each line knows which characters of which post it shows, so that evidence can be
marked on the screen and kept as offsets. Text is made printable here, piece by piece.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from textwrap import wrap

from db.threads import Thread
from pipeline.keywords import KeywordMatcher
from pipeline.terminal import printable
from pipeline.text import to_text

HEAD = "head"
LONGEST_TITLE = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the screen: (text, style) pieces; styles are head, prose, code and match.

    `post`, `start` and `end` say what it shows: characters of a post's text, or no post's.
    """

    pieces: tuple[tuple[str, str], ...]
    post: int | None = None
    start: int = 0
    end: int = 0

    @property
    def text(self) -> str:
        """The whole line."""
        return "".join(text for text, _ in self.pieces)


@dataclass(frozen=True, slots=True)
class Document:
    """The lines of a thread and the line at which each post begins."""

    lines: tuple[Line, ...]
    post_lines: tuple[int, ...] = field(default=())

    def find(self, words: str, after: int) -> int | None:
        """Return the next line after `after` that holds the words, from the top again at the end."""
        wanted = words.casefold()
        hits = [number for number, line in enumerate(self.lines) if wanted in line.text.casefold()]
        return next((number for number in hits if number > after), hits[0] if hits else None)


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
        lines += _lines(post.position, text.plain, _styles(text.code, marks), width)
    return Document(tuple(lines), tuple(post_lines))


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
            style = "match"
        changes.append((border, style))
    return changes


def _inside(
    offset: int, spans: tuple[tuple[int, int], ...] | list[tuple[int, int]], starts: list[int]
) -> bool:
    index = bisect_right(starts, offset) - 1
    return index >= 0 and offset < spans[index][1]


def _lines(post: int, text: str, styles: list[tuple[int, str]], width: int) -> Iterator[Line]:
    starts = [start for start, _ in styles]
    position = 0
    for paragraph in text.split("\n"):
        end = position + len(paragraph)
        for start, stop in _wrapped(paragraph, position, width):
            yield Line(tuple(_pieces(text, start, stop, styles, starts)), post, start, stop)
        position = end + 1


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
