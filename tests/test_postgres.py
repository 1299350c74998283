"""PostgreSQL gives the same schema, the same single writer and the same rules as SQLite."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db.base import Base
from db.crawls import Memory, RawPayload
from db.engine import Database, open_database
from db.errors import StoppedEarly
from pipeline.export import export_records
from pipeline.journal import begin_run, keep_payloads
from pipeline.material import read_material
from pipeline.proposing import propose
from pipeline.provenance import fingerprint
from pipeline.records import PostRecord, ThreadRecord
from pipeline.report import report_html
from pipeline.report_parts import explained_table
from pipeline.store import Counts, upsert_threads
from pipeline.study import Study
from pipeline.study_tables import study_tables

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.xdist_group("postgres")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A throw-away PostgreSQL server on a free port; skipped where its binaries are not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL server is installed")
    folder = Path("/tmp") / f"nanmine-postgres-{os.getpid()}"  # the server's user must be able to enter
    folder.mkdir()
    as_user = []
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def control(program: str, *words: str) -> None:
        subprocess.run([*as_user, str(found[-1].with_name(program)), *words], check=True, capture_output=True)

    data = str(folder / "data")
    control(
        "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--encoding=UTF8", "--locale=C", "--no-sync"
    )
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control("pg_ctl", "-D", data, "-l", str(folder / "log"), "-w", "-o", options, "start")
    yield f"postgresql://postgres@127.0.0.1:{port}"
    control("pg_ctl", "-D", data, "-m", "fast", "stop")
    shutil.rmtree(folder)


@pytest.fixture
def postgres(server: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database of its own on the server."""
    from sqlalchemy import create_engine

    name = f"study_{abs(hash(request.node.name)) % 10**9}"
    admin = create_engine(f"{server.replace('postgresql:', 'postgresql+psycopg:')}/postgres")
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"create database {name}"))
    admin.dispose()
    database = open_database(f"{server}/{name}")
    yield database
    database.close()


def test_migrations_give_the_schema_of_the_models(postgres: Database) -> None:
    """Migrating an empty PostgreSQL database gives exactly the tables that the models describe."""
    import db.final_labels
    import db.proposals
    import db.threads  # noqa: F401

    with postgres.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []


def test_threads_store_and_store_again(postgres: Database, study: Study) -> None:
    """A hostile thread is stored once; the second time nothing changes."""
    posts = (
        PostRecord("opening", "1", "nan \x00 \ud800 \U0001f525", "text"),
        PostRecord("reply", "2", "", "text"),
    )
    url = "https://github.com/o/r/issues/1"
    record = ThreadRecord("github", "o/r#1", url, "issue", "t\x00", posts, libraries=("pytorch",))
    with postgres.writing() as session:
        assert upsert_threads(session, study, [(record, None)], b"k") == Counts(new=1)
    with postgres.writing() as session:
        assert upsert_threads(session, study, [(record, None)], b"k") == Counts(unchanged=1)


def test_raw_payloads_are_append_only(postgres: Database) -> None:
    """The server itself refuses to change what was received; a long request is no obstacle."""
    with postgres.writing() as session:
        run = begin_run(session, "s", "crawl")
        assert (
            len(set(keep_payloads(session, run, "s", [("k", "r" * 9000, b"1"), ("k", "r" * 9000, b"1")])))
            == 1
        )
    with pytest.raises(DBAPIError, match="append-only"), postgres.writing() as session:
        session.query(RawPayload).delete()


def test_writers_and_activities_exclude_each_other(postgres: Database) -> None:
    """A second crawl is refused; after the first it may run."""
    with postgres.exclusive("crawl"), pytest.raises(StoppedEarly), postgres.exclusive("crawl"):
        pass
    with postgres.exclusive("crawl"), postgres.writing() as session:
        session.add(Memory(owner="a", name="b", value={}))


def test_tables_and_exports_are_those_of_sqlite(
    postgres: Database, labelled: Database, study: Study, fill_study: Callable[[Database], None]
) -> None:
    """The same threads and labels give the same tables, records, proposals and fingerprint on both."""
    fill_study(postgres)
    found = []
    for database in (postgres, labelled):
        propose(database, study, Path("none.npz"))
        with database.reading() as session:
            tables = study_tables(read_material(session, everything=True), study, everything=True)
            kinds = ("threads", "matches", "labels", "annotations", "proposals")
            records = {kind: list(export_records(session, kind)) for kind in kinds}
            views = session.execute(text("select url, title, strata from threads order by url")).all()
            facts = (explained_table(session), fingerprint(session, study))
            found.append((tables, records, views, facts, report_html(session, study).count("<tr>")))
    assert found[0] == found[1]
