"""Counts to weights: TF-IDF within each block of columns, and documents that read almost the same.

Each block of each row has length one, so that a long log does not drown a title.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from pipeline.features import BLOCKS, COLUMNS, WIDTH, Features

LOGARITHMS = 1 + np.log(np.maximum(np.arange(256), 1)).astype(np.float32)


@dataclass(frozen=True)
class Weighting:
    """The columns that a training set holds (sorted), and their inverse document frequencies."""

    columns: np.ndarray[Any, np.dtype[np.int64]]
    idf: np.ndarray[Any, np.dtype[np.float32]]

    @classmethod
    def fit(cls, counts: csr_matrix, least: int = 1) -> Weighting:
        """Count in how many rows each column is not zero, and keep those found in `least` rows."""
        found = np.bincount(counts.indices, minlength=COLUMNS)
        columns = np.flatnonzero(found >= max(1, min(least, counts.shape[0])))
        idf = np.log((1 + counts.shape[0]) / (1 + found[columns])) + 1
        return cls(columns, idf.astype(np.float32))

    @cached_property
    def places(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Where each of all columns stands among the known ones; the unknown stand behind the last."""
        places = np.full(COLUMNS, len(self.columns), dtype=np.int32)
        places[self.columns] = np.arange(len(self.columns))
        return places

    @cached_property
    def squares(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The squared inverse document frequencies, and 0 for all unknown columns."""
        return np.append(self.idf**2, np.float32(0))

    @cached_property
    def _blocks(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """The block of each known column."""
        return (self.columns // WIDTH).astype(np.int32)

    def transform(self, counts: csr_matrix) -> csr_matrix:
        """Return the weighted rows (n × known columns), each block of a row scaled to length one."""
        places = self.places[counts.indices]
        known = places < len(self.columns)
        places = places[known]
        starts = np.concatenate([[0], np.cumsum(known)])[counts.indptr]
        data = LOGARITHMS[np.minimum(counts.data[known], 255).astype(np.uint8)] * self.idf[places]
        scale, cells = self._scale(data, places, starts)
        return csr_matrix((data * scale[cells], places, starts), shape=(counts.shape[0], len(self.columns)))

    def _scale(self, data: Any, places: Any, starts: Any) -> tuple[Any, Any]:
        """Return the factor of each cell (a block of a row), and the cell that each number stands in."""
        rows = len(starts) - 1
        firsts = np.arange(rows, dtype=np.int32) * len(BLOCKS)
        cells = np.repeat(firsts, np.diff(starts)) + self._blocks[places]
        lengths = np.sqrt(np.bincount(cells, weights=data * data, minlength=rows * len(BLOCKS)))
        scale = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        return scale.astype(np.float32), cells


def near_duplicates(features: Features, threshold: float = 0.95) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return a number for each document that it shares with those that read almost the same."""
    from scipy.sparse.csgraph import connected_components

    text = Weighting.fit(features.counts).transform(features.counts)
    lengths = np.sqrt(np.asarray(text.multiply(text).sum(axis=1)).ravel())
    alike = (text @ text.T).tocoo()
    close = alike.data > threshold * lengths[alike.row] * lengths[alike.col]
    graph = csr_matrix((close[close], (alike.row[close], alike.col[close])), shape=alike.shape)
    return np.asarray(connected_components(graph, directed=False)[1])
