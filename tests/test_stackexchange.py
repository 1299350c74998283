"""Stack Overflow is crawled whole, frugally, and past everything that its API does to a client."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import select

from db.crawls import FrontierEntry, Provenance, RawPayload
from db.engine import Database
from db.errors import NanmineError, StoppedEarly
from db.threads import Post, Thread
from pipeline.crawl import crawl_source
from pipeline.errors import Malformed, QuotaExhausted, Refused, Unauthorized, Unreachable
from pipeline.records import ThreadRecord
from pipeline.sandbox import faults
from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.server import Request, Response, ServiceServer
from pipeline.sandbox.stackexchange import StackExchangeService, to_error, too_many_requests
from pipeline.sandbox.world import World, WorldPost, WorldThread
from pipeline.settings import Settings
from pipeline.sources import open_source
from pipeline.sources.base import Payload, Window
from pipeline.sources.stackexchange import StackExchange
from pipeline.sources.stackexchange_client import site_parameter
from pipeline.study import SourceSettings, Study
from pipeline.transport import Transport

START = datetime(2017, 1, 1, tzinfo=UTC)
KEY = "secret-key((42"


def question(number: int, answers: int = 1, **facts: Any) -> WorldThread:
    """Return a question, its last answer accepted; every fifth text says INF, the others NaN."""
    word = "INF" if number % 5 == 0 else "NaN"
    created = START + timedelta(hours=number)
    posts = [WorldPost(number * 1000, f"asker{number}", created, f"My loss is {word} after a step.")]
    for at in range(1, answers + 1):
        when = created + timedelta(minutes=at)
        posts.append(WorldPost(number * 1000 + at, "helper", when, f"Answer {at}.", accepted=at == answers))
    values: dict[str, Any] = {
        "title": f"{word} in model {number}",
        "created_at": created,
        "updated_at": created + timedelta(days=1),
        "posts": tuple(posts),
        "tags": ("python", "tensorflow"),
    }
    return WorldThread("stackexchange", number, number, "question", **(values | facts))


def world(*threads: WorldThread) -> World:
    """Return a world of questions."""
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
class Rig:
    """A sandboxed site, a database, and processes that crawl the one into the other."""

    server: ServiceServer
    service: StackExchangeService
    database: Database
    settings: Settings
    clock: VirtualClock
    watcher: Watcher = field(default_factory=Watcher)

    def open(self, key: str | None = None, max_wait: float | None = None) -> tuple[StackExchange, Transport]:
        """Open the source as a new process would."""
        sources = dict(self.settings.study.sources)
        sources["stackoverflow"] = replace(sources["stackoverflow"], url=self.server.url)
        settings = replace(
            self.settings, study=replace(self.settings.study, sources=sources), stackexchange_key=key
        )
        transport = Transport("stackoverflow", self.watcher, self.clock, 0.0, max_wait)
        return cast(StackExchange, open_source("stackoverflow", settings, transport)), transport

    def crawl(
        self, window: Window | None = None, key: str | None = None, max_wait: float | None = None
    ) -> int:
        """Crawl as a new process would; return the requests that the server got."""
        before = self.server.requests
        source, transport = self.open(key, max_wait)
        try:
            crawl_source(self.database, self.settings.study, source, window or Window(), transport)
        finally:
            source.close()
        return self.server.requests - before

    def ids(self) -> set[int]:
        """Return the ids of the stored questions."""
        with self.database.reading() as session:
            return {int(id) for id in session.scalars(select(Thread.external_id))}

    def thread(self, number: int) -> Thread:
        """Return a stored question with its posts loaded."""
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


@pytest.fixture
def rig(database: Database, settings: Settings) -> Iterator[Callable[..., Rig]]:
    """Make rigs over worlds; they are stopped at the end."""
    servers: list[ServiceServer] = []

    def make(threads: World, **options: Any) -> Rig:
        clock = VirtualClock()
        service = StackExchangeService(threads, clock, **options)
        server = ServiceServer(service)
        servers.append(server)
        server.start()
        return Rig(server, service, database, settings, clock)

    yield make
    for server in servers:
        server.stop()


MakeRig = Callable[..., Rig]


def test_every_question_is_stored_with_its_posts(rig: MakeRig) -> None:
    """A crawl brings each question with answers, comments, accepted flag, tags, library and link."""
    comment = WorldPost(77, "passer-by", START, "Which version?")
    asked = question(7, answers=2)
    asked = replace(asked, posts=(replace(asked.posts[0], comments=(comment,)), *asked.posts[1:]))
    made = rig(world(asked))
    made.crawl()
    thread = made.thread(7)
    assert (thread.kind, thread.libraries, thread.accepted) == ("question", ["tensorflow"], True)
    assert thread.url == "https://stackoverflow.com/questions/7/nan-in-model-7"
    assert thread.n_posts == 3
    assert [post.role for post in thread.posts] == ["opening", "comment", "reply", "reply"]
    assert [post.accepted for post in thread.posts] == [False, False, False, True]
    assert thread.posts[0].body_format == "html"
    assert thread.candidate


def test_six_hundred_hits_are_all_found(rig: MakeRig) -> None:
    """Nothing is lost at five pages, stackapi's own silent end."""
    made = rig(world(*(question(number) for number in range(1, 651))))
    requests = made.crawl()
    assert made.ids() == set(range(1, 651))
    assert requests <= 30
