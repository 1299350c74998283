"""Whatever happens to a crawl of posts, it ends with the database of one that was left alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from db.base import Base
from db.crawls import Crawl, FrontierEntry, Memory, RawPayload
from db.engine import Database, open_database
from db.threads import Criterion, KeywordMatch, Post, Thread, ThreadStratum
from pipeline.crawl import CrawlReport, crawl_source
from pipeline.sandbox import faults
from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.discourse import DiscourseService
from pipeline.sandbox.discourse_answers import application_limit, middleware_limit
from pipeline.sandbox.server import Fault, ServiceServer
from pipeline.sandbox.stackexchange import StackExchangeService, to_error, too_many_requests
from pipeline.sandbox.world import World, load_world
from pipeline.settings import Settings, load_settings
from pipeline.sources import open_source
from pipeline.sources.base import Entry, Lookup, Page, Window
from pipeline.transport import Transport

KILLS = 50
KEPT = (Thread, Post, KeywordMatch, Criterion, ThreadStratum)
OURS = {"id", "thread_id", "post_id", "raw_payload_id"}  # numbers that an order of writing decides
TOPICS = (412, 26310, 57799, 66480, 75001, 55550, 19999)  # plain, long, closed, hidden, unsolved
QUESTIONS = 12

Options = dict[str, Any]
Usual = Callable[[str], tuple[dict[str, Any], int]]
SERVICES: dict[str, Any] = {"stackoverflow": StackExchangeService, "pytorch-forums": DiscourseService}
UNLIMITED: dict[str, Options] = {
    "stackoverflow": {},
    "pytorch-forums": {"per_ten_seconds": None, "per_minute": None},
}


class Killed(BaseException):
    """The process ends here; nothing that catches errors catches this."""


@dataclass
class Watcher:
    """Says nothing, and dies at the n-th request or at the n-th page kept."""

    request: int = -1
    page: int = -1

    def requested(self, source: str) -> None:
        """Count down to the request that is never sent."""
        self.request -= 1
        if self.request == 0:
            raise Killed

    def committed(self, source: str, new: int, changed: int) -> None:
        """Count down to the page after which nothing is done."""
        self.page -= 1
        if self.page == 0:
            raise Killed

    def quota(self, source: str, limit: str, left: int) -> None:
        """Say nothing."""

    def waiting(self, source: str, why: str, until: datetime) -> None:
        """Say nothing."""


class Losing:
    """A source whose n-th page is lost after it was fetched: the process died before it was kept."""

    def __init__(self, source: Any, page: int) -> None:
        self._source = source
        self._left = page

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def fetch_page(self, entries: Sequence[Entry], lookup: Lookup) -> Page:
        """Fetch a page, and die once with it."""
        page: Page = self._source.fetch_page(entries, lookup)
        self._left -= 1
        if self._left == 0:
            raise Killed
        return page


@dataclass
class Place:
    """One service, served, and databases to crawl it into."""

    source: str
    server: ServiceServer
    empty: Path
    clock: VirtualClock

    def database(self, name: str) -> Database:
        """Return a new database whose authors are hashed as in every other."""
        path = self.empty.with_name(f"{name}.db")
        path.write_bytes(self.empty.read_bytes())
        return open_database(f"sqlite:///{path}")

    def crawl(self, database: Database, watcher: Watcher | None = None, lose: int = -1) -> CrawlReport:
        """Crawl the whole service, or until the watcher or a lost page ends it."""
        transport = Transport(self.source, watcher or Watcher(), clock=self.clock, pace=0)
        settings = self._settings()
        source = open_source(self.source, settings, transport)
        try:
            return crawl_source(database, settings.study, Losing(source, lose), Window(), transport)
        finally:
            source.close()

    def _settings(self) -> Settings:
        settings = load_settings({})
        here = replace(settings.study.sources[self.source], url=self.server.url)
        sources = settings.study.sources | {self.source: here}
        return replace(settings, study=replace(settings.study, sources=sources))

    @property
    def requests(self) -> int:
        """How many requests came in so far."""
        return self.server.requests


def small_world() -> World:
    """Return the last questions, and of the topics a few of every kind."""
    world = load_world()
    topics = [topic for topic in world.threads_of("discourse") if topic.id in TOPICS]
    return World((), (*topics, *world.threads_of("stackexchange")[-QUESTIONS:]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty database."""
    path = tmp_path_factory.mktemp("faults")
    database = open_database(f"sqlite:///{path}/empty.db")
    with database.writing() as session:
        session.add(Memory(owner="nanmine", name="author_key", value={"key": "00" * 32}))
    database.close()
    return path


