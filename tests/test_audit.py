"""The erratum report: what a published study prints, recomputed by rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.audit import audit_tables, count_checks, list_checks, read_lists, to_entry
from pipeline.errors import InputError
from pipeline.published import load_published

PUBLISHED = load_published("wang2022")


def test_the_counts_alone_show_the_papers_slips() -> None:
    """Two figures for one share, posts of two forums under one name, nine categories for 396 of 400."""
    found = {(check.printed, check.recomputed) for check in count_checks(PUBLISHED) if not check.agrees}
    assert {("45.75", "55.65"), ("55.65", "45.75"), ("723", "323"), ("400", "396")} <= found


def test_what_agrees_is_counted_and_not_listed() -> None:
    """All sums and proportions of Table 1 agree, so none of them is a finding."""
    wrong = {check.rule for check in count_checks(PUBLISHED) if not check.agrees}
    assert not wrong & {
        "row total is the sum of its cells",
        "proportion is of its broad type",
        "cells sum to the valid threads",
    }


def test_a_changed_cell_is_found() -> None:
    """A planted slip in one cell breaks its row, its column, the whole, and what is quoted of it."""
    first = PUBLISHED.table1[0] | {"counts": PUBLISHED.table1[0]["counts"] | {"TI": 22}}
    planted = replace(PUBLISHED, table1=(first, *PUBLISHED.table1[1:]))
    rules = {check.rule for check in count_checks(planted) if not check.agrees}
    assert "row total is the sum of its cells" in rules
    assert "column sums to the valid threads of its stratum" in rules
    assert "quoted share follows from Table 1" in rules


def test_printed_ranges_are_tried_in_float32() -> None:
    """x > 88 is said to be invalid for exp, which is finite up to 88.72; acos is not finite beyond 1."""
    wrong = {
        check.where.split()[2]
        for check in count_checks(PUBLISHED)
        if "range" in check.rule and not check.agrees
    }
    assert wrong == {"div", "exp", "expm1", "acos", "lgamma"}


def test_without_lists_the_report_says_so() -> None:
    """An audit of the counts alone is not taken for a whole one."""
    tables = audit_tables(PUBLISHED, None)
    assert [table.name for table in tables] == ["audit", "audit-rules"]
    assert "lists were not given" in tables[0].notes[1]


@pytest.mark.parametrize(
    ("url", "kind", "thread"),
    [
        ("https://github.com/A/b/issues/7#issuecomment-1", "issue", "a/b#7"),
        ("https://github.com/A/b/pull/7/files", "pull request", "a/b#7"),
        ("https://stackoverflow.com/questions/12/x", "question", "question 12"),
        ("https://discuss.pytorch.org/t/slug/34/5", "topic", "topic 34"),
        ("https://discuss.pytorch.org/t/34", "topic", "topic 34"),
        ("https://discuss.pytorch.org/t/slug", None, None),
    ],
)
def test_a_url_says_what_it_points_to(url: str, kind: str | None, thread: str | None) -> None:
    """Kind and thread follow from the URL, or are None where it has no id."""
    entry = to_entry("X", url)
    assert (entry.kind, entry.thread) == (kind, thread)


def test_a_missing_list_is_named() -> None:
    """The message says which list is not there and what to do."""
    with pytest.raises(InputError, match=r"has no 'TensorFlow Issues on Github.md'"):
        read_lists(PUBLISHED, Path())


@pytest.mark.shared
def test_the_published_lists_hold_what_their_readers_found(shared: Path) -> None:
    """16 threads in two lists, 23 pull requests, one URL without an id, 383 ids."""
    entries = read_lists(PUBLISHED, shared / "study" / "published")
    found = {check.rule: check.recomputed for check in list_checks(PUBLISHED, entries)}
    assert len(entries) == 400
    assert found["no thread stands in two lists"] == "16"
    assert found["no pull request among the issues"] == "23"
    assert found["every URL names a thread by its id"] == "1"
    assert found["the entries are as many threads"] == "384"
