"""Whatever GitHub does to a crawl, and wherever the crawl dies, it ends with the database of a quiet one."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.crawls import FrontierEntry, Provenance
from db.engine import Database, open_database
from db.errors import StoppedEarly
from db.threads import Criterion, KeywordMatch, Thread
from pipeline.crawl import crawl_source
from pipeline.errors import QuotaExhausted, Unauthorized
from pipeline.sandbox import faults
from pipeline.sandbox.clock import START, VirtualClock
from pipeline.sandbox.github import GitHubService
from pipeline.sandbox.github_rest import Incomplete
from pipeline.sandbox.server import Fault, ServiceServer
from pipeline.sandbox.world import World, WorldPost, WorldRepository, WorldThread
from pipeline.settings import load_settings
from pipeline.sources import open_source
from pipeline.sources.base import Window
from pipeline.store import author_key
from pipeline.transport import Transport

DAY = datetime(2018, 5, 1, tzinfo=UTC)
SEARCH, GRAPHQL = faults.path("^/search/issues"), faults.path("^/graphql$")
REPLIES = (1, 2, 3, 1, 101, 1, 2, 250, 51, 1)


def _thread(number: int, repository: str) -> WorldThread:
    created = DAY + timedelta(days=3 * number, hours=len(repository))
    replies = REPLIES[number % len(REPLIES)]
    identity = len(repository) * 10_000 + number
    texts = [
        f"The loss is {('NaN', 'inf')[number % 2]} \N{PILE OF POO}",
        *(f"reply {at}" for at in range(replies)),
    ]
    posts = tuple(
        WorldPost(2**32 + identity * 1000 + at, f"user{at % 3}" if at != 2 else None, created, text)
        for at, text in enumerate(texts)
    )
    return WorldThread(
        "github",
        identity,
        number,
        "pull" if number % 4 == 0 else "issue",
        f"Training {number}",
        created,
        created + timedelta(days=2),
        posts,
        repository,
        closed_at=None if number % 9 == 5 else created + timedelta(days=2),
    )


NAMES = [f"owner{'x' * number}/nets" for number in range(8)]
TOPICS = (("tensorflow",), ("pytorch",), ("pytorch", "tensorflow"))
WORLD = World(
    tuple(WorldRepository(900 + at, name, TOPICS[at % 3], DAY) for at, name in enumerate(NAMES)),
    tuple(_thread(number, name) for name in NAMES for number in range(1, 10 if name == NAMES[0] else 3)),
)


@dataclass
class Watcher:
    """Counts requests, and kills the process at one of them: `kill_at` counts from 1.

    `longest_page` is the most requests between two commits.
    """

    kill_at: int | None = None
    requests: int = 0
    committed_at: int = 0
    longest_page: int = 0
    waits: list[str] = field(default_factory=list)

    def requested(self, source: str) -> None:
        """Count, or die."""
        self.requests += 1
        if self.requests == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def quota(self, source: str, limit: str, left: int) -> None:
        """Ignore it."""

    def waiting(self, source: str, why: str, until: datetime) -> None:
        """Remember why."""
        self.waits.append(why)

    def committed(self, source: str, new: int, changed: int) -> None:
        """Measure the page."""
        self.longest_page = max(self.longest_page, self.requests - self.committed_at)
        self.committed_at = self.requests


@dataclass
class Stage:
    """A sandboxed GitHub, and databases to crawl it into; all begin as copies of `empty`."""

    folder: Path
    empty: Path
    token: str = "good"
    options: dict[str, Any] = field(default_factory=dict)
    clock: VirtualClock = field(default_factory=VirtualClock)

    def __post_init__(self) -> None:
        self.service = GitHubService(WORLD, self.clock, **self.options)
        self.server = ServiceServer(self.service)
        self.server.start()

    def crawl(
        self,
        name: str,
        watcher: Watcher | None = None,
        clock: VirtualClock | None = None,
        max_wait: float | None = None,
    ) -> Watcher:
        """Crawl into the database `name`, or go on with it."""
        watcher = watcher or Watcher()
        settings = load_settings({"NANMINE_GITHUB_URL": self.server.url, "NANMINE_GITHUB_TOKEN": self.token})
        transport = Transport("github", watcher, clock or self.clock, max_wait=max_wait)
        source = open_source("github", settings, transport)
        database = self._open(name)
        try:
            crawl_source(database, settings.study, source, Window(), transport)
        finally:
            source.close()
            database.close()
        return watcher

    def content(self, name: str) -> list[tuple[Any, ...]]:
        """Return what the database holds, once it is certain that nothing is pending."""
        database = self._open(name)
        with database.reading() as session:
            assert "pending" not in session.scalars(select(FrontierEntry.state)).all()
            rows = [_row(session, thread) for thread in session.scalars(select(Thread))]
        database.close()
        return sorted(rows)

    def _open(self, name: str) -> Database:
        path = self.folder / f"{name}.db"
        if not path.exists():
            path.write_bytes(self.empty.read_bytes())
        return open_database(f"sqlite:///{path}")


def _row(session: Session, thread: Thread) -> tuple[Any, ...]:
    """Return a thread; its digest covers the title, all posts and times, authors included."""
    criteria = session.execute(
        select(Criterion.name, Criterion.met, Criterion.evidence).where(Criterion.thread_id == thread.id)
    )
    matches = session.scalars(select(KeywordMatch.start).where(KeywordMatch.thread_id == thread.id))
    strata = sorted(stratum.stratum for stratum in thread.strata)
    verdicts = sorted(tuple(row) for row in criteria)
    known = session.scalars(select(Provenance.raw_payload_id).where(Provenance.thread_id == thread.id))
    assert known.all()
    return (
        thread.external_id,
        thread.content_sha256,
        len(thread.posts),
        strata,
        verdicts,
        len(matches.all()),
    )


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database whose author hashes are those of every copy."""
    path = tmp_path_factory.mktemp("stage") / "empty.db"
    database = open_database(f"sqlite:///{path}")
    with database.writing() as session:
        author_key(session)
    database.close()
    return path


