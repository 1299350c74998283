"""The space in which a head is fitted: what tells the classes apart counts for more.

Two things are learned from the labels at hand and nothing else, in closed form. How much each column
counts is how far its documents lean to some class (the log-count ratios of Wang and Manning, 2012);
how much each block counts is what its likeness tells of two documents having the same label (the
centred alignment of Cortes, Mohri and Rostamizadeh, 2012). All of it is linear in the end.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls
from scipy.sparse import csr_matrix

from pipeline.features import Floats
from pipeline.rows import CUES_BLOCK, FACTS_BLOCK, Matrix, Rows

LANDMARKS = 1_200  # documents that span the others where there are more
COORDINATES = 30_000_000  # numbers at most in all coordinates together
ENOUGH = 9  # labels besides the most frequent kind
COMPARED = 500  # documents at most that are compared pair by pair
DIGITS = 5  # of a likeness, which is a sum of thousands of single-precision products


@dataclass(frozen=True, eq=False)
class Space:
    """The space that some documents span; `coordinates` (n × dimensions) are those documents' own.

    `shares` (of each block) and `emphasis` (of each column) are what was learned from their labels.
    """

    shares: Floats
    emphasis: Matrix
    landmarks: csr_matrix
    basis: Floats
    coordinates: Floats

    @classmethod
    def fit(cls, rows: Rows, labels: Any, seed: int, shares: Any = None) -> Space:
        """Span the space of labelled documents, or of a seeded sample of them where there are many."""
        shares = block_shares(rows, labels, seed) if shares is None else np.array(shares)
        emphasis = _emphasis(rows, labels, shares)
        whole = _emphasised(rows.matrix, emphasis)
        chosen = sample(len(rows), min(LANDMARKS, COORDINATES // max(len(rows), 1)), seed)
        landmarks = whole[chosen]
        likeness = (whole @ landmarks.T).toarray().astype(np.float64)
        values, vectors = np.linalg.eigh(likeness[chosen])
        kept = values > 1e-7 * max(values.max(initial=0.0), 1e-12)
        basis = vectors[:, kept] / np.sqrt(values[kept])
        return cls(shares, emphasis, landmarks, basis, likeness @ basis)

    def locate(self, rows: Rows) -> Floats:
        """Return the coordinates of other documents (n × dimensions)."""
        likeness = _emphasised(rows.matrix, self.emphasis) @ self.landmarks.T
        return np.asarray(likeness.toarray() @ self.basis)

    def weights(self, coefficients: Floats) -> Floats:
        """Return coefficients of the coordinates as weights of the columns."""
        return np.asarray((self.landmarks.T @ (self.basis @ coefficients)) * self.emphasis[:, None])


def _emphasised(matrix: csr_matrix, emphasis: Matrix) -> csr_matrix:
    data = matrix.data * emphasis[matrix.indices]
    return csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def sample(size: int, most: int, seed: int) -> Matrix:
    """Return `most` of `size` rows, drawn by the seed and in order, or all if there are no more."""
    if size <= most:
        return np.arange(size)
    return np.sort(np.random.default_rng(seed).choice(size, most, replace=False))


def _emphasis(rows: Rows, labels: Any, shares: Floats) -> Matrix:
    """Return what to multiply each column with: the mean square length of a row becomes 1."""
    leanings = np.where(rows.blocks < FACTS_BLOCK, column_leanings(rows.matrix, labels), 1.0)
    squares = np.bincount(rows.matrix.indices, rows.matrix.data.astype(float) ** 2, len(leanings))
    lengths = np.bincount(rows.blocks, squares * leanings**2, CUES_BLOCK + 1) / max(len(rows), 1)
    factors = np.sqrt(np.divide(shares, lengths, out=np.zeros_like(lengths), where=lengths > 0))
    return np.asarray(leanings * factors[rows.blocks], dtype=np.float32)


def column_leanings(matrix: csr_matrix, labels: Any) -> Floats:
    """Return how far each column leans to some class: 0 if its documents are spread as all are.

    The root mean square over the classes of log((found + 1) / (expected + 1)) documents.
    """
    classes, numbers = np.unique(labels, return_inverse=True)
    members = np.eye(len(classes), dtype=np.float32)[numbers]
    there = csr_matrix(
        (np.ones(matrix.nnz, dtype=np.float32), matrix.indices, matrix.indptr), shape=matrix.shape
    )
    found = there.T @ members
    expected = found.sum(axis=1, keepdims=True) * members.mean(axis=0)
    return np.asarray(np.sqrt((np.log((found + 1) / (expected + 1)) ** 2).mean(axis=1)))


def block_shares(rows: Rows, labels: Any, seed: int) -> Floats:
    """Return the share of each block (they add up to 1) from the likeness of each pair of documents.

    The shares that best foretell, by least squares, which pairs have the same label; equal shares
    where nothing does, labels are few, or the search for them does not settle.
    """
    compared = sample(len(rows), COMPARED, seed)
    rows, labels = rows.take(compared), labels[compared]
    pairs = np.triu_indices(len(rows), 1)
    same = _centred((labels[:, None] == labels[None, :]).astype(float))[pairs]
    there = np.unique(rows.blocks[rows.matrix.indices])
    likeness = np.stack([_block_likeness(rows, block)[pairs] for block in there], axis=1)
    found = np.zeros(len(there))
    if not are_few(labels):
        with suppress(RuntimeError):
            found = nnls(likeness, same)[0]
    shares = np.zeros(CUES_BLOCK + 1)
    shares[there] = found / found.sum() if found.sum() > 0 else 1 / max(len(there), 1)
    return shares


def are_few(labels: Any) -> bool:
    """Say whether there are so few labels besides the most frequent kind that chance would choose by them."""
    return bool(len(labels) - np.unique(labels, return_counts=True)[1].max(initial=0) < ENOUGH)


def _block_likeness(rows: Rows, block: int) -> Floats:
    """Return the inner products within one block, centred, where the mean square length is 1.

    They are rounded, so that a block that is the same everywhere says nothing.
    """
    start, end = np.searchsorted(rows.blocks, [block, block + 1])
    own = rows.matrix[:, start:end]
    likeness = (own @ own.T).toarray().astype(np.float64)
    return np.round(_centred(likeness / likeness.diagonal().mean()), DIGITS)


def _centred(likeness: Floats) -> Floats:
    means = likeness.mean(axis=0)
    return np.asarray(likeness - means - means[:, None] + means.mean())
