"""Exports: records out of the database, in three forms, back without loss."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from db.engine import Database
from flows.cli import nanmine
from pipeline.errors import InputError
from pipeline.export import EXPORTS, export_records, exported_fields
from pipeline.fields import Field, fields_of
from pipeline.serial import FORMATS, read_records, write_records

HOSTILE = [
    "=1+1",
    "+cmd|' /C calc'!A0", "-2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1", "''", "'", "\\", "\\\\", "",
    "a,b", 'a"b', "a\nb", "a\r\nb", "\u2028", "\ufeff", "‮", "\x00", "\x1b[31m", "NaN", "null", "None", "true",
    "1e5", "00012", "٣", "＝1", " ", "  x  ", "😀", "<script>alert(1)</script>", "é" * 300,
]  # fmt: skip


def hostile_rows(count: int) -> list[dict[str, Any]]:
    """Return `count` label records whose texts are as hostile as texts get."""
    rows = []
    for number in range(count):
        text = HOSTILE[number % len(HOSTILE)] + (HOSTILE[(number // 7) % len(HOSTILE)] if number % 3 else "")
        reason = None if number % 5 == 0 else HOSTILE[number % len(HOSTILE)]
        common = {"url": text, "strata": [text, ""][: number % 3], "valid": number % 2 == 0, "reason": reason}
        rows.append(common | {"root_cause": None, "fix_pattern": text or None, "function": "", "how": text})
    return rows


def round_trip(rows: Iterable[dict[str, Any]], kind: str, form: str, folder: Path) -> list[dict[str, Any]]:
    """Write records and read them back."""
    path = folder / f"rows.{form}"
    with path.open("wb") as stream:
        write_records(rows, fields_of(kind), form, stream)
    return read_records(path, fields_of(kind))


@pytest.mark.parametrize("form", FORMATS)
def test_ten_thousand_hostile_rows_lose_nothing(form: str, tmp_path: Path) -> None:
    """Formulas, quotes, controls, line ends, nulls and empty texts come back as they went in."""
    rows = hostile_rows(10_000)
    assert round_trip(rows, "labels", form, tmp_path) == rows


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=60)
@given(st.lists(st.tuples(st.text(), st.none() | st.text()), max_size=4))
def test_any_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory, form: str, pairs: list[tuple[str, str | None]]
) -> None:
    """Any text, and null apart from the empty text."""
    rows = [
        {"url": text, "strata": [text], "valid": True, "reason": other, "root_cause": other}
        | {"fix_pattern": None, "function": other, "how": text}
        for text, other in pairs
    ]
    assert round_trip(rows, "labels", form, tmp_path_factory.mktemp("rows")) == rows


def test_no_cell_of_csv_is_a_formula(tmp_path: Path) -> None:
    """No cell starts with a character that a spreadsheet executes, whatever the text."""
    import csv

    with (tmp_path / "rows.csv").open("wb") as stream:
        write_records(hostile_rows(2_000), fields_of("labels"), "csv", stream)
    with (tmp_path / "rows.csv").open(newline="") as lines:
        cells = [cell for row in csv.reader(lines) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_a_thread_is_exported_as_the_interface_says(labelled: Database) -> None:
    """Exactly the fields of the contract, times in UTC, posts only on request."""
    with labelled.reading() as session:
        threads = list(export_records(session, "threads"))
        with_posts = list(export_records(session, "threads", with_posts=True))
    assert [thread["url"] for thread in threads] == sorted(thread["url"] for thread in threads)
    assert list(threads[0]) == [field.name for field in exported_fields("threads")]
    assert threads[0]["created_at"] == "2022-01-02T03:04:05Z"
    assert [len(thread["posts"]) for thread in with_posts] == [thread["n_posts"] for thread in threads]
    keys = {"position", "external_id", "author", "created_at", "accepted", "body", "body_format"}
    assert set(with_posts[0]["posts"][0]) == keys
    assert threads[0]["author"].startswith("anon:")


def test_every_export_has_the_fields_it_declares(labelled: Database) -> None:
    """The keys of each record are the declared fields, so headings never lie."""
    with labelled.reading() as session:
        for kind in sorted(set(EXPORTS) - {"proposals"}):
            names = {field.name for field in fields_of(kind)}
            assert all(set(record) == names for record in export_records(session, kind)), kind


def test_matches_say_where_the_keyword_stands(labelled: Database) -> None:
    """A match in a title has no post; one in a body names its post and offsets."""
    with labelled.reading() as session:
        matches = list(export_records(session, "matches"))
    assert {match["field"] for match in matches} == {"title", "body"}
    assert all((match["position"] is None) == (match["field"] == "title") for match in matches)


def test_labels_are_the_final_ones(labelled: Database) -> None:
    """A label with the strata it counts in and how it came; a discarded thread has none."""
    with labelled.reading() as session:
        labels = {record["url"].rpartition("/")[2]: record for record in export_records(session, "labels")}
    assert {record["how"] for record in labels.values()} == {"agreed", "adjudicated", "imported"}
    assert labels["2"]["strata"] == ["PI", "TI"] and labels["19"]["function"] == "log"
    assert "7" not in labels


def test_annotations_are_those_before_adjudication_under_other_names(labelled: Database) -> None:
    """Both votes on the disputed thread, no handle of a person."""
    with labelled.reading() as session:
        records = list(export_records(session, "annotations"))
    disputed = [record for record in records if record["url"].endswith("/3")]
    assert [(record["annotator"], record["root_cause"]) for record in disputed] == [
        ("annotator-1", "RE"),
        ("annotator-2", "CLE"),
    ]
    assert len(records) == 36 and all(record["simulated"] for record in records)


def test_the_command_writes_whole_files_or_none(labelled: Database, tmp_path: Path) -> None:
    """A file appears when it is complete; without --out the records go to standard output."""
    run = CliRunner().invoke(
        nanmine,
        [
            "--database",
            f"sqlite:///{tmp_path}/study.db",
            "export",
            "threads",
            "--out",
            "t.csv",
            "--format",
            "csv",
        ],
    )
    assert run.exit_code == 0, run.output
    assert read_records(Path("t.csv"), fields_of("threads"))
    assert not list(Path().glob(".*partial"))
    printed = CliRunner().invoke(
        nanmine, ["--database", f"sqlite:///{tmp_path}/study.db", "export", "threads", "--posts"]
    )
    assert all("posts" in json.loads(line) for line in printed.output.splitlines())


@pytest.mark.parametrize(
    ("name", "content"), [("x.jsonl", "{}\n"), ("x.jsonl", "{"), ("x.csv", ""), ("x.csv", "url,a\n\n")]
)
def test_a_file_that_is_no_export_is_refused(tmp_path: Path, name: str, content: str) -> None:
    """The message names the file, whatever is wrong with it."""
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=rf"{name}: cannot be read as an export"):
        read_records(tmp_path / name, [Field("url", "string", "")])