@pytest.fixture
def stage(tmp_path: Path, empty: Path) -> Iterator[Stage]:
    """A stage with a token."""
    opened = Stage(tmp_path, empty)
    yield opened
    opened.server.stop()


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory, empty: Path) -> list[tuple[Any, ...]]:
    """What an undisturbed crawl with a token ends with."""
    opened = Stage(tmp_path_factory.mktemp("quiet"), empty)
    opened.crawl("quiet")
    opened.server.stop()
    return opened.content("quiet")


def test_quiet_crawl_brings_every_candidate(quiet: list[tuple[Any, ...]]) -> None:
    """The undisturbed crawl has each closed thread with a keyword, all its posts, and its strata."""
    closed = [thread for thread in WORLD.threads if thread.closed_at]
    names = sorted(f"{thread.repository}#{thread.number}" for thread in closed)
    assert [row[0] for row in quiet] == names
    posts = {f"{thread.repository}#{thread.number}": len(thread.posts) for thread in closed}
    assert {row[0]: row[2] for row in quiet} == posts
    assert {tuple(row[3]) for row in quiet} == {("TI",), ("PI",), ("PI", "TI")}


LATER = START + timedelta(minutes=7)
DISTURBANCES: dict[str, list[Callable[[], Fault]]] = {
    "primary, reset ahead": [lambda: faults.github_primary(LATER, after=2)],
    "primary, reset past": [lambda: faults.github_primary(START - timedelta(hours=1), after=1)],
    "primary as 429": [lambda: faults.github_primary(LATER, code=429, matches=SEARCH)],
    "429 with seconds": [lambda: faults.too_many(30, times=2, after=1)],
    "429 with a date": [lambda: faults.too_many(LATER, matches=SEARCH)],
    "429 with nothing": [lambda: faults.too_many(None, times=2, matches=GRAPHQL)],
    "secondary with seconds": [lambda: faults.github_secondary(60, matches=GRAPHQL)],
    "secondary with a date": [lambda: faults.github_secondary(LATER, matches=SEARCH)],
    "secondary with nothing": [lambda: faults.github_secondary(times=2, after=1)],
    "secondary in GraphQL's 200": [lambda: faults.github_message_only()],
    "RATE_LIMIT": [lambda: faults.github_graphql_limit("RATE_LIMIT", reset=LATER)],
    "RATE_LIMITED": [lambda: faults.github_graphql_limit("RATE_LIMITED", after=1)],
    "502 twice": [lambda: faults.server_error(times=2, matches=SEARCH)],
    "502 and 504 in GraphQL": [
        lambda: faults.server_error(times=3, matches=GRAPHQL),
        lambda: faults.server_error(504, after=3, matches=GRAPHQL),
    ],
    "HTML in a 200": [lambda: faults.html_success(), lambda: faults.html_success(matches=GRAPHQL)],
    "truncated JSON": [lambda: faults.truncated_json(matches=SEARCH), lambda: faults.truncated_json(after=3)],
    "cut short": [lambda: faults.cut_short(after=1), lambda: faults.cut_short(matches=GRAPHQL)],
    "dropped": [lambda: faults.drop(times=2), lambda: faults.drop(matches=GRAPHQL)],
    "an object without anything": [lambda: faults.slow(0.0), lambda: faults.slow(0.0, matches=GRAPHQL)],
}


