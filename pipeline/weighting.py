"""Counts to weights: TF-IDF within each block of columns, and the likeness of documents.

Each block of each row has length one and then the block's share, so that a long log does not drown
a title. All of it is linear in the end: a trained head is one weight a column, fact and cue.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from pipeline.features import BLOCKS, COLUMNS, WIDTH, Features, Floats

FACT_SHARE = 0.25  # how much one fact adds to the likeness of two documents
CUE_SHARE = 0.05  # the same for one cue
LANDMARKS = 1_200  # documents that span the others where there are more
COORDINATES = 30_000_000  # numbers at most in all coordinates together
LOGARITHMS = 1 + np.log(np.maximum(np.arange(256), 1)).astype(np.float32)


@dataclass(frozen=True)
class Weighting:
    """The columns that a training set holds (sorted), and their inverse document frequencies."""

    columns: np.ndarray[Any, np.dtype[np.int64]]
    idf: np.ndarray[Any, np.dtype[np.float32]]

    @classmethod
    def fit(cls, counts: csr_matrix) -> Weighting:
        """Count in how many rows each column is not zero."""
        found = np.bincount(counts.indices, minlength=COLUMNS)
        columns = np.flatnonzero(found)
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
        """Return the weighted rows (n × known columns), each block scaled to the root of its share."""
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
        roots = np.tile(np.sqrt([block.share for block in BLOCKS]), rows)
        scale = np.divide(roots, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        return scale.astype(np.float32), cells


@dataclass(frozen=True)
class Space:
    """The space that some documents span; `coordinates` (n × dimensions) are those documents' own.

    `weights` brings coefficients of the coordinates back to weights of columns, facts and cues.
    """

    weighting: Weighting
    landmarks: Features
    text: csr_matrix
    basis: Floats
    coordinates: Floats

    @classmethod
    def fit(cls, features: Features, seed: int) -> Space:
        """Span the space of a training set, or of a seeded sample of it where it is large."""
        weighting = Weighting.fit(features.counts)
        text = weighting.transform(features.counts)
        rows = np.arange(len(features))
        enough = min(LANDMARKS, COORDINATES // max(len(features), 1))
        if len(features) > enough:
            rows = np.sort(np.random.default_rng(seed).choice(len(features), enough, replace=False))
        landmarks, own = features.take(rows), text[rows]
        likeness = _likeness(text, features, own, landmarks)
        values, vectors = np.linalg.eigh(likeness[rows])
        kept = values > 1e-7 * max(values.max(initial=0.0), 1e-12)
        basis = vectors[:, kept] / np.sqrt(values[kept])
        return cls(weighting, landmarks, own, basis, likeness @ basis)

    def weights(self, coefficients: Floats) -> tuple[Floats, Floats, Floats]:
        """Return coefficients of the coordinates as weights of the known columns, the facts and the cues."""
        dual = self.basis @ coefficients
        text = np.asarray(self.text.T @ dual)
        facts = FACT_SHARE * self.landmarks.facts.T @ dual
        return text, facts, CUE_SHARE * self.landmarks.cues.T @ dual


def _likeness(text: csr_matrix, features: Features, other_text: csr_matrix, other: Features) -> Floats:
    """Return the inner products of two sets of documents (n × m)."""
    likeness = np.asarray((text @ other_text.T).toarray(), dtype=np.float64)
    likeness += FACT_SHARE * features.facts @ other.facts.T
    likeness += CUE_SHARE * features.cues @ other.cues.T
    return likeness


def near_duplicates(features: Features, threshold: float = 0.95) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return a number for each document that it shares with those that read almost the same."""
    from scipy.sparse.csgraph import connected_components

    text = Weighting.fit(features.counts).transform(features.counts)
    lengths = np.sqrt(np.asarray(text.multiply(text).sum(axis=1)).ravel())
    alike = (text @ text.T).tocoo()
    close = alike.data > threshold * lengths[alike.row] * lengths[alike.col]
    graph = csr_matrix((close[close], (alike.row[close], alike.col[close])), shape=alike.shape)
    return np.asarray(connected_components(graph, directed=False)[1])
