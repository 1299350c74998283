"""The database: one schema on both dialects, one writer at a time, errors in one line."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pkgutil
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, text
from sqlalchemy.exc import IntegrityError

import db
from db.base import Base
from db.crawls import Memory
from db.engine import VERSIONS, Database, create_engine_for, head_revision, open_database
from db.errors import DatabaseError, StoppedEarly
from flows.cli import run


def differences(database: Database) -> list[object]:
    """Return what the migrated schema and the models do not agree on, views and search tables apart."""
    for module in pkgutil.iter_modules(db.__path__):
        if module.name != "migrations":
            importlib.import_module(f"db.{module.name}")
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": _ours})
        return compare_metadata(context, Base.metadata)


def _ours(name: str | None, kind: str, parents: object) -> bool:
    return kind != "table" or name in Base.metadata.tables


def test_migrations_give_the_schema_of_the_models(database: Database) -> None:
    """Migrating an empty SQLite file gives exactly the tables that the models describe."""
    assert differences(database) == []


def test_a_raw_payload_never_changes(database: Database) -> None:
    """The database itself refuses to change or delete what was received."""
    insert = (
        "insert into crawl_run (id, source, activity, version, started_at, outcome, requests, counts)"
        " values (1, 's', 'crawl', '1', '2020-01-01', 'running', 0, '{}')"
    )
    payload = (
        "insert into raw_payload"
        " (source, kind, request, request_sha256, sha256, body, fetched_at, crawl_run_id)"
        " values ('s', 'k', 'r', 'a', 'b', x'00', '2020-01-01', 1)"
    )
    with database.writing() as session:
        session.execute(text(insert))
        session.execute(text(payload))
    for act in ("update raw_payload set kind = 'other'", "delete from raw_payload"):
        with pytest.raises(IntegrityError, match="append-only"), database.writing() as session:
            session.execute(text(act))


def _increment(url: str, times: int) -> None:
    database = open_database(url)
    for _ in range(times):
        with database.writing() as session:
            row = session.get_one(Memory, ("test", "counter"))
            row.value = {"count": row.value["count"] + 1}


def test_concurrent_writers_lose_no_update(database: Database) -> None:
    """Three processes that read, add one and write back lose nothing and never meet a lock."""
    with database.writing() as session:
        session.add(Memory(owner="test", name="counter", value={"count": 0}))
    url = str(database.engine.url)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_increment, args=(url, 30)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with database.reading() as session:
        assert session.get_one(Memory, ("test", "counter")).value == {"count": 90}


def test_a_failed_writer_keeps_nothing(database: Database) -> None:
    """An error inside a writing session undoes all of it."""
    with pytest.raises(RuntimeError), database.writing() as session:
        session.add(Memory(owner="test", name="half", value={}))
        session.flush()
        raise RuntimeError
    with database.reading() as session:
        assert session.get(Memory, ("test", "half")) is None


def test_a_newer_schema_is_refused(database: Database) -> None:
    """A database of a newer program is named as such, and not touched."""
    with database.writing() as session:
        session.execute(text("update alembic_version set version_num = '9999'"))
    with pytest.raises(DatabaseError, match=f"9999 is newer than this program's {head_revision()}; update"):
        open_database(str(database.engine.url))


def test_another_program_s_database_is_refused(tmp_path: Path) -> None:
    """A SQLite file with somebody else's tables is left alone."""
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("create table theirs (x)")
    with pytest.raises(DatabaseError, match="not nanmine's"):
        open_database(f"sqlite:///{tmp_path}/other.db")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:////no/such/folder/study.db", "unable to open database file"),
        ("nonsense", "cannot be used"),
        ("oracle://somewhere/db", "cannot be used"),
    ],
)
def test_an_unusable_url_is_explained(url: str, said: str) -> None:
    """A URL that leads nowhere ends in one line."""
    with pytest.raises(DatabaseError, match=said) as caught:
        open_database(url)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    """A text file is not taken for a database."""
    (tmp_path / "notes.db").write_text("these are notes, not a database at all" * 30)
    with pytest.raises(DatabaseError, match="not a database"):
        open_database(f"sqlite:///{tmp_path}/notes.db")


