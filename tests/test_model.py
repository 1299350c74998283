"""The model: it learns, starts from the cues, copes with odd label sets, and is the same twice."""

from __future__ import annotations

import numpy as np
import pytest

from db.records import Label
from pipeline.features import extract
from pipeline.logistic import PriorLogistic
from pipeline.model import Examples, fix_probabilities, inner_folds, rules_model, train
from pipeline.rules import Rules
from pipeline.weighting import near_duplicates
from tests.model_documents import toy_codebook, toy_document, toy_examples

CUE = "[[cues]]\nfor = 'B'\nweight = 3\npatterns = ['\\bclip\\b']\nfix = 'fix'\n"
CODEBOOK = toy_codebook(CUE)
RULES = Rules(CODEBOOK)


def test_it_learns_what_the_labels_show() -> None:
    """On documents that name their cause the trained model finds validity and cause."""
    model = train(toy_examples(120, CODEBOOK), RULES)
    unseen = [toy_document(1_000 + i, cause) for i, cause in enumerate(["A", "B", "C", None] * 5)]
    valid, causes = model.predict(extract(unseen, RULES)[0])
    assert (causes[np.arange(20) % 4 < 3].argmax(axis=1) == np.tile([0, 1, 2], 5)).mean() > 0.9
    assert valid[3::4].max() < valid[0::4].min()


def test_before_any_label_the_cues_propose() -> None:
    """The rules' model gives the cause whose cue hits the highest probability."""
    features, _ = extract([toy_document(1, "B")], RULES)
    valid, causes = rules_model(RULES).predict(features)
    assert causes[0].argmax() == 1
    assert causes[0].sum() == pytest.approx(1)
    assert valid[0] == pytest.approx(0.5)
    patterns, fixes = fix_probabilities(rules_model(RULES), RULES, causes, features.cues)
    assert patterns == ("fix",)
    assert fixes.tolist() == [[pytest.approx(1)]]


def test_a_thread_is_valid_if_it_passes_every_step() -> None:
    """Each step learns from the threads that came to it, and the chance of all steps is proposed."""
    codebook = toy_codebook("[[reasons]]\ncode='open'\nname='o'\ndefinition='x'\nstep=2\n")
    examples = toy_examples(120, codebook)
    labels = tuple(Label(False, "open") if label.root_cause == "C" else label for label in examples.labels)
    examples = Examples(examples.features, labels, examples.groups)
    assert set(examples.passed(codebook)) == {0, 1, 2}
    model = train(examples, Rules(codebook))
    valid, _ = model.predict(extract([toy_document(900 + n, "A") for n in range(8)], Rules(codebook))[0])
    unsettled, _ = model.predict(extract([toy_document(900 + n, "C") for n in range(8)], Rules(codebook))[0])
    assert model.valid.intercept.shape == (2,)
    assert unsettled.max() < 0.5 < valid.min()


@pytest.mark.parametrize(
    "labels", [[], [Label(True, None, "A")], [Label(False, "noise")], [Label(False, "noise")] * 6]
)
def test_few_or_one_sided_labels_leave_finite_probabilities(labels: list[Label]) -> None:
    """No label, one label, and labels without one valid thread all give a model that proposes."""
    features, _ = extract([toy_document(i, "A") for i in range(len(labels))], RULES)
    examples = Examples(features, tuple(labels), np.arange(len(labels)).astype(str))
    valid, causes = train(examples, RULES).predict(extract([toy_document(99, "B")], RULES)[0])
    assert np.isfinite(valid).all()
    assert np.isfinite(causes).all()
    assert causes[0].argmax() == 1  # what the cue says is not forgotten


def test_labels_that_are_all_rare_are_not_folded() -> None:
    """A dozen labels of six kinds, two of each, are trained on without cross-validation within."""
    assert inner_folds(np.repeat(np.arange(6), 2), np.arange(12), 0) == []
    assert len(inner_folds(np.repeat(np.arange(4), 3), np.arange(12), 0)) == 3


def test_a_cause_without_labels_keeps_what_its_cue_says() -> None:
    """A class that training never saw is still proposed where its cue hits."""
    model = train(toy_examples(60, CODEBOOK, causes="AC"), RULES)
    _, causes = model.predict(extract([toy_document(500, "B")], RULES)[0])
    assert causes[0, 1] > 0.2


def test_a_thread_in_another_language_or_without_text_gets_probabilities() -> None:
    """Text that no training thread shares a word with behaves."""
    from dataclasses import replace

    from pipeline.channels import Segment

    model = train(toy_examples(60, CODEBOOK), RULES)
    odd = [replace(toy_document(1, None), segments=(Segment("prose", "損失が発散しました 學習率", 0),))]
    odd.append(replace(toy_document(2, None), segments=()))
    valid, causes = model.predict(extract(odd, RULES)[0])
    assert np.allclose(causes.sum(axis=1), 1)
    assert ((valid > 0) & (valid < 1)).all()


def test_training_twice_gives_the_same_model_bit_for_bit() -> None:
    """The same data and seed give the same weights."""
    first, second = (train(toy_examples(80, CODEBOOK), RULES) for _ in range(2))
    assert first.cause.text.tobytes() == second.cause.text.tobytes()
    assert first.valid.text.tobytes() == second.valid.text.tobytes()
    assert first.settings == second.settings


def test_settings_of_the_same_data_give_the_same_model() -> None:
    """What an earlier training chose and learned spares the choice and changes nothing."""
    examples = toy_examples(80, CODEBOOK)
    first = train(examples, RULES)
    second = train(examples, RULES, settings=first.settings)
    assert first.cause.text.tobytes() == second.cause.text.tobytes()
    assert first.settings == second.settings


def test_the_prior_decides_with_few_labels_and_the_data_with_many() -> None:
    """A wrong prior is overruled by evidence, not by a switch."""
    wrong = np.array([[2.0, -2.0]])

    def chance(n: int) -> float:
        features = np.ones((n, 1))
        fitted = PriorLogistic(2).fit(features, np.ones(n, dtype=int), np.tile(wrong, (n, 1)))
        return float(fitted.predict_proba(np.ones((1, 1)), wrong)[0, 1])

    assert chance(1) < 0.2 < chance(10) < chance(500)
    assert chance(500) > 0.95


def test_near_duplicates_share_a_number() -> None:
    """The same text twice is one group; different texts are not."""
    features, _ = extract([toy_document(1, "A"), toy_document(1, "A"), toy_document(2, "B")], RULES)
    numbers = near_duplicates(features)
    assert numbers[0] == numbers[1] != numbers[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_labels_train_in_bounded_time_and_score_in_seconds() -> None:
    """Landmarks bound training, and scoring is one sparse product."""
    part = toy_examples(1_000, CODEBOOK)
    features = part.features.take(np.tile(np.arange(len(part)), 100))
    many = Examples(features, part.labels * 100, np.tile(part.groups, 100))
    settings = train(part, RULES).settings
    model = train(many, RULES, settings=settings)
    valid, _ = model.predict(features)
    assert ((valid > 0.5) == np.array([label.valid for label in many.labels])).mean() > 0.9
