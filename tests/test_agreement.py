"""Coefficients of agreement against published figures, and what must hold of them always."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.agreement import COEFFICIENTS, Statistic, category_agreement, statistic

Rows = list[tuple[str | None, ...]]


def table(cells: Sequence[Sequence[int]]) -> Rows:
    """Return the pairs of labels that a confusion matrix counts."""
    return [
        (str(a), str(b)) for a, row in enumerate(cells) for b, count in enumerate(row) for _ in range(count)
    ]


def columns(*raters: str) -> Rows:
    """Return items from one string a rater, a character an item, `.` for no label."""
    return [tuple(None if label == "." else label for label in item) for item in zip(*raters, strict=True)]


def value(name: str, rows: Rows) -> float:
    """Return a coefficient that is defined."""
    found = statistic(name, rows)
    assert found.value is not None
    return found.value


KRIPPENDORFF_A = columns("0100000000", "1110010010")
KRIPPENDORFF_B = columns("aabbdcccedda", "babbbcccEddd".lower())
KRIPPENDORFF_C = columns("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
GWET_ABSTRACTORS = table([[13, 0, 0], [0, 20, 7], [0, 4, 56]])
GWET_DIAGNOSES = table([[40, 6, 4, 15], [4, 25, 1, 5], [4, 2, 21, 9], [17, 13, 12, 45]])
FLEISS_COHEN_EVERITT = table([[53, 5, 2], [11, 14, 5], [1, 6, 3]])
FLEISS_1971: Rows = [
    tuple(item)
    for item in (
        "444444 222555 233335 555555 222444 113333 333355 113334 114444 555555 "
        "144444 124444 222333 144444 224445 333335 111455 111112 224444 133555 "
        "555555 244444 224555 114444 144445 222224 111155 224444 133333 555555"
    ).split()
]
FLEISS_14 = (
    "0 0 0 0 14|0 2 6 4 2|0 0 3 5 6|0 3 9 2 0|2 2 8 1 1|7 7 0 0 0|3 2 6 3 0|2 5 3 2 2|6 5 2 1 0|0 2 2 3 7"
)


def counted(text: str) -> Rows:
    """Return items from how many raters chose each category."""
    items = ([int(count) for count in item.split()] for item in text.split("|"))
    return [tuple(str(k) for k, count in enumerate(item) for _ in range(count)) for item in items]


@pytest.mark.parametrize(
    ("name", "rows", "expected", "tolerance"),
    [
        ("krippendorff_alpha", KRIPPENDORFF_A, 0.0952381, 1e-6),
        ("krippendorff_alpha", KRIPPENDORFF_B, 0.6919643, 1e-6),
        ("cohen_kappa", KRIPPENDORFF_B, 0.6842105, 1e-6),
        ("fleiss_kappa", KRIPPENDORFF_B, 0.6785714, 1e-6),
        ("krippendorff_alpha", KRIPPENDORFF_C, 0.7434211, 1e-6),
        ("gwet_ac1", KRIPPENDORFF_C, 0.77544, 1e-5),
        ("fleiss_kappa", KRIPPENDORFF_C, 0.76117, 1e-5),
        ("cohen_kappa", table([[20, 20], [10, 50]]), 0.3478261, 1e-6),
        ("cohen_kappa", table([[20, 5], [10, 15]]), 0.4, 1e-9),
        ("cohen_kappa", table([[46, 0, 0], [4, 40, 0], [0, 0, 10]]), 0.9315068, 1e-6),
        ("cohen_kappa", table([[0, 4, 1], [0, 8, 0], [0, 1, 5]]), 0.4841629, 1e-6),
        ("cohen_kappa", GWET_ABSTRACTORS, 0.79641, 1e-5),
        ("gwet_ac1", GWET_ABSTRACTORS, 0.84933, 1e-5),
        ("fleiss_kappa", GWET_ABSTRACTORS, 0.79624, 1e-5),
        ("krippendorff_alpha", GWET_ABSTRACTORS, 0.79726, 1e-5),
        ("cohen_kappa", GWET_DIAGNOSES, 0.43150, 1e-5),
        ("gwet_ac1", GWET_DIAGNOSES, 0.45616, 1e-5),
        ("krippendorff_alpha", GWET_DIAGNOSES, 0.43162, 1e-5),
        ("cohen_kappa", FLEISS_COHEN_EVERITT, 0.4285714, 1e-6),
        ("fleiss_kappa", FLEISS_1971, 0.4302445, 1e-6),
        ("fleiss_kappa", counted(FLEISS_14), 0.2099307, 1e-6),
        ("cohen_kappa", table([[40, 9], [6, 45]]), 0.69952, 1e-5),
        ("krippendorff_alpha", table([[40, 9], [6, 45]]), 0.70075, 1e-5),
        ("gwet_ac1", table([[40, 9], [6, 45]]), 0.70075, 1e-5),
        ("cohen_kappa", table([[80, 10], [5, 5]]), 0.31818, 1e-5),
        ("krippendorff_alpha", table([[80, 10], [5, 5]]), 0.31771, 1e-5),
        ("gwet_ac1", table([[80, 10], [5, 5]]), 0.80800, 1e-5),
        ("cohen_kappa", table([[45, 15], [25, 15]]), 0.1304, 1e-4),
        ("gwet_ac1", table([[45, 15], [25, 15]]), 0.2661, 1e-4),
        ("cohen_kappa", table([[25, 35], [5, 35]]), 0.2593, 1e-4),
        ("gwet_ac1", table([[25, 35], [5, 35]]), 0.2079, 1e-4),
        ("cohen_kappa", table([[118, 5], [2, 0]]), -0.0234, 1e-4),
        ("gwet_ac1", table([[118, 5], [2, 0]]), 0.9408, 1e-4),
    ],
)
def test_textbook_figure(name: str, rows: Rows, expected: float, tolerance: float) -> None:
    """A published figure comes out to the digits it is given with."""
    assert value(name, rows) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(
    ("category", "ratings", "expected"),
    [("1", 26, 0.245), ("2", 26, 0.245), ("3", 30, 0.520), ("4", 55, 0.471), ("5", 43, 0.566)],
)
def test_textbook_figure_of_a_category(category: str, ratings: int, expected: float) -> None:
    """Fleiss' kappa of one category against the rest, as printed in 1971 to three digits."""
    rows: Rows = [tuple(str(label == category) for label in item) for item in FLEISS_1971]
    assert sum(item.count("True") for item in rows) == ratings
    assert value("fleiss_kappa", rows) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("name", [name for name in COEFFICIENTS if name != "percent"])