def test_a_locked_database_is_explained(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that waits too long says who to wait for."""
    monkeypatch.setattr("db.engine.BUSY_SECONDS", 0)
    other = open_database(str(database.engine.url))
    with (
        database.writing(),
        pytest.raises(DatabaseError, match="database is locked; another process"),
        other.writing(),
    ):
        pass


def test_an_activity_is_exclusive(database: Database) -> None:
    """While one holds an activity, a second is told to come again; afterwards it may."""
    other = open_database(str(database.engine.url))
    with (
        database.exclusive("crawl"),
        pytest.raises(StoppedEarly, match="another crawl"),
        other.exclusive("crawl"),
    ):
        pass
    with other.exclusive("crawl"):
        pass


def test_a_password_is_never_shown() -> None:
    """Neither the repr nor an error shows the password of a database URL."""
    with pytest.raises(DatabaseError) as caught:
        open_database("postgresql://ada:lovelace@127.0.0.1:1/study")
    assert "lovelace" not in str(caught.value)


@contextmanager
def nobody(folder: Path) -> Iterator[None]:
    """Be somebody who can read the folder and cannot write it: root could write it whatever its mode."""
    folder.chmod(0o555)
    if os.getuid() == 0:
        os.setresuid(65534, 65534, 0)
    try:
        if not all(os.access(path, os.R_OK) for path in (VERSIONS, folder)):
            pytest.skip("only root can read this clone, or the folder for temporary files")
        yield
    finally:
        if os.geteuid() == 65534:
            os.setresuid(0, 0, 0)
        folder.chmod(0o755)


@pytest.fixture
def folder(labelled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, which anybody can reach, with a database file that was closed."""
    labelled.close()
    with tempfile.TemporaryDirectory() as path:
        shutil.copy(tmp_path / "study.db", path)
        monkeypatch.chdir(path)
        yield Path(path)


@pytest.mark.parametrize(
    "words",
    [["status"], ["tables"], ["label", "report"], ["export", "labels"], ["report", "--out", "/dev/null"]],
)
def test_a_database_in_a_folder_that_cannot_be_written_can_be_read(
    folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What only reads says the same of a file on a read-only medium as of one that can be written."""
    command = ["--database", "sqlite:///study.db", *words]
    assert run(command) == 0
    said = capsys.readouterr().out
    with nobody(folder):
        code = run(command)
    told = capsys.readouterr()
    assert (code, told.out) == (0, said), told.err
    assert [path.name for path in folder.iterdir()] == ["study.db"]


@pytest.mark.parametrize("name", ["study.db", "a b#c%41ü.db"])
@pytest.mark.parametrize("before", ["", "./", "{folder}/", "/{folder}/"])
def test_a_database_that_is_only_read_has_any_name(folder: Path, name: str, before: str) -> None:
    """Blanks, number and percent signs, and a slash too many name the file that they always name."""
    (folder / "study.db").rename(folder / name)
    url = URL.create("sqlite", database=before.format(folder=folder) + name)
    with nobody(folder):
        database = Database(create_engine_for(url.render_as_string()))
        with database.reading() as session:
            assert session.scalar(text("select count(*) from thread"))
        database.close()


def test_changes_that_wait_beside_a_database_are_read_with_it(folder: Path) -> None:
    """A -wal that was copied along counts, and nothing can be written: one line says what to do."""
    writer = open_database("sqlite:///study.db")
    with writer.writing() as session:
        session.execute(text("update thread set title = 'waits' where id = 1"))
    (folder / "study.db-shm").chmod(0o644)
    with nobody(folder):
        reader = open_database("sqlite:///study.db")
        with reader.reading() as session:
            assert session.scalar(text("select title from thread where id = 1")) == "waits"
        with pytest.raises(DatabaseError, match="make it writable, or copy"), reader.writing() as session:
            session.execute(text("update thread set title = 'cannot'"))
        reader.close()
    writer.close()