@pytest.fixture(scope="module")
def place_of(folder: Path) -> Iterator[Callable[..., Place]]:
    """A function that serves `stackoverflow` or `pytorch-forums` with options of the service."""
    servers = []

    def make(source: str, **options: Any) -> Place:
        clock = VirtualClock()
        service = SERVICES[source](small_world(), clock, **(UNLIMITED[source] | options))
        servers.append(ServiceServer(service))
        servers[-1].start()
        return Place(source, servers[-1], folder / "empty.db", clock)

    yield make
    for server in servers:
        server.stop()


def content(database: Database) -> dict[str, Any]:
    """Return everything that a crawl leaves but numbers, times and counts of the runs themselves."""
    with database.reading() as session:
        threads = {thread.id: thread.external_id for thread in session.scalars(select(Thread))}
        posts = {post.id: post.external_id for post in session.scalars(select(Post))}
        found = {table.__tablename__: _rows(session, table, threads, posts) for table in KEPT}
        entries = session.scalars(select(FrontierEntry))
        payloads = session.scalars(select(RawPayload))
        return found | {
            "frontier": sorted((entry.kind, entry.key, entry.state) for entry in entries),
            "payloads": sorted({(payload.kind, payload.request) for payload in payloads}),
            "finished": [crawl.finished_at is not None for crawl in session.scalars(select(Crawl))],
        }


def threads_of(found: dict[str, Any]) -> list[Any]:
    """Return the part of the content that is about threads."""
    return [found[table.__tablename__] for table in KEPT]


def _rows(session: Session, table: type[Base], threads: dict[int, str], posts: dict[int, str]) -> list[str]:
    columns = [column.key for column in inspect(table).mapper.column_attrs]
    rows = []
    for row in session.scalars(select(table)):
        values = {name: getattr(row, name) for name in columns if name not in OURS}
        values["thread"] = threads.get(getattr(row, "thread_id", 0))
        values["post"] = posts.get(getattr(row, "post_id", None) or 0)
        rows.append(repr(sorted(values.items())))
    return sorted(rows)


def undisturbed(place: Place) -> tuple[dict[str, Any], int]:
    """Return what a crawl that is left alone leaves, and its requests."""
    database = place.database("undisturbed")
    before = place.requests
    place.crawl(database)
    kept = content(database)
    database.close()
    return kept, place.requests - before


@pytest.fixture(scope="module")
def usual(place_of: Callable[..., Place]) -> Usual:
    """A function that returns what an undisturbed crawl of a source leaves, crawled once."""
    return cache(lambda source: undisturbed(place_of(source)))


