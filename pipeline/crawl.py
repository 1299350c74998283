"""Drive a source over its frontier: fetch a page, commit it whole, go on, until nothing is pending.

What a page brings (payloads, threads, entries found and settled, things to remember) is one
transaction, made before the source is asked again. So a crawl that is killed anywhere goes on at the
page that was in flight, and ends with the database of a crawl that was left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from db.crawls import Crawl, CrawlRun, FrontierEntry, Memory, Provenance, RawPayload, Repository
from db.engine import Database
from db.errors import NanmineError, StoppedEarly
from db.threads import Thread
from pipeline.errors import Interrupted, Unreachable
from pipeline.journal import begin_run, end_run, keep_payloads
from pipeline.sources.base import Entry, Page, RepositoryRecord, Source, Window
from pipeline.store import Counts, author_key, rename_repository, upsert_threads
from pipeline.study import Study
from pipeline.transport import Transport

OVERLAP = timedelta(hours=1)  # an incremental crawl looks this far behind the start of the last one


@dataclass(slots=True)
class CrawlReport:
    """What one run of a crawl did; `pages` brought an answer, `requests` counts every try, `threads` each
    distinct thread.
    """

    source: str
    counts: Counts = field(default_factory=Counts)
    threads: int = 0
    pages: int = 0
    truncated: int = 0
    gone: int = 0
    requests: int = 0

    def document(self) -> dict[str, int]:
        """Return the counts as the run's row keeps them."""
        own = {"threads": self.threads, "pages": self.pages, "truncated": self.truncated, "gone": self.gone}
        return asdict(self.counts) | own


def crawl_source(
    database: Database, study: Study, source: Source, window: Window, transport: Transport
) -> CrawlReport:
    """Crawl `source` for `window`: go on with an unfinished crawl of the same bounds, or begin one.

    Raises StoppedEarly (a limit, Ctrl-C, a service that fell silent on the way) or SourceError, with
    every finished page kept.
    """
    with database.exclusive("crawl"):
        with database.writing() as session:
            crawl_id = _resume(session, source, window) or _begin(
                session, source, window, transport.clock.now()
            )
        return work_off(database, study, source, crawl_id, transport, window.limit)


def work_off(
    database: Database,
    study: Study,
    source: Source,
    crawl_id: int,
    transport: Transport,
    limit: int | None = None,
) -> CrawlReport:
    """Work off the pending entries of a crawl as one run, and close the crawl when none is left."""
    report = CrawlReport(source.name)
    with database.writing() as session:
        _close_abandoned(session, source.name)
        activity = "hydrate" if "list" in session.get_one(Crawl, crawl_id).parameters else "crawl"
        run_id = begin_run(session, source.name, activity, crawl_id)
    outcome, reason = "failed", None
    try:
        _fetch_all(
            _Run(database, study, source, crawl_id, run_id, report, limit, transport.clock.now()), transport
        )
        outcome = "finished"
    except KeyboardInterrupt:
        outcome, reason = "stopped", f"{source.name}: interrupted; everything is kept, run again to resume"
        raise Interrupted(reason) from None
    except StoppedEarly as error:
        outcome, reason = "stopped", str(error)
        raise
    except Unreachable as error:
        reason = str(error)
        if report.pages:  # a service that fell silent on the way leaves work that a rerun resumes
            outcome = "stopped"
            raise StoppedEarly(reason) from error
        raise
    except NanmineError as error:
        reason = str(error)
        raise
    finally:
        report.requests = transport.requests
        with database.writing() as session:
            report.threads = _count_threads(session, run_id)
            end_run(session, run_id, outcome, report.document(), transport.requests, reason)
            if outcome == "finished":
                session.get_one(Crawl, crawl_id).finished_at = transport.clock.now()
    return report


@dataclass(slots=True)
class _Run:
    """One run at work."""

    database: Database
    study: Study
    source: Source
    crawl_id: int
    run_id: int
    report: CrawlReport
    limit: int | None
    now: datetime


def _fetch_all(run: _Run, transport: Transport) -> None:
    lookup = StoredLookup(run.database, run.source.name)
    while True:
        with run.database.reading() as session:
            entries = _next_entries(session, run.crawl_id, run.source)
            seen = _seen_threads(session, run.crawl_id) if run.limit is not None else set()
        if not entries or (run.limit is not None and len(seen) >= run.limit):
            return
        page = run.source.fetch_page(entries, lookup)
        if run.limit is not None:
            page = _bounded(page, seen, run.limit)
        with run.database.writing() as session:
            _commit(session, run, page)
        transport.watcher.committed(run.source.name, run.report.counts.new, run.report.counts.changed)


