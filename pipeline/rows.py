"""Weighted documents as the heads learn from them: each word in its block, and wherever it stands.

A word of a title and the same word of an answer are different columns, for they may speak for different
things. Mostly they do not, so beside the columns of the blocks stand shared ones: the sums of all columns
of the same word, or of the same characters (after Daumé, 2007). What is learned of a shared column is in
the end a weight of each column that it sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack

from pipeline.features import BLOCKS, WIDTH, Features, Floats
from pipeline.weighting import Weighting

WORDS_BLOCK, CHARACTERS_BLOCK, FACTS_BLOCK, CUES_BLOCK = range(len(BLOCKS), len(BLOCKS) + 4)
Matrix = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Rows:
    """Weighted documents: text columns, shared columns, facts, cues (sparse), and the block of each column.

    Columns of one block stand together. `sums` (text columns × shared columns) tells which text columns
    each shared one sums.
    """

    matrix: csr_matrix
    blocks: Matrix
    sums: csr_matrix

    @classmethod
    def of(cls, features: Features, weighting: Weighting) -> Rows:
        """Weigh the text of some documents and put shared columns, facts and cues beside it."""
        text = weighting.transform(features.counts)
        sums, shared = _shared(weighting.columns)
        parts = (text, text @ sums, csr_matrix(features.facts), csr_matrix(features.cues))
        rest = [FACTS_BLOCK] * parts[2].shape[1] + [CUES_BLOCK] * parts[3].shape[1]
        blocks = np.concatenate([weighting.columns // WIDTH, shared, rest]).astype(np.int32)
        return cls(hstack(parts, format="csr"), blocks, sums)

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def take(self, rows: Any) -> Rows:
        """Return some of the rows (indices)."""
        return Rows(self.matrix[rows], self.blocks, self.sums)

    def parted(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Return weights of all columns (columns × k) as those of the text columns, facts and cues alone."""
        ends = np.searchsorted(self.blocks, [WORDS_BLOCK, FACTS_BLOCK, CUES_BLOCK])
        text, shared, facts, cues = np.split(weights, ends)
        return text + self.sums @ shared, facts, cues


def _shared(columns: Matrix) -> tuple[csr_matrix, Matrix]:
    """Return which text columns each shared column sums, and its block: where several blocks hold a word."""
    characters = np.array([block.analyzer == "char_wb" for block in BLOCKS])[columns // WIDTH]
    found, places, times = np.unique(
        columns % WIDTH + WIDTH * characters, return_inverse=True, return_counts=True
    )
    several = times > 1
    rows = np.flatnonzero(several[places])
    numbers = (np.cumsum(several) - 1)[places[rows]]
    ones = np.ones(len(rows), dtype=np.float32)
    sums = csr_matrix((ones, (rows, numbers)), shape=(len(columns), int(several.sum())))
    return sums, WORDS_BLOCK + found[several] // WIDTH
