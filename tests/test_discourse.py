"""A Discourse forum is crawled whole, politely, and whatever revision of the program it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from db.crawls import FrontierEntry, RawPayload
from db.engine import Database
from db.threads import Post, Thread
from pipeline.crawl import crawl_source
from pipeline.errors import Malformed, QuotaExhausted, Refused, Unreachable
from pipeline.records import ThreadRecord
from pipeline.sandbox import faults
from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.discourse import DiscourseService, application_limit, middleware_limit
from pipeline.sandbox.server import Request, Response, ServiceServer
from pipeline.sandbox.world import World, WorldPost, WorldThread
from pipeline.settings import Settings
from pipeline.sources import open_source
from pipeline.sources.base import Payload, Window
from pipeline.sources.discourse import Discourse
from pipeline.sources.discourse_records import to_rows
from pipeline.sources.discourse_robots import read_robots
from pipeline.study import SourceSettings
from pipeline.transport import Transport

START = datetime(2018, 1, 1, tzinfo=UTC)
GENERATIONS = ("dict", "list", "post")


def topic(number: int, replies: int = 2, accepted: int | None = 2, **facts: Any) -> WorldThread:
    """Return a topic whose post `accepted` (its number) is the accepted answer."""
    created = START + timedelta(hours=number)
    posts = tuple(
        WorldPost(
            number * 1000 + at,
            f"user{at}",
            created + timedelta(minutes=at),
            f"NaN, post {at}",
            accepted=at == accepted,
        )
        for at in range(1, replies + 2)
    )
    values: dict[str, Any] = {
        "title": f"Loss is nan, topic {number}",
        "created_at": created,
        "updated_at": posts[-1].created_at,
        "posts": posts,
        "tags": ("autograd",),
    }
    return WorldThread("discourse", number, number, "topic", **(values | facts))


def world(*threads: WorldThread) -> World:
    """Return a world of topics."""
    return World((), threads)


class Watcher:
    """Remembers the waits it is told of."""

    def __init__(self) -> None:
        self.waits: list[tuple[str, datetime]] = []

    def requested(self, source: str) -> None:
        """One request."""

    def quota(self, source: str, limit: str, left: int) -> None:
        """No quota here."""

    def waiting(self, source: str, why: str, until: datetime) -> None:
        """Remember the wait."""
        self.waits.append((why, until))

    def committed(self, source: str, new: int, changed: int) -> None:
        """One page."""


@dataclass
class Rig:
    """A sandboxed forum, a database, and processes that crawl the one into the other."""

    server: ServiceServer
    service: DiscourseService
    database: Database
    settings: Settings
    clock: VirtualClock
    watcher: Watcher = field(default_factory=Watcher)
    pace: float = 0.0

    def open(self, max_wait: float | None = None) -> tuple[Discourse, Transport]:
        """Open the source as a new process would."""
        sources = dict(self.settings.study.sources)
        sources["pytorch-forums"] = replace(sources["pytorch-forums"], url=self.server.url)
        settings = replace(self.settings, study=replace(self.settings.study, sources=sources))
        transport = Transport("pytorch-forums", self.watcher, self.clock, self.pace, max_wait)
        return cast(Discourse, open_source("pytorch-forums", settings, transport)), transport

    def crawl(self, window: Window | None = None, max_wait: float | None = None) -> int:
        """Crawl as a new process would; return the requests that the server got."""
        before = self.server.requests
        source, transport = self.open(max_wait)
        try:
            crawl_source(self.database, self.settings.study, source, window or Window(), transport)
        finally:
            source.close()
        return self.server.requests - before

    def ids(self) -> set[int]:
        """Return the ids of the stored topics."""
        with self.database.reading() as session:
            return {int(id) for id in session.scalars(select(Thread.external_id))}

    def thread(self, number: int) -> Thread:
        """Return a stored topic with its posts loaded."""
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


MakeRig = Callable[..., Rig]


@pytest.fixture
def rig(database: Database, settings: Settings) -> Iterator[MakeRig]:
    """Make rigs over worlds; they are stopped at the end."""
    servers: list[ServiceServer] = []

    def make(threads: World, **options: Any) -> Rig:
        clock = VirtualClock()
        limits = {"per_ten_seconds": None, "per_minute": None}
        service = DiscourseService(threads, clock, **(limits | options))
        server = ServiceServer(service)
        servers.append(server)
        server.start()
        return Rig(server, service, database, settings, clock)

    yield make
    for server in servers:
        server.stop()


def test_solved_topics_are_stored_with_their_posts(rig: MakeRig) -> None:
    """A crawl brings the solved topics alone, each with raw text, accepted post, library and link."""
    made = rig(world(topic(5), topic(6, accepted=None)))
    made.crawl()
    assert made.ids() == {5}
    thread = made.thread(5)
    assert thread.url == "https://discuss.pytorch.org/t/loss-is-nan-topic-5/5"
    assert (thread.kind, thread.libraries, thread.accepted, thread.n_posts) == ("topic", ["pytorch"], True, 3)
    assert [post.role for post in thread.posts] == ["opening", "reply", "reply"]
    assert [post.accepted for post in thread.posts] == [False, True, False]
    assert {post.body_format for post in thread.posts} == {"markdown"}
    assert thread.candidate
    assert thread.tags == ["autograd"]
