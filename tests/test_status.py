"""Status counts what is there: the funnel, labels, proposals, lists, work left and the last runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from db.engine import Database
from flows.cli import run
from pipeline.status import read_status, render_status
from pipeline.study import Study


def test_an_empty_database_counts_nothing(database: Database, study: Study) -> None:
    """Every number of an empty study is zero, and the lines can be read all the same."""
    with database.reading() as session:
        found = read_status(session, study)
    assert (found["threads"], found["candidates"], found["labels"]["final"], found["unfinished"]) == (
        0,
        0,
        0,
        {},
    )
    assert (
        render_status(found).splitlines()[0]
        == "numerical-bugs: 0 threads, 0 candidates, 0 final labels, 0 proposals"
    )


def test_the_funnel_narrows_to_the_candidates(labelled: Database, study: Study) -> None:
    """From criterion to criterion a stratum's threads grow fewer, down to its candidates."""
    with labelled.reading() as session:
        found = read_status(session, study)
    for stratum in found["strata"].values():
        left = [stratum["threads"], *stratum["criteria"].values()]
        assert left == sorted(left, reverse=True)
        assert left[-1] == stratum["candidates"]
    assert found["labels"]["final"] > 0
    assert "simulated" in render_status(found)


def test_the_document_is_one_json_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`status --json` prints exactly one document."""
    assert run(["--database", f"sqlite:///{tmp_path}/s.db", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["study"] == "numerical-bugs"
