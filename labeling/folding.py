"""Long code and logs of a thread, folded to how they begin, how they end, and their keywords."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from labeling.document import DIM, HEAD, MATCH, Document, Line, lines_with_keywords

LONGEST = 16  # lines of code or of a log that are shown whole
FIRST, LAST = 6, 4  # lines that stay of a longer one: a traceback names its error in the last
AROUND = 1  # lines that stay before and after one with a keyword
FEWEST = 3  # lines worth hiding


def folded(document: Document) -> Document:
    """Return the document with a line in place of what is hidden of each long block of code or log."""
    lines: list[Line] = []
    numbers: list[int] = []  # of each line of the document, where it is now
    hidden = {first: last for block in _blocks(document.lines) for first, last in _gaps(document, *block)}
    until = -1
    for number, line in enumerate(document.lines):
        if number in hidden:
            until = hidden[number]
            lines.append(_fold(line, until - number))
        if number >= until:
            lines.append(line)
        numbers.append(len(lines) - 1)
    posts = tuple(numbers[number] for number in document.post_lines)
    return Document(tuple(lines), posts, lines_with_keywords(lines))


def _fold(line: Line, count: int) -> Line:
    return Line(((f"    ⋯ {count} more lines, z shows them", DIM),), line.post, line.start, line.start)


def _blocks(lines: Sequence[Line]) -> Iterator[tuple[int, int]]:
    """Yield where each run of lines of code or log begins and ends; empty lines within belong to it."""
    first = last = None
    for number, line in enumerate((*lines, Line((("", HEAD),)))):
        if _can_be_folded(line):
            first, last = number if first is None else first, number
        elif line.pieces and first is not None and last is not None:
            yield first, last + 1
            first = None


def _can_be_folded(line: Line) -> bool:
    styles = {style for _, style in line.pieces}
    return line.is_log or ("code" in styles and styles <= {"code", MATCH})


def _gaps(document: Document, first: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield what to hide of a block: the lines from one that stays to the next one that does."""
    if end - first <= LONGEST:
        return
    kept = {*range(first, first + FIRST), *range(end - LAST, end)}
    for match in document.match_lines:
        kept |= set(range(max(first, match - AROUND), min(end, match + AROUND + 1)))
    order = sorted(kept)
    for before, after in pairwise(order):
        if after - before - 1 >= FEWEST:
            yield before + 1, after
