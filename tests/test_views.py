"""Readable views and full-text search, as somebody sees them who opens the database in Datasette."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from db.engine import Database
from db.threads import Thread
from pipeline.datasette import datasette_metadata
from pipeline.records import PostRecord
from pipeline.store import to_record, upsert_threads
from pipeline.study import Study

VIEWS = ("threads", "posts", "matches", "label_history", "proposals")


@pytest.fixture
def opened(labelled: Database, tmp_path: Path) -> sqlite3.Connection:
    """The labelled database, opened as any SQLite tool does."""
    return sqlite3.connect(tmp_path / "study.db")


@pytest.mark.parametrize(("view", "rows"), [*zip(VIEWS, (20, 40, 40, 58, 0), strict=True)])
def test_views_show_urls_and_titles(opened: sqlite3.Connection, view: str, rows: int) -> None:
    """Each view starts with the URL and the title, and has a row for each of its things."""
    found = opened.execute(f"select * from {view}")
    assert [column[0] for column in found.description[:2]] == ["url", "title"]
    assert len(found.fetchall()) == rows


def test_a_threads_strata_are_one_sorted_cell(opened: sqlite3.Connection) -> None:
    """A cross-listed thread shows both of its strata."""
    assert opened.execute("select strata from threads where url like '%/2'").fetchone() == ("PI, TI",)


def test_text_is_found_and_stays_found_through_changes(
    labelled: Database, opened: sqlite3.Connection, study: Study
) -> None:
    """The index follows threads that are stored, changed and gone."""

    def hits(table: str, words: str) -> int:
        query = f"select count(*) from {table}_search where {table}_search match ?"
        return int(opened.execute(query, [words]).fetchone()[0])

    def store(**changes: object) -> None:
        with labelled.writing() as session:
            record = to_record(session.scalars(select(Thread).order_by(Thread.id).limit(1)).one())
            upsert_threads(session, study, [(replace(record, **changes), None)], b"key")

    assert hits("post", "epsilon") == 20 and hits("thread", "nan") == 20
    store(title="renamed", posts=(PostRecord("opening", "1", "Use another optimizer.", "text"),))
    assert hits("post", "epsilon") == 19 and hits("post", "optimizer") == 1 and hits("thread", "renamed") == 1
    store(title="", posts=(), availability="gone")
    assert hits("post", "optimizer") == 0 and hits("thread", "renamed") == 0
    for table in ("post", "thread"):
        opened.execute(f"insert into {table}_search({table}_search, rank) values ('integrity-check', 1)")


def test_every_view_and_table_has_a_description(opened: sqlite3.Connection) -> None:
    """The metadata file describes whatever Datasette lists, but for the index's own tables."""
    described = datasette_metadata("study")["databases"]["study"]["tables"]
    listed = {
        row[0] for row in opened.execute("select name from sqlite_master where type in ('table', 'view')")
    }
    own = {name for name in listed if "_search" not in name and not name.startswith("sqlite_")} - {
        "alembic_version"
    }
    assert own <= described.keys()
    assert all(entry["description"].endswith((".", ";")) for entry in described.values())
