"""The driver loses nothing: pages are whole, a killed crawl goes on, an unchanged world costs little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select

from db.crawls import Crawl, CrawlRun, FrontierEntry, Provenance, RawPayload
from db.engine import Database, open_database
from db.errors import StoppedEarly
from db.threads import Thread
from pipeline.crawl import crawl_source
from pipeline.errors import QuotaExhausted, Unauthorized, Unreachable
from pipeline.journal import begin_run
from pipeline.records import PostRecord, ThreadRecord
from pipeline.sources.base import Entry, Lookup, Page, Payload, Result, Window
from pipeline.study import Study
from pipeline.transport import Transport

NOW = datetime(2021, 1, 1, tzinfo=UTC)


class StillClock:
    """A clock that stands still."""

    def now(self) -> datetime:
        """Return the same time."""
        return NOW

    def sleep(self, seconds: float) -> None:
        """Do not wait."""


class NoWatcher:
    """A watcher that looks away."""

    def requested(self, source: str) -> None:
        """Ignore it."""

    def quota(self, source: str, limit: str, left: int) -> None:
        """Ignore it."""

    def waiting(self, source: str, why: str, until: datetime) -> None:
        """Ignore it."""

    def committed(self, source: str, new: int, changed: int) -> None:
        """Ignore it."""


@dataclass
class FakeSource:
    """A source of ten threads: one list entry finds them, batches of three bring them.

    `fails_at` holds the steps (from 1) at which it raises what is given, `broken` the threads with
    which no request is answered.
    """

    name: str = "github"
    thread_kinds: frozenset[str] = frozenset(("thread",))
    broken: set[str] = field(default_factory=set)
    fails_at: dict[int, BaseException] = field(default_factory=dict)
    steps: int = 0
    windows: list[Window] = field(default_factory=list)

    def seed(self, window: Window) -> Sequence[Entry]:
        """Begin with one list; an incremental crawl finds nothing new."""
        self.windows.append(window)
        return [Entry("list", "all")] if window.updated_since is None else []

    def batch_size(self, kind: str) -> int:
        """Take three threads at a time."""
        return 3 if kind == "thread" else 1

    def fetch_page(self, entries: Sequence[Entry], lookup: Lookup) -> Page:
        """Return the list, or the threads asked for."""
        self.steps += 1
        if self.steps in self.fails_at:
            raise self.fails_at[self.steps]
        if self.broken & {entry.key for entry in entries}:
            raise Unreachable("HTTP 502")
        results = tuple(Result(entry) for entry in entries)
        if entries[0].kind == "list":
            found = tuple(Entry("thread", str(number), priority=1) for number in range(10))
            return Page(results, (Payload("list", "GET /list", b"[]"),), found=(*found, *found))
        threads = tuple((thread(entry.key), 0) for entry in entries)
        keys = ",".join(entry.key for entry in entries)
        return Page(results, (Payload("threads", f"GET /threads?ids={keys}", keys.encode()),), threads)

    def close(self) -> None:
        """Nothing to close."""


def thread(key: str) -> ThreadRecord:
    """Return thread number `key`."""
    posts = (PostRecord("opening", key, "nan", "text"), PostRecord("reply", f"{key}r", "ok", "text"))
    url = f"https://github.com/o/r/issues/{key}"
    return ThreadRecord(
        "github", f"o/r#{key}", url, "issue", "t", posts, closed_at=NOW, libraries=("pytorch",)
    )


def crawl(database: Database, study: Study, source: FakeSource, window: Window | None = None):
    """Crawl a fake source without waiting."""
    transport = Transport(source.name, NoWatcher(), StillClock(), pace=0)
    return crawl_source(database, study, source, window or Window(), transport)


def contents(database: Database) -> dict[str, object]:
    """Return what a crawl leaves, runs and times apart."""
    with database.reading() as session:
        return {
            "threads": session.execute(
                select(Thread.external_id, Thread.content_sha256).order_by(Thread.external_id)
            ).all(),
            "payloads": session.execute(
                select(RawPayload.request, RawPayload.sha256).order_by(RawPayload.request)
            ).all(),
            "frontier": session.execute(
                select(FrontierEntry.kind, FrontierEntry.key, FrontierEntry.state).order_by(FrontierEntry.id)
            ).all(),
            "provenance": session.scalar(select(func.count()).select_from(Provenance)),
        }


def test_a_crawl_works_off_its_frontier(database: Database, study: Study) -> None:
    """Every thread is brought, each entry once, and each thread knows the payload it came from."""
    source = FakeSource()
    report = crawl(database, study, source)
    assert (report.counts.new, report.pages, source.steps) == (10, 5, 5)
    left = contents(database)
    assert len(left["threads"]) == left["provenance"] == 10
    assert {state for _, _, state in left["frontier"]} == {"done"}
    with database.reading() as session:
        assert session.scalars(select(CrawlRun)).one().outcome == "finished"
        assert session.scalars(select(Crawl)).one().finished_at == NOW


@pytest.mark.parametrize("step", range(2, 6))
@pytest.mark.parametrize(
    ("fault", "raised", "outcome"),
    [
        (KeyboardInterrupt(), StoppedEarly, "stopped"),
        (QuotaExhausted("used up", NOW), StoppedEarly, "stopped"),
        (Unauthorized("the token is refused"), Unauthorized, "failed"),
        (RuntimeError("a bug of ours"), RuntimeError, "failed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_crawl_that_ends_anywhere_goes_on(
    database: Database, study: Study, tmp_path, step: int, fault: BaseException, raised: type, outcome: str
) -> None:
    """Whatever ends a crawl at whatever page, a rerun asks for that page and leaves what one run would."""
    source = FakeSource(fails_at={step: fault})
    with pytest.raises(raised):
        crawl(database, study, source)
    with database.reading() as session:
        assert session.scalars(select(CrawlRun)).one().outcome == outcome
    crawl(database, study, source)
    assert source.steps == 6
    assert len(source.windows) == 1
    resumed = contents(database)
    whole = open_database(f"sqlite:///{tmp_path}/whole.db")
    crawl(whole, study, FakeSource())
    assert resumed == contents(whole)
    whole.close()


def test_a_service_that_never_answers_is_a_failure(database: Database, study: Study) -> None:
    """Where not even the first page comes, the crawl has failed rather than stopped early."""
    with pytest.raises(Unreachable):
        crawl(database, study, FakeSource(fails_at={1: Unreachable("no answer")}))
    with database.reading() as session:
        assert session.scalars(select(CrawlRun)).one().outcome == "failed"


@pytest.mark.parametrize("broken", [{"0"}, {"9"}, {"4", "5"}, {"0", "4", "8"}, set("012345")])
def test_threads_that_fail_for_ever_keep_nothing_else_from_coming(
    database: Database, study: Study, broken: set[str]
) -> None:
    """What the service fails on stays pending with its reason, all else comes, and a rerun tries again."""
    source = FakeSource(broken=set(broken))
    for _ in range(9):
        with pytest.raises(StoppedEarly, match="502"):
            crawl(database, study, source)
    left = select(FrontierEntry).where(FrontierEntry.state == "pending")
    with database.reading() as session:
        assert {entry.key: entry.note for entry in session.scalars(left)} == dict.fromkeys(broken, "HTTP 502")
        assert session.scalar(select(func.count()).select_from(Thread)) == 10 - len(broken)
    assert any(window.updated_since for window in source.windows)  # and new threads are looked for
    source.broken.clear()
    report = crawl(database, study, source)
    assert report.counts.new == len(broken)
    with database.reading() as session:
        assert session.scalars(left).all() == []
        assert all(found.finished_at for found in session.scalars(select(Crawl)))


@pytest.mark.parametrize(("answered", "steps"), [(True, 4), (False, 2)])
def test_a_service_that_is_dead_is_not_asked_for_everything(
    database: Database, study: Study, answered: bool, steps: int
) -> None:
    """Where one thread after the other fails, or nothing answers at all, it is the service: the run ends."""
    fault = Unreachable("no good answer", answered)
    source = FakeSource(fails_at=dict.fromkeys(range(2, 99), fault))
    with pytest.raises(StoppedEarly):
        crawl(database, study, source)
    assert source.steps == steps
    crawl(database, study, FakeSource())


def test_a_second_crawl_asks_only_for_what_changed(database: Database, study: Study) -> None:
    """After a finished crawl, the next of the same bounds looks from its start, an hour earlier."""
    crawl(database, study, FakeSource())
    before = contents(database)
    source = FakeSource()
    report = crawl(database, study, source)
    assert (report.pages, report.counts.new) == (0, 0)
    assert source.windows[0].updated_since == NOW.replace(year=2020, month=12, day=31, hour=23)
    assert contents(database) == before


def test_other_bounds_are_another_crawl(database: Database, study: Study) -> None:
    """A crawl with another bound neither resumes nor shortens the first."""
    with pytest.raises(StoppedEarly):
        crawl(database, study, FakeSource(fails_at={2: QuotaExhausted("used up")}))
    source = FakeSource()
    crawl(database, study, source, Window(until=NOW))
    assert source.windows == [Window(until=NOW)]


def test_a_limit_bounds_the_threads(database: Database, study: Study) -> None:
    """At most so many threads are stored, and no page is asked for beyond them."""
    source = FakeSource()
    report = crawl(database, study, source, Window(limit=4))
    assert (report.counts.new, source.steps) == (4, 3)


def test_a_killed_run_is_closed_by_the_next(database: Database, study: Study) -> None:
    """A run that was left running is marked as ended when the next one begins."""
    with database.writing() as session:
        begin_run(session, "github", "crawl")
    crawl(database, study, FakeSource())
    with database.reading() as session:
        outcomes = session.execute(select(CrawlRun.outcome, CrawlRun.reason).order_by(CrawlRun.id)).all()
        assert outcomes == [("stopped", "the process ended without a word"), ("finished", None)]


def test_two_crawls_of_one_database_exclude_each_other(database: Database, study: Study) -> None:
    """While a crawl runs, another is refused."""
    with database.exclusive("crawl"), pytest.raises(StoppedEarly, match="another crawl"):
        crawl(database, study, FakeSource())