@pytest.mark.parametrize("name", DISTURBANCES)
def test_disturbed_crawl_ends_the_same(stage: Stage, quiet: list[tuple[Any, ...]], name: str) -> None:
    """Limits, broken answers and broken connections cost time and leave no trace."""
    stage.server.faults.extend(make() for make in DISTURBANCES[name])
    stage.crawl("study")
    assert [fault.times for fault in stage.server.faults if fault.times] == []
    assert stage.content("study") == quiet


@pytest.mark.parametrize(
    ("token", "options"),
    [
        ("", {}),
        ("one,two", {}),
        ("good", {"limits": {"search": (2, 10), "graphql": (4, 0), "core": (3, 60)}}),
        ("one,two", {"limits": {"search": (1, 10), "graphql": (2, 0)}, "limited_status": 429}),
        ("good", {"advanced": True}),
        ("good", {"node_budget": 1000}),
    ],
)
def test_other_conditions_end_the_same(
    tmp_path: Path, empty: Path, quiet: list[tuple[Any, ...]], token: str, options: dict[str, Any]
) -> None:
    """Without a token, with several, with tiny quotas, and with heavy pages the same threads come."""
    stage = Stage(tmp_path, empty, token, options)
    stage.crawl("study")
    stage.server.stop()
    assert stage.content("study") == quiet
    refused = [request for request in stage.server.log if request.path == "/graphql" and not token]
    assert refused == []


def test_searches_that_time_out_are_asked_again(stage: Stage, quiet: list[tuple[Any, ...]]) -> None:
    """A search that lacks items is repeated, and split if it goes on, until nothing is missing."""
    stage.service.incomplete.append(Incomplete("is:issue", times=4))
    stage.crawl("study")
    assert stage.content("study") == quiet


@pytest.mark.parametrize("seconds", [-1800, 1800])
def test_clocks_may_disagree(stage: Stage, quiet: list[tuple[Any, ...]], seconds: int) -> None:
    """A client whose clock is off by half an hour still waits for the reset, and not for an hour longer."""
    ours = VirtualClock(START + timedelta(seconds=seconds))
    stage.server.faults.append(faults.github_primary(START + timedelta(minutes=5), matches=SEARCH))
    stage.crawl("study", clock=ours)
    assert stage.content("study") == quiet
    assert ours.slept < 1200


def test_a_server_that_stays_broken_stops_the_crawl_and_a_rerun_resumes(
    stage: Stage, quiet: list[tuple[Any, ...]]
) -> None:
    """502 for ever ends with an error after some tries; nothing is lost, nothing is asked twice."""
    broken = faults.for_ever(faults.server_error(after=3))
    stage.server.faults.append(broken)
    with pytest.raises(StoppedEarly, match="run again to resume"):
        stage.crawl("study")
    broken.times = 0
    stage.crawl("study")
    assert stage.content("study") == quiet