FAULTS: list[tuple[str, Callable[[int], Fault]]] = [
    ("stackoverflow", lambda at: faults.server_error(502, times=2, after=at)),
    ("stackoverflow", lambda at: faults.server_error(503, times=1, after=at)),
    ("stackoverflow", lambda at: faults.drop(after=at)),
    ("stackoverflow", lambda at: faults.html_success(after=at)),
    ("stackoverflow", lambda at: faults.truncated_json(after=at)),
    ("stackoverflow", lambda at: faults.cut_short(after=at)),
    ("stackoverflow", lambda at: faults.fault(faults.json_response(500, {"oops": 1}), after=at)),
    ("stackoverflow", lambda at: faults.fault(too_many_requests(), after=at)),
    (
        "stackoverflow",
        lambda at: faults.fault(
            to_error(502, "too many requests from this IP, more requests available in 300 seconds"), after=at
        ),
    ),
    ("stackoverflow", lambda at: faults.fault(to_error(503, "try later"), after=at)),
    ("stackoverflow", lambda at: faults.fault(to_error(500, "internal"), after=at)),
    ("pytorch-forums", lambda at: faults.server_error(502, times=2, after=at)),
    ("pytorch-forums", lambda at: faults.drop(after=at)),
    ("pytorch-forums", lambda at: faults.html_success(after=at)),
    ("pytorch-forums", lambda at: faults.truncated_json(after=at)),
    ("pytorch-forums", lambda at: faults.cut_short(after=at)),
    ("pytorch-forums", lambda at: faults.fault(middleware_limit(7, "ip_10_secs_limit"), after=at)),
    ("pytorch-forums", lambda at: faults.fault(application_limit(30), after=at)),
    ("pytorch-forums", lambda at: faults.fault(middleware_limit(7, "ip_60_secs_limit"), times=7)),
    ("pytorch-forums", lambda at: faults.too_many(None, after=at)),
]


@pytest.mark.parametrize(("source", "make"), FAULTS)
def test_a_fault_leaves_no_trace(
    place_of: Callable[..., Place], usual: Usual, source: str, make: Callable[[int], Fault]
) -> None:
    """A service that fails for a while gives the same database in the end."""
    place, (expected, requests) = place_of(source), usual(source)
    scripted = make(4)
    place.server.faults.append(scripted)
    database = place.database("disturbed")
    report = place.crawl(database)
    assert scripted.times == 0
    assert content(database) == expected
    assert requests < report.requests <= requests + 7
    database.close()


@pytest.mark.parametrize("batch", range(5))
@pytest.mark.parametrize("source", SERVICES)
def test_a_killed_crawl_resumes_where_it_was(
    place_of: Callable[..., Place], usual: Usual, source: str, batch: int
) -> None:
    """Killed at any of fifty random points a crawl ends the same, and asks again for one page at most."""
    place, (expected, requests) = place_of(source), usual(source)
    chance = random.Random(f"{source} {batch}")
    for number in range(KILLS // 5):
        database, before = place.database(f"killed-{number}"), place.requests
        how = {chance.choice(("request", "page", "lose")): chance.randrange(1, requests + 1)}
        try:
            place.crawl(database, Watcher(how.get("request", -1), how.get("page", -1)), how.get("lose", -1))
        except Killed:
            place.crawl(database)
        assert content(database) == expected, how
        once_a_run = 1  # the site, or robots.txt
        assert place.requests - before <= requests + 1 + once_a_run, how
        database.close()


ODD: list[tuple[str, Options]] = [
    ("stackoverflow", {"backoff": {"search/advanced": 10, "sites": 5}}),
    ("stackoverflow", {"nested_answers": 0}),
    ("pytorch-forums", {"honour_per_page": True}),
    ("pytorch-forums", {"accepted": "list"}),
    ("pytorch-forums", {"accepted": "post"}),
    ("pytorch-forums", {"pinned": frozenset((412, 19999))}),
    ("pytorch-forums", {"per_ten_seconds": 5, "per_minute": 12}),
]


@pytest.mark.parametrize(("source", "options"), ODD)
def test_every_revision_of_a_service_gives_the_same_threads(
    place_of: Callable[..., Place], usual: Usual, source: str, options: Options
) -> None:
    """Back-offs, short answers, limits, page sizes and shapes of the accepted answer change no thread."""
    assert threads_of(undisturbed(place_of(source, **options))[0]) == threads_of(usual(source)[0])


@pytest.mark.parametrize("source", SERVICES)
def test_a_second_run_adds_nothing(place_of: Callable[..., Place], source: str) -> None:
    """Over an unchanged world a second crawl leaves the same threads."""
    place = place_of(source)
    database = place.database("twice")
    place.crawl(database)
    first = content(database)
    report = place.crawl(database)
    assert threads_of(content(database)) == threads_of(first)
    assert (report.counts.new, report.counts.changed) == (0, 0)
    database.close()
