"""Scoring straight from the counts: what `weighting` and a linear head come to, in one pass.

A block of a row is a cell. Each cell's dot products with the heads are taken before its length is
known, and then scaled: nothing is copied but the counts themselves, and each sum runs over one cell
only, so that the result does not depend on how rows are cut into sheets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from pipeline.features import BLOCKS, COLUMNS, WIDTH, Features, Floats, Numbers
from pipeline.weighting import LOGARITHMS, Weighting


@dataclass(frozen=True, slots=True)
class Sheet:
    """Some documents as the cache keeps them.

    `starts` (n × blocks + 1) bounds the cells, `indices` and `counts` (uint8) are their columns;
    `facts` (n × FACTS) and `cues` (n × cues) are those of Features.
    """

    starts: Numbers
    indices: Numbers
    counts: Numbers
    facts: Floats
    cues: Floats

    @classmethod
    def of(cls, features: Features) -> Sheet:
        """Return features as a sheet."""
        counts = features.counts.sorted_indices()
        rows = np.repeat(np.arange(len(features)) * len(BLOCKS), np.diff(counts.indptr))
        lengths = np.bincount(rows + counts.indices // WIDTH, minlength=len(features) * len(BLOCKS))
        whole = np.minimum(counts.data, 255).astype(np.uint8)
        return cls(bounds(lengths), counts.indices, whole, features.facts, features.cues)

    def features(self) -> Features:
        """Return the sheet as features."""
        rows = self.starts[:: len(BLOCKS)]
        counts = csr_matrix(
            (self.counts.astype(np.float32), self.indices, rows), shape=(len(rows) - 1, COLUMNS)
        )
        return Features(counts, self.facts, self.cues)

    def __len__(self) -> int:
        return int(self.facts.shape[0])


def bounds(lengths: Numbers) -> Numbers:
    """Return where each stretch begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


@dataclass(frozen=True)
class Scorer:
    """The text weights of several linear scores (known columns × scores), ready to score sheets."""

    weighting: Weighting
    weights: Numbers

    @cached_property
    def _idf(self) -> Numbers:
        """The inverse document frequencies, and 0 for what is not known."""
        return np.append(self.weighting.idf, np.float32(0))

    @cached_property
    def _squares(self) -> Numbers:
        return self._idf**2

    @cached_property
    def _table(self) -> Numbers:
        """The weight of a count, before its cell is scaled (scores × known columns and one for the rest)."""
        known = np.vstack([self.weights, np.zeros((1, self.weights.shape[1]))])
        return np.ascontiguousarray((known * self._idf[:, None]).T, dtype=np.float32)

    def scores(self, sheet: Sheet) -> Floats:
        """Return what the text of each document adds to each score (n × scores)."""
        places, logs, scale = self._weighed(sheet)
        counts = self._cells(sheet, places, logs)
        parts = np.stack([counts @ row for row in self._table], axis=1)
        cells = parts.reshape(len(sheet), len(BLOCKS), len(self._table))
        return np.asarray(np.einsum("nb,nbk->nk", scale, cells))

    def contributions(self, sheet: Sheet, chosen: Numbers) -> Numbers:
        """Return what each count adds to one score, which is `chosen` (n, numbers of scores) for each row."""
        places, logs, scale = self._weighed(sheet)
        cells = np.diff(sheet.starts)
        offset = np.repeat(np.asarray(chosen) * self._table.shape[1], len(BLOCKS))
        weights = self._table.ravel().take(np.repeat(offset, cells) + places)
        return np.asarray(logs * weights * np.repeat(scale.ravel(), cells))

    def _weighed(self, sheet: Sheet) -> tuple[Numbers, Numbers, Floats]:
        """Return the place and the log of each count, and the factor of each cell (n × blocks)."""
        places = self.weighting.places.take(sheet.indices, mode="clip")  # the quickest, all being in range
        logs = LOGARITHMS.take(sheet.counts)
        squares = self._cells(sheet, places, logs * logs) @ self._squares
        lengths = np.sqrt(squares.astype(np.float64)).reshape(len(sheet), len(BLOCKS))
        roots = np.broadcast_to(np.sqrt([block.share for block in BLOCKS]), lengths.shape)
        return places, logs, np.divide(roots, lengths, out=np.zeros_like(lengths), where=lengths > 0)

    def _cells(self, sheet: Sheet, places: Numbers, data: Any) -> csr_matrix:
        return csr_matrix((data, places, sheet.starts), shape=(len(sheet.starts) - 1, len(self._idf)))
