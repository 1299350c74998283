"""A sandboxed site of posts, a database, and processes that crawl the one into the other."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import select

from db.crawls import Crawl, FrontierEntry
from db.engine import Database, open_database
from db.threads import Post, Thread
from pipeline.crawl import crawl_source, work_off
from pipeline.frontier import add_entries
from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.server import Service, ServiceServer
from pipeline.sandbox.world import World, WorldThread
from pipeline.settings import Settings
from pipeline.sources.base import Window
from pipeline.transport import Transport


def world(*threads: WorldThread) -> World:
    """Return a world of threads."""
    return World((), threads)


class Watcher:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.waits: list[tuple[str, datetime]] = []
        self.left: list[int] = []

    def requested(self, source: str) -> None:
        """One request."""

    def quota(self, source: str, limit: str, left: int) -> None:
        """Remember the quota."""
        self.left.append(left)

    def waiting(self, source: str, why: str, until: datetime) -> None:
        """Remember the wait."""
        self.waits.append((why, until))

    def committed(self, source: str, new: int, changed: int) -> None:
        """One page."""


@dataclass
class PostsRig:
    """One site, served, and what crawls it; a subclass says how the source is opened."""

    server: ServiceServer
    service: Any
    database: Database
    settings: Settings
    clock: VirtualClock
    watcher: Watcher = field(default_factory=Watcher)

    @abstractmethod
    def open(self, *options: Any) -> tuple[Any, Transport]:
        """Open the source as a new process would."""

    def settings_here(self, source: str) -> Settings:
        """Return the settings with this site as the one of `source`."""
        sources = dict(self.settings.study.sources)
        sources[source] = replace(sources[source], url=self.server.url)
        return replace(self.settings, study=replace(self.settings.study, sources=sources))

    def crawl(self, window: Window | None = None, **options: Any) -> int:
        """Crawl as a new process would; return the requests that the server got."""
        before = self.server.requests
        source, transport = self.open(**options)
        try:
            crawl_source(self.database, self.settings.study, source, window or Window(), transport)
        finally:
            source.close()
        return self.server.requests - before

    def hydrate(self, *urls: str) -> dict[str, tuple[str, str | None]]:
        """Fetch listed URLs; return the state and the note that each entry ended with."""
        source, transport = self.open()
        entries = [entry for url in urls if (entry := source.listed_entry(url))]
        with self.database.writing() as session:
            crawl = Crawl(source=source.name, parameters={"list": "x"}, started_at=self.clock.now())
            session.add(crawl)
            session.flush()
            add_entries(session, crawl.id, entries)
            number = crawl.id
        try:
            work_off(self.database, self.settings.study, source, number, transport)
        finally:
            source.close()
        with self.database.reading() as session:
            rows = session.execute(select(FrontierEntry.key, FrontierEntry.state, FrontierEntry.note))
            return {row.key: (row.state, row.note) for row in rows}

    def ids(self) -> set[int]:
        """Return the ids of the stored threads."""
        with self.database.reading() as session:
            return {int(id) for id in session.scalars(select(Thread.external_id))}

    def thread(self, number: int) -> Thread:
        """Return a stored thread with its posts loaded."""
        with self.database.reading() as session:
            row = session.scalars(select(Thread).where(Thread.external_id == str(number))).one()
            assert isinstance(row.posts, list)
            session.expunge_all()
            return row

    def rows(self) -> list[tuple[Any, ...]]:
        """Return every stored thread and post as values."""
        with self.database.reading() as session:
            threads = session.execute(select(Thread.external_id, Thread.content_sha256, Thread.availability))
            posts = session.execute(select(Post.external_id, Post.body, Post.role, Post.accepted))
            return sorted(map(tuple, threads), key=str) + sorted(map(tuple, posts), key=str)

    def facts(self) -> list[tuple[Any, ...]]:
        """Return what is stored, without what is hashed with the database's own key."""
        with self.database.reading() as session:
            posts = select(Thread.external_id, Thread.candidate, Post.external_id, Post.body, Post.accepted)
            found = session.execute(posts.join(Post, Post.thread_id == Thread.id))
            return sorted(map(tuple, found), key=str)

    def count(self, table: Any) -> int:
        """Return how many rows a table has."""
        with self.database.reading() as session:
            return len(session.scalars(select(table.id)).all())


Made = TypeVar("Made", bound=PostsRig)


@contextmanager
def rigs(
    kind: type[Made], service_of: Callable[..., Service], database: Database, settings: Settings
) -> Iterator[Callable[..., Made]]:
    """Give a maker of rigs over worlds; their servers are stopped at the end."""
    servers: list[ServiceServer] = []

    def make(threads: World, **options: Any) -> Made:
        clock = VirtualClock()
        service = service_of(threads, clock, **options)
        server = ServiceServer(service)
        servers.append(server)
        server.start()
        return kind(server, service, database, settings, clock)

    try:
        yield make
    finally:
        for server in servers:
            server.stop()


class Killed(BaseException):
    """Stands for a process that ends without a word."""


class Dying:
    """A source that dies between an answer and its commit, after some pages."""

    def __init__(self, source: Any, lives: int) -> None:
        self._source = source
        self._lives = lives

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def fetch_page(self, entries: Any, lookup: Any) -> Any:
        """Ask, and die when the time has come."""
        page = self._source.fetch_page(entries, lookup)
        self._lives -= 1
        if self._lives < 0:
            raise Killed
        return page


def die_at_random_points(made: PostsRig, empty: Path, folder: Path, again: int) -> None:
    """Kill a crawl at fifty points: each rerun ends with the same rows and asks at most `again` times more.

    `empty` is a database file without a row, of which each crawl gets a copy in `folder`.
    """
    undisturbed = made.crawl()
    expected, points = made.facts(), random.Random(7)
    for number in range(50):
        copy = folder / f"{number}.db"
        copy.write_bytes(empty.read_bytes())
        made.database = open_database(f"sqlite:///{copy}")
        before = made.server.requests
        source, transport = made.open()
        dying: Any = Dying(source, points.randrange(undisturbed - 2))
        with pytest.raises(Killed):
            crawl_source(made.database, made.settings.study, dying, Window(), transport)
        source.close()
        made.crawl()
        assert made.facts() == expected
        assert made.server.requests - before <= undisturbed + again
        made.database.close()
