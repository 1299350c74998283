"""Scoring from the cache: what plain arithmetic gives, however it is cut into parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import random as random_sparse
from scipy.special import expit, softmax

from db.engine import Database
from pipeline.dataset import references
from pipeline.feature_cache import FeatureCache
from pipeline.features import COLUMNS, Features, extract
from pipeline.model import Model, rules_model, train
from pipeline.proposing import read_labelled
from pipeline.rules import Rules
from pipeline.scored import scored
from pipeline.scoring import Sheet
from pipeline.study import Study
from tests.model_documents import toy_codebook, toy_document, toy_examples

RULES = Rules(toy_codebook("[[cues]]\nfor = 'B'\nweight = 3\npatterns = ['clip']\n"))
MODEL = train(toy_examples(60, RULES.codebook), RULES)


def plain(model: Model, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Return what a model predicts, by products of whole matrices."""
    weighted = model.weighting.transform(features.counts)
    valid, causes = (
        weighted @ head.text.astype(np.float64)
        + features.facts @ head.facts
        + features.cues @ head.cues
        + head.intercept
        for head in (model.valid, model.cause)
    )
    return expit(valid).prod(axis=1), softmax(causes, axis=1)


def assert_alike(model: Model, features: Features) -> None:
    """Both ways give the same probabilities, to rounding."""
    for fast, slow in zip(model.predict(features), plain(model, features), strict=True):
        assert np.allclose(fast, slow, rtol=1e-5, atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_scores_are_those_of_plain_arithmetic(seed: int, rows: int) -> None:
    """Known and unknown columns, counts up to 255 and beyond, and empty rows score as by whole matrices."""
    chance = np.random.default_rng(seed)
    known = np.unique(chance.choice(MODEL.weighting.columns, 30))
    counts = random_sparse(rows, COLUMNS, 2e-6, format="lil", dtype=np.float32, rng=chance)
    for row in range(rows - 1):
        counts[row, known] = chance.integers(0, 400, len(known))
    facts = chance.random((rows, MODEL.valid.facts.shape[0]))
    assert_alike(MODEL, Features(counts.tocsr(), facts, (chance.random((rows, 1)) > 0.5).astype(float)))


@pytest.mark.parametrize("model", [MODEL, rules_model(RULES)])
def test_documents_score_as_by_plain_arithmetic(model: Model) -> None:
    """The trained model and the cues alone score whole documents as products of whole matrices do."""
    documents = [toy_document(500 + number, "ABC"[number % 3]) for number in range(20)]
    assert_alike(model, extract(documents, RULES)[0])


def test_a_sheet_holds_what_the_features_do() -> None:
    """Features survive the way into a sheet and back, and no cell of a row is lost."""
    features, _ = extract([toy_document(number, "A") for number in range(5)], RULES)
    again = Sheet.of(features).features()
    assert (again.counts != features.counts).nnz == 0
    assert np.array_equal(again.facts, features.facts)
    assert len(Sheet.of(features)) == 5


def test_a_row_scores_the_same_in_every_company() -> None:
    """One row alone gets the probabilities that it gets among others."""
    features = toy_examples(7, RULES.codebook).features.take(np.tile(np.arange(7), 3))
    alone = [MODEL.predict(features.take([row])) for row in range(len(features))]
    for number, together in enumerate(MODEL.predict(features)):
        assert np.allclose(together, np.concatenate([one[number] for one in alone]), rtol=1e-12)


def test_parts_and_cores_change_no_score(
    labelled: Database, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the cache every thread gets what `predict` gives it, in parts of any size, few or many."""
    cache = FeatureCache(study)
    model = train(read_labelled(labelled, study).examples, cache.rules)
    with labelled.reading() as session:
        found = references(session, study)
    cache.fill(labelled, found)
    with labelled.reading() as session:
        rows = [row for row, _ in cache.find(session, found)]
        valid, causes = model.predict(cache.features(session, rows))
    told = {one.thread_id: row for row, one in enumerate(found)}
    for part, cores, many in ((500, 2, 10_000), (3, 1, 2), (1, 4, 0)):
        monkeypatch.setattr("pipeline.scored.PART", part)
        monkeypatch.setattr("db.proposals.MANY", many)
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        parts = list(scored(labelled, cache, model, found))
        threads = [one for own in parts for one in own.references]
        assert sorted(one.thread_id for one in threads) == sorted(one.thread_id for one in found)
        rows = [told[one.thread_id] for one in threads]
        assert np.allclose(np.concatenate([own.valid for own in parts]), valid[rows], atol=1e-6)
        assert np.allclose(np.concatenate([own.causes for own in parts]), causes[rows], atol=1e-6)