def _next_entries(session: Session, crawl_id: int, source: Source) -> list[Entry]:
    """Return the pending entries to take next: all of one kind and priority, in order."""
    pending = select(FrontierEntry).where(
        FrontierEntry.crawl_id == crawl_id, FrontierEntry.state == "pending"
    )
    pending = pending.order_by(FrontierEntry.priority, FrontierEntry.id)
    first = session.scalars(pending.limit(1)).first()
    if first is None:
        return []
    alike = pending.where(FrontierEntry.kind == first.kind, FrontierEntry.priority == first.priority)
    rows = session.scalars(alike.limit(source.batch_size(first.kind)))
    return [Entry(row.kind, row.key, row.parameters, row.priority, row.cursor, row.id) for row in rows]


def _seen_threads(session: Session, crawl_id: int) -> set[str]:
    """Return the external ids of the threads that this crawl has brought so far."""
    found = (
        select(Thread.external_id)
        .join(Provenance, Provenance.thread_id == Thread.id)
        .join(RawPayload, RawPayload.id == Provenance.raw_payload_id)
        .join(CrawlRun, CrawlRun.id == RawPayload.crawl_run_id)
        .where(CrawlRun.crawl_id == crawl_id)
    )
    return set(session.scalars(found))


def _count_threads(session: Session, run_id: int) -> int:
    """Return how many distinct threads the payloads of a run hold."""
    found = select(func.count(func.distinct(Provenance.thread_id))).join(
        RawPayload, RawPayload.id == Provenance.raw_payload_id
    )
    return session.scalar(found.where(RawPayload.crawl_run_id == run_id)) or 0


def _bounded(page: Page, seen: set[str], limit: int) -> Page:
    """Return the page with no more threads than the limit leaves."""
    kept, known = [], set(seen)
    for thread, payload in page.threads:
        if thread.external_id in known or len(known) < limit:
            known.add(thread.external_id)
            kept.append((thread, payload))
    return replace(page, threads=tuple(kept))


def _commit(session: Session, run: _Run, page: Page) -> None:
    name, report = run.source.name, run.report
    entry_id = page.results[0].entry.id if page.results else None
    payloads = [(payload.kind, payload.request, payload.body) for payload in page.payloads]
    ids = keep_payloads(session, run.run_id, name, payloads, entry_id)
    _upsert_repositories(session, name, page.repositories, run.now)
    threads = [(thread, ids[index]) for thread, index in page.threads]
    report.counts.add(upsert_threads(session, run.study, threads, author_key(session)))
    for result in page.results:
        values = {"state": result.state, "cursor": result.cursor, "note": result.note}
        session.execute(update(FrontierEntry).where(FrontierEntry.id == result.entry.id).values(values))
        report.truncated += result.state == "truncated"
        report.gone += result.state == "gone"
    add_entries(session, run.crawl_id, page.found, entry_id)
    for memory, value in page.memory.items():
        session.merge(Memory(owner=name, name=memory, value=value))
    report.pages += bool(page.payloads)


def add_entries(
    session: Session, crawl_id: int, entries: Sequence[Entry], parent_id: int | None = None
) -> None:
    """Add entries to a crawl's frontier; those it has already are left alone."""
    wanted = {(entry.kind, entry.key): entry for entry in reversed(entries)}
    known: set[tuple[str, str]] = set()
    for kind in {kind for kind, _ in wanted}:
        keys = [key for other, key in wanted if other == kind]
        for start in range(0, len(keys), 500):
            known |= {
                (kind, key) for key in session.scalars(_keys(crawl_id, kind, keys[start : start + 500]))
            }
    rows = [
        {
            "crawl_id": crawl_id,
            "parent_id": parent_id,
            "kind": entry.kind,
            "key": entry.key,
            "priority": entry.priority,
            "parameters": entry.parameters,
            "cursor": entry.cursor,
            "state": "pending",
        }
        for entry in reversed(wanted.values())
        if (entry.kind, entry.key) not in known
    ]
    if rows:
        session.execute(insert(FrontierEntry), rows)


def _keys(crawl_id: int, kind: str, keys: Sequence[str]) -> Any:
    found = select(FrontierEntry.key).where(FrontierEntry.crawl_id == crawl_id, FrontierEntry.kind == kind)
    return found.where(FrontierEntry.key.in_(keys))


