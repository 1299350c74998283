"""The space of a head: informative columns and blocks count for more, and all of it stays linear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from pipeline.rows import CUES_BLOCK, FACTS_BLOCK, Rows
from pipeline.space import Space, block_shares, column_leanings, sample

SEED = 7


def rows_of(blocks: list[int], matrix: Any) -> Rows:
    """Return a dense matrix as weighted rows, none of whose columns is a sum."""
    numbers = np.array(blocks, dtype=np.int32)
    return Rows(csr_matrix(np.array(matrix, dtype=np.float32)), numbers, csr_matrix((0, 0)))


def random_rows(seed: int, documents: int = 12) -> tuple[Rows, Any]:
    """Return documents of three blocks with numbers at random, and a label for each."""
    random = np.random.default_rng(seed)
    matrix = random.random((documents, 9)) * (random.random((documents, 9)) < 0.6)
    rows = rows_of([0, 0, 0, 1, 1, 1, FACTS_BLOCK, FACTS_BLOCK, CUES_BLOCK], matrix)
    return rows, random.integers(0, 3, documents)


def test_a_column_leans_as_far_as_its_documents_are_of_one_class() -> None:
    """A word of one class counts, a word of every class does not, and one hit is weak evidence."""
    labels = np.array([0] * 10 + [1] * 10)
    one_class, every, once = labels == 0, np.ones(20), np.arange(20) == 0
    matrix = csr_matrix(np.stack([one_class, every, once], axis=1).astype(np.float32))
    leaning = column_leanings(matrix, labels)
    assert leaning[1] == pytest.approx(0)
    assert leaning[0] > 2 * leaning[2] > 0
    assert leaning[0] == pytest.approx(np.sqrt((np.log(11 / 6) ** 2 + np.log(1 / 6) ** 2) / 2))


def test_the_block_that_foretells_the_label_gets_the_share() -> None:
    """Of a block that says which class a document is of and one that says nothing, the first one counts."""
    random = np.random.default_rng(1)
    labels = np.tile([0, 1], 20)
    told, noise = np.eye(2)[labels], np.eye(4)[random.integers(0, 4, 40)]
    shares = block_shares(rows_of([0, 0, 1, 1, 1, 1], np.hstack([told, noise])), labels, SEED)
    assert shares[0] > 0.9
    assert shares.sum() == pytest.approx(1)
    assert len(shares) == CUES_BLOCK + 1


def test_a_block_that_reads_the_same_everywhere_gets_no_share() -> None:
    """Questions that are all worded alike tell nothing, whatever is left of them by rounding."""
    random = np.random.default_rng(2)
    labels = np.tile([0, 1, 2], 11)
    told = np.hstack([np.eye(3)[labels], np.eye(33)])
    alike = np.tile(random.random(500) / 13, (33, 1)) * (1 + 1e-7 * np.eye(3)[labels] @ [[0], [1], [2]])
    rows = rows_of([0] * 500 + [1] * 36, np.hstack([alike, told]))
    assert block_shares(rows, labels, SEED)[:2] == pytest.approx([0, 1])


def test_a_handful_of_labels_does_not_choose_the_blocks() -> None:
    """With eight of a rarer kind every block has the same share; with nine the telling block has most."""
    for rarer, most in ((8, 0.5), (9, 1)):
        labels = np.array([0] * 20 + [1] * rarer)
        rows = rows_of([0, 0, 1, 1], np.hstack([np.eye(2)[labels], np.eye(2)[np.arange(20 + rarer) % 2]]))
        assert block_shares(rows, labels, SEED)[0] == pytest.approx(most, abs=0.1)


@pytest.mark.parametrize("documents", [1, 2, 5])
def test_shares_are_equal_where_the_labels_say_nothing(documents: int) -> None:
    """With one class, or one document, every block that is there has the same share."""
    shares = block_shares(rows_of([0, 1], np.eye(2)[[0, 1, 0, 1, 0]][:documents]), np.zeros(documents), SEED)
    there = 1 if documents == 1 else 2
    assert shares[:there] == pytest.approx(np.full(there, 1 / there))
    assert shares[there:] == pytest.approx(0)


def test_shares_are_equal_where_least_squares_does_not_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SciPy gives the search for shares up, every block that is there has the same share."""

    def unsettled(*_: object) -> None:
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr("pipeline.space.nnls", unsettled)
    rows, labels = random_rows(1, documents=60)
    shares = block_shares(rows, labels, SEED)
    assert shares[[0, 1, FACTS_BLOCK, CUES_BLOCK]] == pytest.approx(np.full(4, 1 / 4))


@given(st.integers(0, 1_000))
def test_a_score_by_coordinates_is_the_score_by_columns(seed: int) -> None:
    """Coefficients of the coordinates and the weights of the columns they come to score alike."""
    rows, labels = random_rows(seed)
    space = Space.fit(rows, labels, SEED)
    coefficients = np.random.default_rng(seed).normal(size=(space.coordinates.shape[1], 3))
    weights = space.weights(coefficients)
    assert rows.matrix @ weights == pytest.approx(space.coordinates @ coefficients, abs=1e-4)
    others, _ = random_rows(seed + 1)
    assert others.matrix @ weights == pytest.approx(space.locate(others) @ coefficients, abs=1e-4)


def test_shares_that_are_given_are_kept() -> None:
    """With the shares of an earlier fit the space is the same, bit for bit."""
    rows, labels = random_rows(3)
    first = Space.fit(rows, labels, SEED)
    second = Space.fit(rows, labels, SEED, first.shares.tolist())
    assert first.coordinates.tobytes() == second.coordinates.tobytes()


@given(st.integers(0, 50), st.integers(0, 20))
def test_a_sample_is_in_order_and_no_larger_than_asked(size: int, most: int) -> None:
    """Rows of a sample differ, stand in order, and the same seed draws the same."""
    rows = sample(size, most, SEED)
    assert len(rows) == min(size, most)
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() == sample(size, most, SEED).tolist()
