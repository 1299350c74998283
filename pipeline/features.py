"""Documents to numbers: hashed counts a channel, facts, and the cues that hit.

Hashing needs no vocabulary, so a document's counts depend on the document alone and can be cached
by its content; what depends on the training set (document frequencies) is applied afterwards.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from pipeline.channels import Segment
from pipeline.dataset import FACTS, Document
from pipeline.pieces import Pieces, pieces_of
from pipeline.rules import Rules
from pipeline.tokens import tokens_of

FEATURES_VERSION = 3  # goes up when any count or piece of any document changes
WIDTH = 2**18  # columns a block
HEAD = 6_000  # characters of a channel that character n-grams are counted in
Floats = np.ndarray[Any, np.dtype[np.float64]]
Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Block:
    """A block of columns: the n-grams of some channels."""

    name: str
    channels: tuple[str, ...]
    analyzer: str
    ngrams: tuple[int, int]


BLOCKS = (
    Block("title words", ("title",), "word", (1, 2)),
    Block("title characters", ("title",), "char_wb", (3, 5)),
    Block("question words", ("prose",), "word", (1, 2)),
    Block("question characters", ("prose",), "char_wb", (4, 4)),
    Block("code words", ("code",), "word", (1, 1)),
    Block("log words", ("log",), "word", (1, 1)),
    Block("reply words", ("replies",), "word", (1, 2)),
    Block("answer words", ("answer",), "word", (1, 2)),
    Block("context words", ("context",), "word", (1, 2)),
    Block("code context words", ("code_context",), "word", (1, 2)),
    Block("tags", ("tags",), "tags", (1, 1)),
)
COLUMNS = WIDTH * len(BLOCKS)
NOWHERE = 2**16 - 1  # the piece of what is said nowhere in particular


@dataclass(frozen=True, slots=True)
class Features:
    """The features of n documents: `counts` (n × COLUMNS, sparse), `facts` (n × FACTS), `cues` (n × cues)."""

    counts: csr_matrix
    facts: Floats
    cues: Floats

    def __len__(self) -> int:
        return int(self.facts.shape[0])

    def take(self, rows: Any) -> Features:
        """Return the features of the rows named by indices or a mask."""
        return Features(self.counts[rows], self.facts[rows], self.cues[rows])


@dataclass(frozen=True, slots=True)
class Trace:
    """Which piece of a document each of its counts is met in first, and each cue that hit hits in.

    `counts` runs along the row's columns that are not zero, `cues` along its cues in order; both number
    the `pieces`, which are (position of the post or None, text). NOWHERE stands for the whole thread.
    """

    pieces: tuple[tuple[int | None, str], ...]
    counts: Numbers
    cues: Numbers


def extract(documents: Sequence[Document], rules: Rules) -> tuple[Features, list[Trace]]:
    """Count everything in some documents; also return which piece each count and cue comes from."""
    cut = [pieces_of(document.segments) for document in documents]
    cues = np.zeros((len(documents), len(rules.cues)))
    facts = np.array([document.facts for document in documents]).reshape(-1, len(FACTS))
    counts, firsts = _counted(documents, cut)
    traces = []
    for row, (document, pieces) in enumerate(zip(documents, cut, strict=True)):
        hits = rules.find(document.segments)
        cues[row, [hit.cue for hit in hits]] = 1
        found = [NOWHERE if hit.segment is None else pieces.at(hit.segment, hit.start) for hit in hits]
        own = slice(counts.indptr[row], counts.indptr[row + 1])
        traces.append(Trace(pieces.texts, firsts[own], np.array(found, dtype=np.uint16)))
    return Features(counts, facts, cues), traces


def _counted(documents: Sequence[Document], cut: Sequence[Pieces]) -> tuple[csr_matrix, Numbers]:
    """Return the counts, and for each that is not zero the piece in which it is met first."""
    found = [_block_counts(number, block, documents, cut) for number, block in enumerate(BLOCKS)]
    cells, counts, pieces = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(cells, kind="stable")
    cells = cells[order]
    starts = np.flatnonzero(np.diff(cells, prepend=-1))  # where another column begins
    rows = np.bincount(cells[starts] // COLUMNS, minlength=len(documents))
    summed = np.add.reduceat(counts[order], starts) if len(starts) else np.zeros(0, dtype=np.float32)
    first = np.minimum.reduceat(pieces[order], starts) if len(starts) else np.zeros(0, dtype=np.uint16)
    indptr = np.concatenate([[0], np.cumsum(rows)])
    columns = (cells[starts] % COLUMNS).astype(np.int32)
    return csr_matrix((summed, columns, indptr), shape=(len(documents), COLUMNS)), first


def _block_counts(
    number: int, block: Block, documents: Sequence[Document], cut: Sequence[Pieces]
) -> tuple[Any, Any, Any]:
    """Return the tokens of a block of columns: the cell (row × COLUMNS + column), count and first piece."""
    tokens: list[str] = []
    counts: list[int] = []
    pieces: list[int] = []
    sizes = []
    for document, own in zip(documents, cut, strict=True):
        found, places = tokens_of(block.analyzer, block.ngrams, _parts(block, document.segments, own))
        met = Counter(found)
        first = dict(zip(reversed(found), reversed(places), strict=True))
        tokens += met
        counts += met.values()
        pieces += map(first.__getitem__, met)
        sizes.append(len(met))
    rows = np.repeat(np.arange(len(documents)), sizes).astype(np.int64)
    cells = rows * COLUMNS + number * WIDTH + hashed(tokens)
    return cells, np.array(counts, dtype=np.float32), np.array(pieces, dtype=np.uint16)


def _parts(block: Block, segments: Sequence[Segment], pieces: Pieces) -> Iterator[tuple[str, int]]:
    """Yield the text of a block's channels by piece; HEAD counts the line ends between segments too."""
    left = HEAD if block.analyzer == "char_wb" else sys.maxsize
    for segment, slices in zip(segments, pieces.slices, strict=True):
        if segment.channel in block.channels:
            for one in slices:
                yield segment.text[one.start : min(one.end, one.start + left)], one.piece
                left = max(0, left - (one.end - one.start))
            left = max(0, left - 1)


def hashed(tokens: Sequence[str]) -> Numbers:
    """Return the column, within its block, of each token."""
    from sklearn.feature_extraction import FeatureHasher

    hasher = FeatureHasher(WIDTH, input_type="string", alternate_sign=False, dtype=np.float32)
    return hasher.transform([token] for token in tokens).indices if tokens else np.zeros(0, dtype=np.int32)
