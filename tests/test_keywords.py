"""Keywords match as whole tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.keywords import KeywordMatcher
from pipeline.study import Study

WORDS = KeywordMatcher(["nan", "nans", "inf", "infs"], ["isnan", "infinity", "not a number"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("loss: nan", ["nan"]),
        ("np.nan", ["nan"]),
        ("NaN/Inf", ["NaN", "Inf"]),
        ("goes to -inf", ["inf"]),
        ("nan_loss", ["nan"]),
        ("tensor(nan, device='cuda')", ["nan"]),
        ("NaNs and infs", ["NaNs", "infs"]),
        ("float('inf')", ["inf"]),
        ("nan,nan", ["nan", "nan"]),
    ],
)
def test_token_is_found(text: str, found: list[str]) -> None:
    """A keyword between borders is a match, whatever its case."""
    assert [match.text for match in WORDS.find(text)] == found


@pytest.mark.parametrize(
    "text",
    ["banana", "nano", "nanny", "info", "inference", "inferior", "finance", "nan1", "1nan", "ñnan", ""],
)
def test_part_of_a_word_is_not_found(text: str) -> None:
    """A keyword inside a longer word is no match."""
    assert list(WORDS.find(text)) == []


def test_extended_keyword_is_marked() -> None:
    """An extended keyword is recorded as such, and its words may stand on two lines."""
    found = list(WORDS.find("isnan gave Not a\n  number, nan"))
    assert [(match.keyword, match.extended) for match in found] == [
        ("isnan", True),
        ("not a number", True),
        ("nan", False),
    ]


def test_no_keywords_find_nothing() -> None:
    """A study without keywords matches nothing."""
    assert list(KeywordMatcher([]).find("nan")) == []


@given(st.text())
def test_offsets_point_at_the_match(text: str) -> None:
    """Each match stands where its offsets say, and spells its keyword."""
    for match in WORDS.find(text):
        assert text[match.start : match.end] == match.text
        assert match.text.lower().replace("ı", "i") == match.keyword or match.extended


def test_bundled_study_counts_nan_and_inf(study: Study) -> None:
    """The bundled study counts nan and inf, and only records isnan."""
    assert study.keywords.counted == ("nan", "nans", "inf", "infs")
    assert "isnan" in study.keywords.extended


@given(st.text(alphabet="naNisINFſıİ tumbero0_.-é", max_size=40))
def test_occurrence_is_what_is_found(text: str) -> None:
    """A text is said to hold a keyword exactly when one is found in it."""
    assert WORDS.occurs_in(text) == bool(list(WORDS.find(text)))
