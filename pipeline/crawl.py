"""Drive a source over its frontier: fetch a page, commit it whole, go on, until nothing is pending.

What a page brings (payloads, threads, entries found and settled, things to remember) is one
transaction, made before the source is asked again. So a crawl that is killed anywhere goes on at the
page that was in flight, and ends with the database of a crawl that was left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db.crawls import Crawl, CrawlRun, FrontierEntry, Memory, Provenance, RawPayload, Repository
from db.engine import Database
from db.errors import NanmineError, StoppedEarly
from db.threads import Thread
from pipeline.errors import Interrupted, Malformed, Refused, Unreachable
from pipeline.frontier import add_entries, begin, next_entries, put_aside, resume
from pipeline.journal import begin_run, end_run, keep_payloads
from pipeline.lookup import StoredLookup
from pipeline.sources.base import Entry, Page, RepositoryRecord, Source, Window
from pipeline.store import Counts, author_key, rename_repository, upsert_threads
from pipeline.study import Study
from pipeline.transport import Transport

DEAD = 3  # threads or batches of them that fail one after the other: it is the service, not they


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
    now = transport.clock.now()
    with database.exclusive("crawl"):
        with database.writing() as session:
            crawl_id = resume(session, source, window, now) or begin(session, source, window, now)
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
    left: dict[int, str] = field(default_factory=dict)  # the threads given up for this run, and why
    failures: int = 0  # without a page in between


def _fetch_all(run: _Run, transport: Transport) -> None:
    lookup = StoredLookup(run.database, run.source.name)
    while True:
        with run.database.reading() as session:
            entries = next_entries(session, run.crawl_id, run.source, run.left)
            seen = _seen_threads(session, run.crawl_id) if run.limit is not None else set()
        if run.limit is not None and len(seen) >= run.limit:
            return
        if not entries:
            break
        try:
            page = run.source.fetch_page(entries, lookup)
        except (Unreachable, Refused, Malformed) as error:
            _go_past(run, entries, error)
            continue
        run.failures = 0
        if run.limit is not None:
            page = _bounded(page, seen, run.limit)
        with run.database.writing() as session:
            _commit(session, run, page)
        transport.watcher.committed(run.source.name, run.report.counts.new, run.report.counts.changed)

    if run.left:
        count, reason = len(run.left), next(iter(run.left.values()))
        threads = "1 thread" if count == 1 else f"{count} threads"
        raise StoppedEarly(f"{run.source.name}: all is done but {threads} that failed; {reason}")


def _go_past(run: _Run, entries: Sequence[Entry], error: Unreachable | Refused | Malformed) -> None:
    """Put threads aside that the service fails on; raise the error where it fails on everything.

    A part of a batch that had failed as a whole says nothing new about the service; an entry alone does.
    """
    if entries[0].kind not in run.source.thread_kinds:
        raise error
    failed = entries[: error.about]
    with run.database.writing() as session:
        put_aside(session, failed, str(error))
    if len(failed) == 1 and failed[0].id is not None:
        run.left[failed[0].id] = str(error)
    run.failures += len(failed) == 1 or not failed[0].failures
    if run.failures >= DEAD or (isinstance(error, Unreachable) and not error.answered):
        raise StoppedEarly(str(error)) if failed[0].failures else error


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


def _close_abandoned(session: Session, source: str) -> None:
    """Mark the runs that a killed process left running; the caller holds the crawl lock."""
    for run in session.scalars(
        select(CrawlRun).where(CrawlRun.source == source, CrawlRun.outcome == "running")
    ):
        end_run(session, run.id, "stopped", run.counts, run.requests, "the process ended without a word")