def test_a_long_wait_stops_at_max_wait(stage: Stage, quiet: list[tuple[Any, ...]]) -> None:
    """A Retry-After of an hour is not waited for when the bound is less, and a rerun goes on."""
    stage.server.faults.append(faults.github_secondary(3600, after=3))
    with pytest.raises(QuotaExhausted):
        stage.crawl("study", max_wait=600)
    assert stage.clock.slept < 600
    stage.crawl("study")
    assert stage.content("study") == quiet


def test_a_token_that_is_revoked_stops_at_once(stage: Stage, quiet: list[tuple[Any, ...]]) -> None:
    """401 in the middle ends the crawl with one request, and another token goes on."""
    stage.server.faults.append(faults.act(lambda: stage.service.revoked.add("good"), after=3))
    watcher = Watcher()
    with pytest.raises(Unauthorized):
        stage.crawl("study", watcher)
    assert watcher.requests == stage.server.requests == 4
    stage.token = "other"
    stage.crawl("study")
    assert stage.content("study") == quiet


@pytest.mark.parametrize("lost", ["delete", "convert", "transfer", "hide", "rename"])
def test_threads_lost_between_search_and_fetch(stage: Stage, quiet: list[tuple[Any, ...]], lost: str) -> None:
    """What vanishes after it was found is not stored as if it were there; everything else is."""
    name, store = NAMES[1], stage.service.store
    actions: dict[str, Callable[[], None]] = {
        "delete": lambda: store.delete(name, 1),
        "convert": lambda: store.delete(name, 1, status=404),
        "transfer": lambda: store.transfer(name, 1, NAMES[2], 77),
        "hide": lambda: store.hide(name),
        "rename": lambda: store.rename(name, "new/name"),
    }
    stage.server.faults.append(faults.act(actions[lost], matches=GRAPHQL, after=1))
    stage.crawl("study")
    found, touched = stage.content("study"), f"{name}#1" if lost not in ("hide", "rename") else f"{name}#"
    assert [row for row in found if row[0] in _untouched(quiet, touched)] == [
        row for row in quiet if row[0] in _untouched(quiet, touched)
    ]


def _untouched(rows: list[tuple[Any, ...]], prefix: str) -> set[str]:
    return {row[0] for row in rows if not row[0].startswith(prefix)}


@pytest.mark.parametrize(
    ("token", "points", "seed"),
    [
        ("good", 4, 1),
        ("", 4, 2),
        pytest.param("good", 50, 3, marks=pytest.mark.slow),
        pytest.param("", 25, 4, marks=pytest.mark.slow),
        pytest.param("", 25, 5, marks=pytest.mark.slow),
    ],
)
def test_killed_anywhere_it_resumes(
    tmp_path: Path, empty: Path, quiet: list[tuple[Any, ...]], token: str, points: int, seed: int
) -> None:
    """After `kill -9` at a random request a rerun ends the same and asks again for what was in flight only.

    Several requests make one page where a search is repeated or a thread's comments go on; so a page is
    at most the requests that the undisturbed crawl sent between two commits.
    """
    unlimited = {"search": (10**6, 10**6), "core": (10**6, 10**6)}  # the child's waits do not move our clock
    stage = Stage(tmp_path, empty, token, {"limits": unlimited, "secondary": False})
    whole = stage.crawl("whole")
    chance = random.Random(seed)
    for point in chance.sample(range(1, whole.requests + 1), min(points, whole.requests)):
        _crawl_and_die(stage, f"killed-{point}", point)
        again = stage.crawl(f"killed-{point}").requests
        assert stage.content(f"killed-{point}") == quiet, f"killed at request {point} of {whole.requests}"
        assert point + again <= whole.requests + whole.longest_page, f"killed at request {point}"
    stage.server.stop()


def _crawl_and_die(stage: Stage, name: str, point: int) -> None:
    """Crawl in a process of its own that is killed when it is about to send its request `point`."""
    child = os.fork()
    if child == 0:
        try:
            stage.crawl(name, Watcher(kill_at=point))
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
