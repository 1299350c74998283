"""Counts to weights: TF-IDF within each block of columns, and the likeness of documents.

Each block of each row has length one and then the block's share, so that a long log does not drown
a title. All of it is linear in the end: a trained head is one weight a column, fact and cue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from pipeline.features import BLOCKS, COLUMNS, WIDTH, Features, Floats

FACT_SHARE = 0.25  # how much one fact adds to the likeness of two documents
CUE_SHARE = 0.05  # the same for one cue
LANDMARKS = 1_200  # documents that span the others where there are more
LOGARITHMS = 1 + np.log(np.maximum(np.arange(256), 1)).astype(np.float32)


@dataclass(frozen=True)
class Weighting:
    """Inverse document frequencies of a training set (COLUMNS, 0 for what it never held)."""

    idf: np.ndarray[Any, np.dtype[np.float32]]

    @classmethod
    def fit(cls, counts: csr_matrix) -> Weighting:
        """Count in how many rows each column is not zero."""
        found = np.bincount(counts.indices, minlength=COLUMNS)
        idf = np.where(found > 0, np.log((1 + counts.shape[0]) / (1 + found)) + 1, 0)
        return cls(idf.astype(np.float32))

    def transform(self, counts: csr_matrix) -> csr_matrix:
        """Return the weighted rows, each block scaled to the root of its share."""
        data = LOGARITHMS[np.minimum(counts.data, 255).astype(np.uint8)] * self.idf[counts.indices]
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        place = rows * len(BLOCKS) + counts.indices // WIDTH
        lengths = np.sqrt(np.bincount(place, weights=data * data, minlength=counts.shape[0] * len(BLOCKS)))
        roots = np.tile(np.sqrt([block.share for block in BLOCKS]), counts.shape[0])
        scale = np.divide(roots, lengths, out=np.zeros_like(lengths), where=lengths > 0).astype(np.float32)
        return csr_matrix((data * scale[place], counts.indices, counts.indptr), shape=counts.shape)


@dataclass(frozen=True)
class Space:
    """The space that some documents span: `project` gives coordinates, `weights` brings weights back."""

    weighting: Weighting
    landmarks: Features
    text: csr_matrix
    basis: Floats

    @classmethod
    def fit(cls, features: Features, seed: int) -> Space:
        """Span the space of a training set, or of a seeded sample of it where it is large."""
        weighting = Weighting.fit(features.counts)
        chosen = features
        if len(features) > LANDMARKS:
            rows = np.random.default_rng(seed).choice(len(features), LANDMARKS, replace=False)
            chosen = features.take(np.sort(rows))
        text = weighting.transform(chosen.counts)
        values, vectors = np.linalg.eigh(_likeness(text, chosen, text, chosen))
        kept = values > 1e-7 * max(values.max(initial=0.0), 1e-12)
        return cls(weighting, chosen, text, vectors[:, kept] / np.sqrt(values[kept]))

    def project(self, features: Features) -> Floats:
        """Return the coordinates of some documents (n × dimensions)."""
        text = self.weighting.transform(features.counts)
        return np.asarray(_likeness(text, features, self.text, self.landmarks) @ self.basis)

    def weights(self, coefficients: Floats) -> tuple[csr_matrix, Floats, Floats]:
        """Return coefficients of the coordinates as weights of the columns, the facts and the cues."""
        dual = self.basis @ coefficients
        text = self.text.T.tocsr() @ csr_matrix(dual)
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
