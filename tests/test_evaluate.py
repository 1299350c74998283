"""The evaluation: honest folds, figures that match hand-worked cases, baselines beside them."""

from __future__ import annotations

import numpy as np
import pytest

from db.errors import NothingToDo
from db.records import Label
from pipeline.evaluate import _folds, evaluate, evaluation_lines, suspects
from pipeline.metrics import _fast_macro_f1, averaged_classes, calibration, work_saved
from tests.model_documents import toy_codebook, toy_examples

CODEBOOK = toy_codebook()


def test_every_method_is_measured_in_the_same_folds_and_the_model_beats_the_baselines() -> None:
    """The document holds every figure for every method, and says how it was made."""
    figures = evaluate(toy_examples(120, CODEBOOK), CODEBOOK, repeats=2)
    assert set(figures["methods"]) == {"model", "rules", "plain", "majority", "stratified"}
    model = figures["methods"]["model"]
    guessed = figures["methods"]["majority"]["macro_f1"]
    assert min(model["macro_f1"], figures["methods"]["plain"]["macro_f1"]) > guessed
    assert model["macro_f1_interval"][0] <= model["macro_f1"] <= model["macro_f1_interval"][1]
    assert model["average_precision"] > 0.9
    assert sum(map(sum, figures["confusion"])) == figures["valid"]
    assert [row["labels"] for row in figures["per_class"]] == [int(sum(row)) for row in figures["confusion"]]
    assert any("plain" in line for line in evaluation_lines(figures))


def test_the_lines_say_how_many_labels_a_model_drew() -> None:
    """Labels of active drawing, where there are any, have a line of their own."""
    figures = evaluate(toy_examples(60, CODEBOOK), CODEBOOK, repeats=1)
    lines = evaluation_lines(figures | {"active": 0})
    told = evaluation_lines(figures | {"active": 7})
    assert told[1].startswith("7 of the labels are of threads that a model's uncertainty drew")
    assert [told[0], *told[2:]] == lines


def test_the_evaluation_is_the_same_twice() -> None:
    """The same labels and seed give the same document."""
    first, second = (evaluate(toy_examples(60, CODEBOOK), CODEBOOK, repeats=1) for _ in range(2))
    assert first == second


def test_no_group_stands_on_both_sides_of_a_fold() -> None:
    """What shares a group is unseen together, and every example is unseen once."""
    examples = toy_examples(100, CODEBOOK)
    valid, _ = examples.targets(CODEBOOK)
    folds = list(_folds(valid, examples.groups, 1))
    for known, unseen in folds:
        assert not set(examples.groups[known]) & set(examples.groups[unseen])
    assert sorted(np.concatenate([unseen for _, unseen in folds])) == list(range(100))


def test_labels_without_a_valid_thread_are_evaluated_for_what_there_is() -> None:
    """An empty class leaves its figures out instead of failing."""
    figures = evaluate(toy_examples(40, CODEBOOK, valid_share=0), CODEBOOK, repeats=1)
    assert figures["methods"]["model"]["macro_f1"] is None
    assert figures["methods"]["model"]["average_precision"] is None
    assert evaluation_lines(figures)


@pytest.mark.parametrize("labels", [3, 8])
def test_too_few_labels_are_said(labels: int) -> None:
    """Fewer groups than folds, or labels of one kind than folds, end with a line that says so."""
    with pytest.raises(NothingToDo, match="too few"):
        evaluate(toy_examples(labels, CODEBOOK), CODEBOOK, repeats=1)


def test_work_saved_matches_a_case_worked_by_hand() -> None:
    """With both valid threads ranked first of ten, eight need no reading, less the 5 % of chance."""
    valid = np.array([1, 1] + [0] * 8)
    assert work_saved(valid, np.linspace(1, 0, 10)) == pytest.approx(0.75)
    assert work_saved(valid, np.linspace(0, 1, 10)) == pytest.approx(-0.05)


def test_the_fast_macro_f1_equals_that_of_scikit_learn() -> None:
    """The bootstrap's own count agrees with the library's."""
    from sklearn.metrics import f1_score

    random = np.random.default_rng(3)
    truth, found = random.integers(4, size=60), random.integers(4, size=60)
    expected = f1_score(truth, found, average="macro")
    assert _fast_macro_f1(truth, found, [0, 1, 2, 3]) == pytest.approx(expected)


def test_a_calibrated_model_is_within_its_noise_and_a_boastful_one_is_not() -> None:
    """The error of a model that is always sure and half right stands out from the noise floor."""
    random = np.random.default_rng(5)
    sure = random.uniform(0.5, 1, 2_000)
    predicted = np.stack([sure, 1 - sure], axis=1)[None]
    honest = calibration(predicted, (random.random(2_000) > sure).astype(int), 1)
    assert honest["error"] < honest["noise_95"] * 1.5
    boastful = calibration(np.tile([[[0.99, 0.01]]], (1, 2_000, 1)), np.arange(2_000) % 2, 1)
    assert boastful["error"] == pytest.approx(0.49, abs=0.01)
    assert boastful["bins"] == [[pytest.approx(0.99), pytest.approx(0.5), 2_000]]


def test_the_bins_of_the_calibration_add_up_to_its_error() -> None:
    """Each bin has its mean probability, its share right and its threads; weighted gaps are the error."""
    random = np.random.default_rng(7)
    sure = random.uniform(0.5, 1, 300)
    found = calibration(np.stack([sure, 1 - sure], axis=1)[None], random.integers(2, size=300), 1)
    assert sum(threads for *_, threads in found["bins"]) == 300
    assert all(0.5 <= probability <= 1 for probability, *_ in found["bins"])
    gaps = [abs(probability - right) * threads for probability, right, threads in found["bins"]]
    assert sum(gaps) / 300 == pytest.approx(found["error"])


def test_causes_of_the_residual_type_are_not_averaged() -> None:
    """A cause without labels, and one of the type `other`, stay out of macro-F1."""
    assert averaged_classes(np.array([0, 0, 2]), CODEBOOK) == [0, 2]


def test_a_wrong_label_is_the_first_suspect() -> None:
    """A label that the text contradicts is listed first, with what it rather is."""
    examples = toy_examples(120, CODEBOOK)
    labels = list(examples.labels)
    row = next(n for n, label in enumerate(labels) if label.root_cause == "A")
    labels[row] = Label(True, None, "C", "fix")
    found = suspects(type(examples)(examples.features, tuple(labels), examples.groups), CODEBOOK, repeats=1)
    assert row in [number for number, _ in found[:3]]
    assert dict(found)[row]["rather"] == "A"