def test_one_category_is_undefined(name: str) -> None:
    """Where everybody used one category, a coefficient is None with a reason, never 1."""
    assert statistic(name, [("a", "a")] * 5) == Statistic(name, None, 5, "one category only")


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_nothing_paired_is_undefined(name: str) -> None:
    """Without an item that two raters labelled there is no agreement to speak of."""
    assert statistic(name, [("a", None), (None, "b")]).reason == "no item has two labels"


pairs = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=2, max_size=30)
gappy = st.lists(st.tuples(*[st.one_of(st.none(), st.sampled_from("abc"))] * 3), min_size=2, max_size=20)


@given(rows=pairs, name=st.sampled_from(sorted(COEFFICIENTS)), seed=st.integers(0, 99))
def test_agreement_is_invariant(rows: Rows, name: str, seed: int) -> None:
    """The order of raters, the order of items and the names of the codes do not matter."""
    shuffled = [tuple({"a": "z", "b": "a", "c": "m"}[str(label)] for label in reversed(row)) for row in rows]
    random.Random(seed).shuffle(shuffled)
    assert statistic(name, shuffled).value == pytest.approx(statistic(name, rows).value)


@given(rows=gappy)
def test_alpha_is_invariant_with_gaps(rows: Rows) -> None:
    """Alpha does not depend on the raters' order, nor on items with one label."""
    found = statistic("krippendorff_alpha", rows).value
    turned = [tuple(reversed(row)) for row in rows] + [("a", None, None)]
    assert statistic("krippendorff_alpha", turned).value == pytest.approx(found)


@given(
    labels=st.lists(st.sampled_from("abc"), min_size=2, max_size=20),
    name=st.sampled_from(sorted(COEFFICIENTS)),
)
def test_perfect_agreement_is_one(labels: list[str], name: str) -> None:
    """Perfect agreement on two or more categories is 1."""
    found = statistic(name, [(label, label) for label in labels])
    if len(set(labels)) > 1 or name == "percent":
        assert found.value == pytest.approx(1.0)
    else:
        assert found.value is None


@given(rows=pairs)
def test_missing_is_no_category(rows: Rows) -> None:
    """Items with a missing label change neither part of kappa: both rest on the same items."""
    gaps: Rows = [("a", None), (None, "c")]
    assert statistic("cohen_kappa", [*rows, *gaps]).value == pytest.approx(
        statistic("cohen_kappa", rows).value
    )


def test_interval_is_seeded_and_holds_the_value() -> None:
    """The same seed gives the same interval, and the interval holds the value."""
    found = [statistic("cohen_kappa", GWET_ABSTRACTORS, seed=7, replicates=500) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0].low is not None and found[0].value is not None and found[0].high is not None
    assert 0.6 < found[0].low < found[0].value < found[0].high < 0.95


def test_items_are_drawn_again_within_their_stratum() -> None:
    """A stratum of which every item agrees contributes the same to each replicate."""
    rows: Rows = [pair for pair in (("a", "a"), ("b", "b")) for _ in range(5)]
    found = statistic("percent", rows, strata=["x"] * 5 + ["y"] * 5, replicates=50)
    assert (found.low, found.high) == (1.0, 1.0)


def test_agreement_on_each_category() -> None:
    """Positive agreement is 2a/(2a+b+c), and a rare category is marked."""
    found = category_agreement(table([[10, 2], [1, 7]]), ["0", "1"])
    assert found[0].positive == pytest.approx(20 / 23)
    assert (found[0].both, found[0].either, found[0].rare) == (10, 13, False)
    assert category_agreement([("a", "b")], ["c"])[0].positive is None
