"""Imports take both schemas, say what they skip, and change nothing the second time."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from sqlalchemy import func, select

from db.crawls import CrawlRun, RawPayload
from db.engine import Database
from db.threads import Post, Thread
from flows.cli import run
from pipeline.errors import InputError
from pipeline.imports import import_files
from pipeline.study import Study

LINE = {
    "source": "github",
    "url": "https://github.com/o/r/issues/1",
    "external_id": "o/r#1",
    "kind": "issue",
    "title": "NaN",
    "author": "ada",
    "created_at": "2020-01-01T00:00:00Z",
    "closed_at": "2020-01-02T00:00:00Z",
    "topics": ["pytorch"],
    "body": "loss is nan",
    "body_format": "markdown",
    "replies": [{"author": "bob", "created_at": None, "body": "clip", "body_format": "markdown"}],
}


def lines(path: Path, *rows: object) -> Path:
    """Write rows as JSON Lines; a text stays as it is."""
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_a_thread_with_replies_is_imported(database: Database, study: Study, tmp_path: Path) -> None:
    """Body and replies become posts, topics become libraries, the line is kept as it came."""
    report = import_files(database, study, [lines(tmp_path / "in.jsonl", LINE)])
    assert (report.total.new, report.skipped) == (1, [])
    with database.reading() as session:
        thread = session.scalars(select(Thread)).one()
        assert (thread.libraries, thread.candidate, len(thread.posts)) == (["pytorch"], True, 2)
        payload = session.scalars(select(RawPayload)).one()
        assert payload.request == "import github o/r#1"


def test_a_second_import_adds_no_row(database: Database, study: Study, tmp_path: Path) -> None:
    """The same file again, even under another name and packed, leaves every table as it was."""
    path = lines(tmp_path / "in.jsonl", LINE)
    packed = tmp_path / "other.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    import_files(database, study, [path])
    report = import_files(database, study, [packed])
    assert report.total.unchanged == 1
    with database.reading() as session:
        for table in (Thread, Post, RawPayload, CrawlRun):
            assert session.scalar(select(func.count()).select_from(table)) in (1, 2)
        assert session.scalar(select(func.count()).select_from(CrawlRun)) == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is nested too deep"),
        ("[]", "is not a JSON object"),
        (LINE | {"colour": "red"}, "unknown field 'colour'"),
        (LINE | {"url": "github.com/o/r"}, "is not an http address"),
        (LINE | {"kind": "poem"}, "kind 'poem' is not one of"),
        (LINE | {"created_at": "yesterday"}, "is not an RFC 3339 time"),
        (LINE | {"external_id": ""}, "external_id is missing"),
        (LINE | {"title": 7}, "title is not a text"),
        (LINE | {"replies": [7]}, "a post is not a JSON object"),
        (LINE | {"body_format": "rtf"}, "body_format 'rtf' is not one of"),
        (
            {key: value for key, value in LINE.items() if key not in ("body", "replies")},
            "export threads with --posts",
        ),
    ],
)
def test_a_bad_line_is_skipped_and_said(
    database: Database, study: Study, tmp_path: Path, row: object, reason: str
) -> None:
    """A line that cannot be used is named with its number and the reason; the others are imported."""
    report = import_files(database, study, [lines(tmp_path / "in.jsonl", row, LINE)])
    assert report.total.new == 1
    assert len(report.skipped) == 1
    assert report.skipped[0].startswith(f"{tmp_path}/in.jsonl:1: ")
    assert reason in report.skipped[0]


def test_strict_imports_nothing_of_a_bad_file(database: Database, study: Study, tmp_path: Path) -> None:
    """With --strict one bad line keeps every other out as well."""
    with pytest.raises(InputError, match=":2: is not JSON; nothing was imported"):
        import_files(database, study, [lines(tmp_path / "in.jsonl", LINE, "{")], strict=True)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Thread)) == 0


def test_a_truncated_archive_keeps_what_came_before(database: Database, study: Study, tmp_path: Path) -> None:
    """A gzip file that is cut short fails in one line."""
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(LINE).encode() * 50)[:-10])
    with pytest.raises(InputError, match=r"cut\.jsonl\.gz: cannot be read"):
        import_files(database, study, [path])


def test_a_foreign_source_is_kept_outside_the_strata(
    database: Database, study: Study, tmp_path: Path
) -> None:
    """Threads of a source that the study lacks are imported and counted apart."""
    report = import_files(database, study, [lines(tmp_path / "in.jsonl", LINE | {"source": "elsewhere"})])
    assert (report.total.new, dict(report.outside)) == (1, {"elsewhere": 1})


def test_the_command_reports_and_fails_when_nothing_could_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`nanmine import` prints its counts; a file without one usable line is exit 1."""
    assert run(["import", str(lines(tmp_path / "in.jsonl", LINE, "{"))]) == 0
    assert "1 new, 0 changed, 0 unchanged, 1 lines skipped" in capsys.readouterr().out
    assert run(["import", str(lines(tmp_path / "bad.jsonl", "{"))]) == 1
    assert run(["import", "missing.jsonl"]) == 2


@pytest.mark.shared
@pytest.mark.slow
def test_the_real_threads_count_as_their_index_says(database: Database, study: Study, shared: Path) -> None:
    """The candidates of the real corpus are exactly those that its index states."""
    import_files(database, study, sorted((shared / "corpus").glob("*.jsonl.gz")))
    with database.reading() as session:
        counted = select(Thread.source, func.count()).where(Thread.candidate).group_by(Thread.source)
        assert dict(tuple(row) for row in session.execute(counted)) == {
            "github": 433,
            "pytorch-forums": 11,
            "stackoverflow": 2,
        }