def _upsert_repositories(
    session: Session, source: str, repositories: Sequence[RepositoryRecord], now: datetime
) -> None:
    for record in repositories:
        row = session.scalar(
            select(Repository).where(
                Repository.source == source, Repository.external_id == record.external_id
            )
        )
        if row is None:
            row = Repository(source=source, external_id=record.external_id)
            session.add(row)
        elif row.full_name != record.full_name:
            rename_repository(session, source, row.full_name, record.full_name)
        row.full_name, row.topics, row.facts = record.full_name, list(record.topics), record.facts
        row.seen_at = now
        session.flush()


def _resume(session: Session, source: Source, window: Window) -> int | None:
    """Return the unfinished crawl of the same bounds, if there is one."""
    crawls = select(Crawl).where(Crawl.source == source.name, Crawl.finished_at.is_(None)).order_by(Crawl.id)
    for crawl in session.scalars(crawls):
        if _bounds(crawl.parameters) == _bounds(parameters_of(window)):
            return crawl.id
    return None


def _begin(session: Session, source: Source, window: Window, now: datetime) -> int:
    """Begin a crawl; where a whole one of the same bounds was finished, only for what changed since."""
    finished = select(Crawl).where(Crawl.source == source.name, Crawl.finished_at.is_not(None))
    same = [
        crawl.started_at
        for crawl in session.scalars(finished)
        if _bounds(crawl.parameters) == _bounds(parameters_of(replace(window, limit=None)))
    ]
    if same:
        window = replace(window, updated_since=max(same) - OVERLAP)
    crawl = Crawl(source=source.name, parameters=parameters_of(window), started_at=now)
    session.add(crawl)
    session.flush()
    add_entries(session, crawl.id, source.seed(window))
    return crawl.id


def parameters_of(window: Window) -> dict[str, Any]:
    """Return a window as a crawl's row keeps it."""
    values = {name: getattr(window, name) for name in Window.__slots__}
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()
    }


def _bounds(parameters: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(parameters.get(name) for name in ("since", "until", "limit", "list"))


def _close_abandoned(session: Session, source: str) -> None:
    """Mark the runs that a killed process left running; the caller holds the crawl lock."""
    for run in session.scalars(
        select(CrawlRun).where(CrawlRun.source == source, CrawlRun.outcome == "running")
    ):
        end_run(session, run.id, "stopped", run.counts, run.requests, "the process ended without a word")


class StoredLookup:
    """Answers a source's questions about what is stored; see `pipeline.sources.base.Lookup`."""

    def __init__(self, database: Database, source: str) -> None:
        self._database = database
        self._source = source

    def memory(self, name: str) -> dict[str, Any] | None:
        """Return what the source remembers under `name`."""
        with self._database.reading() as session:
            row = session.get(Memory, (self._source, name))
            return row.value if row else None

    def known(self, external_ids: Sequence[str]) -> dict[str, datetime | None]:
        """Return the `updated_at` of those threads that are stored, by external id."""
        found: dict[str, datetime | None] = {}
        with self._database.reading() as session:
            for start in range(0, len(external_ids), 500):
                some = Thread.external_id.in_(external_ids[start : start + 500])
                rows = select(Thread.external_id, Thread.updated_at).where(
                    Thread.source == self._source, some
                )
                found |= {row.external_id: row.updated_at for row in session.execute(rows)}
        return found

    def stored(self, since: datetime | None, until: datetime | None, accepted: bool = False) -> Sequence[str]:
        """Return the external ids of the present threads created in [since, until], oldest first."""
        threads = select(Thread.external_id).where(
            Thread.source == self._source, Thread.availability == "present"
        )
        if accepted:
            threads = threads.where(Thread.accepted)
        if since is not None:
            threads = threads.where(Thread.created_at >= since)
        if until is not None:
            threads = threads.where(Thread.created_at <= until)
        with self._database.reading() as session:
            return list(session.scalars(threads.order_by(Thread.created_at, Thread.id)))

    def repositories(self) -> Sequence[RepositoryRecord]:
        """Return the catalogue of the source, by external id."""
        with self._database.reading() as session:
            rows = session.scalars(
                select(Repository).where(Repository.source == self._source).order_by(Repository.id)
            )
            return [
                RepositoryRecord(row.external_id, row.full_name, tuple(row.topics), row.facts) for row in rows
            ]
