"""Scoring straight from the counts: what `weighting` and a linear head come to, in one pass.

A block of a row is a cell. Each cell's dot products with the heads are taken before its length is
known, and then scaled: nothing is copied but the counts themselves, and each sum runs over one cell
only, so that the result does not depend on how rows are cut into sheets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

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


@dataclass(frozen=True, slots=True)
class Weighed:
    """A sheet seen by a weighting: the cells with the logs of their counts, and the factor of each cell.

    `logs` is (n × blocks) × (known columns and one for the rest); `scale` is n × blocks.
    """

    logs: csr_matrix
    scale: Floats

    @classmethod
    def of(cls, sheet: Sheet, weighting: Weighting) -> Weighed:
        """Weigh the counts of a sheet."""
        places = weighting.places.take(sheet.indices, mode="clip")  # the quickest, all being in range
        data = LOGARITHMS.take(sheet.counts)
        shape = (len(sheet.starts) - 1, len(weighting.columns) + 1)
        logs = csr_matrix((data, places, sheet.starts), shape=shape)
        squares = csr_matrix((data * data, places, sheet.starts), shape=shape)
        lengths = np.sqrt((squares @ weighting.squares).astype(np.float64)).reshape(len(sheet), len(BLOCKS))
        return cls(logs, np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0))


@dataclass(frozen=True)
class Scorer:
    """Several linear scores of text: the weights of the known columns (columns × scores), ready to use."""

    weighting: Weighting
    weights: Numbers

    @cached_property
    def _table(self) -> Numbers:
        """The weight of a logarithm in an unscaled cell (known columns and one for the rest × scores)."""
        table = np.zeros((len(self.weights) + 1, self.weights.shape[1]), dtype=np.float32)
        np.multiply(self.weights, self.weighting.idf[:, None], out=table[:-1], casting="same_kind")
        return table

    def scores(self, weighed: Weighed) -> Floats:
        """Return what the text of each document adds to each score (n × scores)."""
        cells = (weighed.logs @ self._table).reshape(*weighed.scale.shape, -1)
        return np.asarray(np.einsum("nb,nbk->nk", weighed.scale, cells))

    def contributions(self, weighed: Weighed, chosen: Numbers) -> Numbers:
        """Return what each count adds to one score, which is `chosen` (n, numbers of scores) for each row."""
        sizes = np.diff(weighed.logs.indptr)
        places = weighed.logs.indices * self._table.shape[1]
        weights = self._table.ravel().take(places + np.repeat(np.repeat(chosen, len(BLOCKS)), sizes))
        return np.asarray(weighed.logs.data * weights * np.repeat(weighed.scale.ravel(), sizes))
