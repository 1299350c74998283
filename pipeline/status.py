"""Where a study stands: threads, candidates, labels, proposals, the funnel, work left, last runs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.crawls import Crawl, CrawlRun, FrontierEntry
from db.threads import Criterion, Thread, ThreadStratum
from pipeline.study import Study


def read_status(session: Session, study: Study) -> dict[str, Any]:
    """Return the whole status as one JSON-ready document; counts are of threads."""
    total = select(func.count()).select_from(Thread)
    return {
        "study": study.name,
        "threads": session.scalar(total),
        "candidates": session.scalar(total.where(Thread.candidate)),
        "sources": _per_source(session),
        "strata": {stratum.code: _stratum(session, stratum.code) for stratum in study.strata},
        "unfinished": _unfinished(session),
        "last_runs": _last_runs(session),
    }


def _per_source(session: Session) -> dict[str, Any]:
    rows = session.execute(
        select(Thread.source, func.count(), func.count().filter(Thread.candidate)).group_by(Thread.source)
    )
    return {source: {"threads": threads, "candidates": candidates} for source, threads, candidates in sorted(rows)}


def _stratum(session: Session, code: str) -> dict[str, Any]:
    member = select(ThreadStratum.thread_id).where(ThreadStratum.stratum == code)
    threads = select(func.count()).select_from(Thread).where(Thread.id.in_(member))
    verdicts = select(Criterion.name, func.count()).where(Criterion.thread_id.in_(member), Criterion.met)
    return {
        "threads": session.scalar(threads),
        "criteria": dict(sorted(tuple(row) for row in session.execute(verdicts.group_by(Criterion.name)))),
        "candidates": session.scalar(threads.where(Thread.candidate)),
    }


def _unfinished(session: Session) -> dict[str, int]:
    rows = session.execute(
        select(Crawl.source, func.count())
        .join(FrontierEntry, FrontierEntry.crawl_id == Crawl.id)
        .where(FrontierEntry.state == "pending")
        .group_by(Crawl.source)
    )
    return {source: number for source, number in sorted(tuple(row) for row in rows)}


def _last_runs(session: Session) -> dict[str, Any]:
    newest = select(func.max(CrawlRun.id)).group_by(CrawlRun.source)
    runs = session.scalars(select(CrawlRun).where(CrawlRun.id.in_(newest)).order_by(CrawlRun.source))
    return {
        run.source: {
            "activity": run.activity,
            "outcome": run.outcome,
            "reason": run.reason,
            "started_at": run.started_at.isoformat(),
            "finished_at": run.finished_at and run.finished_at.isoformat(),
            "requests": run.requests,
            "counts": run.counts,
        }
        for run in runs
    }


def render_status(status: dict[str, Any]) -> str:
    """Return the status as lines for a person."""
    return str(status)
