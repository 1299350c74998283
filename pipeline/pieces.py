"""The pieces of a thread: sentences and lines that its words, and so its evidence, are traced to.

The pieces of a segment make up its whole text and are parted at white space only, so that words
counted piece by piece are the words of the text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.channels import Segment

SHORT = 30  # characters that a sentence needs to stand alone
LONG = 120  # characters after which a piece ends at the next white space
WINDOWS = ("context", "code_context")  # channels that repeat the text of others
GAP = re.compile(r"\s+")
WORD = re.compile(r"\w\w+")
Host = tuple[int, set[str]]  # the number and the words of a piece


@dataclass(frozen=True, slots=True)
class Slice:
    """Characters `start` to `end` of a segment's text, and the number of the piece they belong to."""

    start: int
    end: int
    piece: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """The pieces of a document, (position of the post or None, text), and the slices of each segment.

    A window around a keyword repeats a post, so its slices belong to the pieces of that post which
    share the most words with them.
    """

    texts: tuple[tuple[int | None, str], ...]
    slices: tuple[tuple[Slice, ...], ...]

    def at(self, segment: int, place: int) -> int:
        """Return the piece of the character at `place` of a segment."""
        return next(one.piece for one in reversed(self.slices[segment]) if one.start <= place)


def pieces_of(segments: Sequence[Segment]) -> Pieces:
    """Cut the segments of a document into pieces."""
    texts: list[tuple[int | None, str]] = []
    slices: list[tuple[Slice, ...]] = [()] * len(segments)
    for number, segment in enumerate(segments):
        if segment.channel not in WINDOWS:
            slices[number] = tuple(_slices(segment, [], texts))
    hosts = _hosts(texts)
    for number, segment in enumerate(segments):
        if segment.channel in WINDOWS:
            slices[number] = tuple(_slices(segment, hosts[segment.position], texts))
    return Pieces(tuple(texts), tuple(slices))


def _hosts(texts: Sequence[tuple[int | None, str]]) -> Mapping[int | None, list[Host]]:
    """Return the pieces of each post with their words."""
    hosts: dict[int | None, list[Host]] = defaultdict(list)
    for piece, (position, text) in enumerate(texts):
        hosts[position].append((piece, set(WORD.findall(text))))
    return hosts


def _slices(segment: Segment, hosts: Sequence[Host], texts: list[tuple[int | None, str]]) -> Iterator[Slice]:
    """Yield the slices of a segment; one that no host shares a word with is a piece of its own."""
    for start, end in _cuts(segment.text):
        text = segment.text[start:end]
        words = set(WORD.findall(text)) if hosts else set()
        shared, host = max(((len(words & other), -piece) for piece, other in hosts), default=(0, 0))
        if not shared:
            texts.append((segment.position, text))
        yield Slice(start, end, -host if shared else len(texts) - 1)


def _cuts(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for gap in GAP.finditer(text):
        length = gap.start() - start
        ended = "\n" in gap.group() or text[gap.start() - 1 : gap.start()] in tuple(".!?")
        if length >= LONG or (length >= SHORT and ended):
            yield start, gap.end()
            start = gap.end()
    if start < len(text):
        yield start, len(text)
