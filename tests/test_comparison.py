"""This study beside a published one: intervals, association and permutation tests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, chi2_contingency, false_discovery_control

from db.records import FinalLabel, Label
from pipeline.comparison import compare_causes, compare_strata, comparison_tables
from pipeline.published import load_published
from pipeline.statistics import association, clopper_pearson, false_discovery
from pipeline.study import Study
from pipeline.table import Share
from pipeline.tables import group

PUBLISHED = load_published("wang2022")


def paper_labels(times: int = 1) -> list[FinalLabel]:
    """Return final labels counted as in the paper."""
    cells = [(row["cause"], code, count) for row in PUBLISHED.table1 for code, count in row["counts"].items()]
    spread = [(cause, code) for cause, code, count in cells for _ in range(count * times)]
    return [
        FinalLabel(n, f"u{n}", (code,), Label(True, root_cause=cause), "agreed")
        for n, (cause, code) in enumerate(spread)
    ]


@given(st.integers(1, 300).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_exact_intervals_are_those_of_the_beta_distribution(pair: tuple[int, int]) -> None:
    """Clopper-Pearson agrees with the textbook formula and holds the share itself."""
    count, of = pair
    found = clopper_pearson(count, of)
    assert found is not None and found.low <= count / of <= found.high
    assert found.low == pytest.approx(beta.ppf(0.025, count, of - count + 1) if count else 0, abs=1e-9)
    assert found.high == pytest.approx(beta.ppf(0.975, count + 1, of - count) if count < of else 1, abs=1e-9)


def test_cramers_v_is_that_of_chi_square() -> None:
    """V of a two-row table is the root of chi-square over n."""
    first, second = (30, 10, 5, 0), (10, 20, 9, 0)
    chi_square = chi2_contingency([first[:3], second[:3]], correction=False).statistic
    found = association(first, second)
    assert found.cramers_v == pytest.approx((chi_square / 84) ** 0.5)
    assert found.p_value is not None and 0.0001 <= found.p_value < 0.01


def test_equal_rows_do_not_differ_and_the_test_repeats() -> None:
    """The same distribution twice: V is 0, p is 1, and every run says the same."""
    assert association((10, 20, 30), (10, 20, 30)) == association((10, 20, 30), (10, 20, 30))
    found = association((10, 20, 30), (10, 20, 30))
    assert found.cramers_v == pytest.approx(0) and found.p_value == 1


@pytest.mark.parametrize(("first", "second"), [((0, 0), (3, 4)), ((5, 0), (7, 0)), ((), ())])
def test_nothing_to_compare_is_no_number(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    """An empty row or a single column has neither V nor p."""
    found = association(first, second)
    assert found.cramers_v is None and found.p_value is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_false_discovery_is_benjamini_hochberg(p_values: list[float]) -> None:
    """Adjusted p-values agree with SciPy's."""
    assert false_discovery(p_values) == pytest.approx(list(false_discovery_control(p_values)))


def test_the_papers_own_counts_do_not_differ_from_the_paper(study: Study) -> None:
    """Every difference is 0.00 and no stratum differs."""
    groups = group(paper_labels())
    table = compare_causes(groups, study, PUBLISHED)
    assert set(table.column("Difference")) == {"+0.00"}
    tests = compare_strata(groups, study, PUBLISHED)
    assert tests.column("Stratum") == ("all", "TI", "TP", "PI", "PP")
    assert set(tests.column("p")) == {1.0}


def test_the_published_tables_stand_beside(study: Study) -> None:
    """Table 1 as printed, and the quoted fix patterns with their shares."""
    first, _, fixes, _ = comparison_tables(group(paper_labels()), study, PUBLISHED)
    assert tuple(map(str, first.rows[0])) == ("Code Relevant", "IR", "21", "29", "22", "21", "93", "50.82%")
    assert fixes.rows[0][:3] == ("APIM", "replace-api", 0) and fixes.rows[0][5:7] == (16, Share(16, 35))


def test_a_study_without_labels_compares_to_dashes(study: Study) -> None:
    """No labels yet: the published side stands, ours is empty, nothing fails."""
    table = compare_causes(group([]), study, PUBLISHED)
    assert set(table.column("Difference")) == {None}
    assert table.column("# There")[:2] == (183, 213)
