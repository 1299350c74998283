"""Where a study's data come from: crawls, runs, what was asked, versions, and one fingerprint of it all."""

from __future__ import annotations

import hashlib
import json
import platform
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.crawls import Crawl, CrawlRun, RawPayload
from db.final_labels import each_final_label
from db.label_events import LabelEvent
from db.threads import Thread, by_url
from pipeline.export import BATCH, time_text
from pipeline.study import Study
from pipeline.table import Table


def program_version() -> str:
    """Return the version of nanmine that runs."""
    try:
        return version("nanmine")
    except PackageNotFoundError:
        return "unknown"


def fingerprint(session: Session, study: Study) -> str:
    """Return one SHA-256 over every thread's content, every final label and the codebook.

    Two databases with the same threads and labels have the same one, whatever their order.
    """
    digest = hashlib.sha256(study.codebook.digest.encode())
    contents = select(Thread.url, Thread.content_sha256).order_by(by_url(session))
    for row in session.execute(contents, execution_options={"yield_per": BATCH}):
        digest.update(json.dumps(list(row)).encode())
    for final in each_final_label(session, active=True):
        label = final.label
        values = [
            final.url,
            final.strata,
            label.valid,
            label.reason,
            label.root_cause,
            label.fix_pattern,
            label.function,
            *(["active"] if final.active else []),
        ]
        digest.update(json.dumps(values).encode())
    return digest.hexdigest()


def newest(session: Session) -> datetime | None:
    """Return when the data were last added to: the last act of labeling, else the newest thread."""
    for column in (LabelEvent.at, Thread.created_at):
        time: datetime | None = session.scalar(select(func.max(column)))
        if time is not None:
            return time
    return None


def facts(session: Session, study: Study, fingerprint: str) -> Table:
    """What the numbers rest on: study, codebook, data (their fingerprint) and program, with versions."""
    payloads, bytes_ = session.execute(select(func.count(), func.sum(func.length(RawPayload.body)))).one()
    rows = (
        ("Study", study.name),
        ("Keywords", ", ".join(study.keywords.counted)),
        ("Codebook", f"{study.codebook.name}, SHA-256 {study.codebook.digest}"),
        ("Data fingerprint", fingerprint),
        ("Raw answers kept", f"{payloads} of {bytes_ or 0} bytes compressed"),
        ("nanmine", program_version()),
        ("Python", platform.python_version()),
    )
    return Table("provenance", "What the numbers rest on", ("What", "Which"), rows)


def crawls(session: Session) -> Table:
    """Every pass over a source, with what it was asked for and when."""
    rows = tuple(
        (
            crawl.source,
            _asked(crawl.parameters),
            time_text(crawl.started_at),
            time_text(crawl.finished_at) or "unfinished",
        )
        for crawl in session.scalars(select(Crawl).order_by(Crawl.source, Crawl.started_at, Crawl.id))
    )
    return Table("crawls", "Crawls", ("Source", "Asked for", "Started", "Finished"), rows)


def runs(session: Session) -> Table:
    """Every process that brought data, with its version, outcome and requests."""
    rows = tuple(
        (run.source, run.activity, run.version, time_text(run.started_at), run.outcome, run.requests)
        for run in session.scalars(
            select(CrawlRun).order_by(CrawlRun.source, CrawlRun.started_at, CrawlRun.id)
        )
    )
    columns = ("Source", "Activity", "Version", "Started", "Outcome", "Requests")
    return Table("runs", "Runs", columns, rows)


def queries(session: Session) -> Table:
    """What the services were asked, by source and kind of request, with how often and when."""
    rows = session.execute(
        select(
            RawPayload.source,
            RawPayload.kind,
            func.count(),
            func.min(RawPayload.fetched_at),
            func.max(RawPayload.fetched_at),
        )
        .group_by(RawPayload.source, RawPayload.kind)
        .order_by(RawPayload.source, RawPayload.kind)
    )
    cells = tuple(
        (source, kind, count, time_text(first), time_text(last)) for source, kind, count, first, last in rows
    )
    return Table("queries", "Answers kept", ("Source", "Kind", "Answers", "First", "Last"), cells)


def _asked(parameters: dict[str, object]) -> str:
    return (
        ", ".join(
            f"{name} {value}" for name, value in sorted(parameters.items()) if value not in (None, [], {})
        )
        or "all"
    )
