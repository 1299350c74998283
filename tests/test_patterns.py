"""Frequent patterns: features of threads, and what is over-represented in a cause."""

from __future__ import annotations

import pytest
from scipy.stats import fisher_exact

from db.engine import Database
from db.final_labels import final_labels
from pipeline.patterns import Pattern, count_patterns, features_of, p_values, pattern_table, read_features
from pipeline.study import Study


@pytest.mark.parametrize(
    ("text", "code", "found"),
    [
        ("", "y = torch.log(x)", {("call", "torch.log"), ("operation", "log")}),
        ("", "if (x): print(y)", set()),
        ("", "self.net(x)", {("call", "self.net")}),
        ("RuntimeError: got nan at step 12", "", {("message", "RuntimeError: got nan at step N")}),
        ("Function 'SqrtBackward0' returned nan", "", {("message", "SqrtBackward0")}),
        ("banana (nan)", "", set()),
    ],
)
def test_features_are_calls_operations_and_messages(
    text: str, code: str, found: set[tuple[str, str]]
) -> None:
    """Calls with their module, the operations among them, errors with numbers left out."""
    assert features_of(text, code) == found


def test_a_planted_pattern_is_found_with_its_figures(study: Study) -> None:
    """A call in 9 of 10 IR threads and 1 of 30 others: support, lift and exact test."""
    log = frozenset({("call", "torch.log")})
    threads = [("IR", log)] * 9 + [("IR", frozenset())] + [("GE", log)] + [("GE", frozenset())] * 29
    (pattern,) = count_patterns(threads, ["IR"])
    assert (pattern.inside, pattern.of, pattern.outside, pattern.others) == (9, 10, 1, 30)
    assert pattern.lift == pytest.approx(0.9 / 0.25)
    exact = fisher_exact([[9, 1], [1, 29]], alternative="greater").pvalue
    assert p_values([pattern]) == [pytest.approx(exact)]
    assert pattern_table(threads, study).rows[0][-1] == "yes"


def test_chance_is_not_called_a_pattern(study: Study) -> None:
    """A feature as frequent elsewhere has a lift of 1 and is left out; a weak one is not marked."""
    common = frozenset({("call", "print_loss")})
    even = [("IR", common)] * 5 + [("GE", common)] * 5
    assert pattern_table(even, study).rows == ()
    weak = [("IR", common)] * 2 + [("IR", frozenset())] * 3 + [("GE", common)] + [("GE", frozenset())] * 4
    assert pattern_table(weak, study).rows[0][-1] == ""


def test_patterns_are_read_from_the_threads_of_a_study(labelled: Database, study: Study) -> None:
    """Code blocks are told from prose, and the table is the same twice."""
    with labelled.reading() as session:
        labels = final_labels(session)
        threads = list(read_features(session, labels))
        assert len(threads) == 16
        first = pattern_table(read_features(session, labels), study)
        assert first == pattern_table(read_features(session, labels), study)
    assert any(("call", "torch.log") in features for _, features in threads)


@pytest.mark.parametrize(
    "text", ["a." * 50_000, "f(" * 50_000, "A" * 100_000 + "Error: ", "RuntimeError: " * 7_000]
)
def test_no_text_takes_long(text: str) -> None:
    """The expressions are linear: a hostile text of 100,000 characters takes well under a second."""
    features_of(text, text)


def test_lift_is_relative_to_all_threads() -> None:
    """Half of a cause against a quarter of all threads is a lift of 2."""
    assert Pattern("call", "f", "IR", 5, 10, 0, 10).lift == 2.0
