"""Open the database: SQLite in WAL mode or PostgreSQL, one writer at a time on both.

A read-modify-write under SQLite's default transactions loses updates silently, so every writing
session begins with BEGIN IMMEDIATE; on PostgreSQL it takes one advisory lock instead.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import Session

from db.errors import DatabaseError, StoppedEarly
from db.summaries import renew_summaries

BUSY_SECONDS = 10
WRITER_LOCK = 0x6E616E6D  # "nanm": any constant, the same in every process
VERSIONS = Path(__file__).parent / "migrations" / "versions"


class Database:
    """An opened database; sessions come from `reading()` and `writing()`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writer = engine.execution_options(writer=True)

    def __repr__(self) -> str:
        return f"Database({self.engine.url.render_as_string(hide_password=True)!r})"

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Give a session for queries; nothing it changes is kept."""
        with explaining(self.engine.url), Session(self.engine) as session:
            yield session
            session.rollback()

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Give a session that is the only writer; it commits on leaving, or keeps nothing."""
        with explaining(self.engine.url), Session(self._writer) as session, session.begin():
            session.connection()  # begins now, not at the first statement
            if session.get_bind().dialect.name == "postgresql":
                session.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": WRITER_LOCK})
            yield session
            renew_summaries(session)

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Hold the right to do `name` on this database, or raise StoppedEarly if another process does.

        A process that dies lets go of it: a locked file beside the SQLite file, or an advisory lock.
        """
        with self._locked_file(name) if self.engine.dialect.name == "sqlite" else self._advisory(name):
            yield

    @contextmanager
    def _locked_file(self, name: str) -> Iterator[None]:
        if self.engine.url.database in (None, "", ":memory:"):
            yield
            return
        path = Path(f"{self.engine.url.database}.{name}-lock")
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoppedEarly(_busy(name, self.engine.url)) from None
            yield

    @contextmanager
    def _advisory(self, name: str) -> Iterator[None]:
        with explaining(self.engine.url), self.engine.connect() as connection:
            if not connection.execute(
                text("select pg_try_advisory_lock(hashtext(:name))"), {"name": name}
            ).scalar():
                raise StoppedEarly(_busy(name, self.engine.url))
            yield
            connection.execute(text("select pg_advisory_unlock(hashtext(:name))"), {"name": name})

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Open the database at `url`, creating an empty one with the schema of today.

    Raises DatabaseError: the URL is wrong, the file is no database, locked or of another schema.
    """
    engine = create_engine_for(url)
    with explaining(engine.url):
        found = schema_revision(engine)
        if found is None:
            upgrade(engine)
        elif found != head_revision():
            raise DatabaseError(_other_schema(found, engine.url))
    return Database(engine)


def create_engine_for(url: str) -> Engine:
    """Return an engine for `url` with our connection settings; nothing is connected yet."""
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        engine = create_engine(parsed)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseError(
            f"database URL: cannot be used ({_first_line(error)}); write sqlite:///FILE or postgresql://…"
            " (PostgreSQL needs the extra nanmine[postgres])"
        ) from None
    if engine.dialect.name == "sqlite":
        if _is_at_rest(engine.url):
            event.listen(engine, "do_connect", _as_immutable)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _is_at_rest(url: URL) -> bool:
    """Say whether SQLite can put no -wal beside the file and finds none: it would not open it as usual."""
    path = Path(url.database or "").resolve()
    return path.is_file() and not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists()


def _as_immutable(_dialect: Any, _record: Any, arguments: list[Any], parameters: dict[str, Any]) -> None:
    arguments[0] = f"file://{quote(arguments[0])}?immutable=1"
    parameters["uri"] = True


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # we emit BEGIN ourselves, below
    for pragma in (
        f"busy_timeout={BUSY_SECONDS * 1000}",
        "journal_mode=WAL",
        "foreign_keys=ON",
        "synchronous=FULL",
    ):
        connection.execute(f"pragma {pragma}")


def _begin_sqlite(connection: Any) -> None:
    writer = connection.get_execution_options().get("writer")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")


def head_revision() -> str:
    """Return the newest schema revision this program knows: the number its last migration bears."""
    return max(path.name[:4] for path in VERSIONS.glob("[0-9]*.py"))


def schema_revision(engine: Engine) -> str | None:
    """Return the revision of the database's schema, or None where there is none yet.

    Raises DatabaseError where the file holds tables that are not ours.
    """
    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        if "alembic_version" in tables:
            return connection.execute(text("select version_num from alembic_version")).scalar()
        if tables:
            raise DatabaseError(
                f"{_name(engine.url)}: holds tables that are not nanmine's; name another database"
            )
        return None


def upgrade(engine: Engine) -> None:
    """Bring the schema to the head revision; on SQLite and PostgreSQL the same."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(VERSIONS.parent).replace("%", "%%"))
    with engine.execution_options(writer=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _other_schema(found: str, url: URL) -> str:
    if found > head_revision():
        return f"{_name(url)}: schema {found} is newer than this program's {head_revision()}; update nanmine"
    return f"{_name(url)}: schema {found} is older than this program's; run: nanmine db upgrade"


@contextmanager
def explaining(url: URL) -> Iterator[None]:
    """Turn a driver's error into one line that says which database and what to do."""
    try:
        yield
    except DBAPIError as error:
        message = _first_line(error.orig or error)
        for pattern, advice in ADVICE.items():
            if re.search(pattern, message):
                raise DatabaseError(f"{_name(url)}: {message}; {advice}") from error
        raise


ADVICE = {
    r"database is locked": f"another process kept it for over {BUSY_SECONDS} s; try again when it has ended",
    r"disk is full|No space left": "free some space and run again; nothing half-written was kept",
    r"unable to open database file": "check that the folder exists and can be written",
    r"not a database|malformed": "name another file, or restore this one",
    r"readonly|read-only": "make it writable, or copy it (and its -wal, if any) to where you can write",
    r"connection failed|could not connect|[Cc]onnection refused": "check the URL and that the server runs",
    r"no such table|does not exist": "it is not nanmine's, or is damaged; run: nanmine db check",
}


def _busy(name: str, url: URL) -> str:
    return f"{_name(url)}: another {name} is running on it; run again when that has ended"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _name(url: URL) -> str:
    return f"database {url.database or ''}" if url.drivername.startswith("sqlite") else url.render_as_string()
