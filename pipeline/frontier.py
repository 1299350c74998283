"""The frontier in the database: which crawl goes on or begins, what it asks for next, what it puts aside.

A thread that the service fails on is put aside: it stays pending, with the reason, behind everything
that failed less often, and what failed in a batch is asked for again in ever smaller batches. So one
thread that is broken for ever keeps nothing else from coming, and no rerun from trying it again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.orm import Session

from db.crawls import Crawl, FrontierEntry
from pipeline.sources.base import Entry, Source, Window

OVERLAP = timedelta(hours=1)  # an incremental crawl looks this far behind the start of the last one
CHUNK = 500  # keys in one question to the database


def resume(session: Session, source: Source, window: Window, now: datetime) -> int | None:
    """Return the unfinished crawl of the same bounds, if there is one with work that never failed.

    A crawl with nothing left but threads that failed is closed; `begin` takes them over.
    """
    crawls = select(Crawl).where(Crawl.source == source.name, Crawl.finished_at.is_(None)).order_by(Crawl.id)
    for crawl in session.scalars(crawls).all():
        if _bounds(crawl.parameters) != _bounds(parameters_of(window)):
            continue
        if not _is_all_put_aside(session, crawl.id):
            return crawl.id
        crawl.finished_at = now
    return None


def begin(session: Session, source: Source, window: Window, now: datetime) -> int:
    """Begin a crawl; where a whole one of the same bounds was finished, only for what changed since."""
    finished = session.scalars(
        select(Crawl).where(Crawl.source == source.name, Crawl.finished_at.is_not(None))
    ).all()
    whole = _bounds(parameters_of(replace(window, limit=None)))
    same = [crawl.started_at for crawl in finished if _bounds(crawl.parameters) == whole]
    if same:
        window = replace(window, updated_since=max(same) - OVERLAP)
    crawl = Crawl(source=source.name, parameters=parameters_of(window), started_at=now)
    session.add(crawl)
    session.flush()
    add_entries(session, crawl.id, source.seed(window))
    before = [past.id for past in finished if _bounds(past.parameters) == _bounds(crawl.parameters)]
    failed = FrontierEntry.crawl_id.in_(before), FrontierEntry.state == "pending", FrontierEntry.failures > 0
    session.execute(update(FrontierEntry).where(*failed).values(crawl_id=crawl.id))
    return crawl.id


def parameters_of(window: Window) -> dict[str, Any]:
    """Return a window as a crawl's row keeps it."""
    values = {name: getattr(window, name) for name in Window.__slots__}
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()
    }


def _bounds(parameters: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(parameters.get(name) for name in ("since", "until", "limit", "list"))


def _pending(crawl_id: int) -> Select[tuple[FrontierEntry]]:
    return select(FrontierEntry).where(FrontierEntry.crawl_id == crawl_id, FrontierEntry.state == "pending")


def _is_all_put_aside(session: Session, crawl_id: int) -> bool:
    fewest = _pending(crawl_id).with_only_columns(func.min(FrontierEntry.failures))
    return bool(session.scalar(fewest))


def next_entries(session: Session, crawl_id: int, source: Source, left: Collection[int]) -> list[Entry]:
    """Return the pending entries to take next, none of `left`: all of one kind and priority, in order."""
    order = FrontierEntry.failures, FrontierEntry.priority, FrontierEntry.id
    pending = _pending(crawl_id).where(FrontierEntry.id.not_in(left)).order_by(*order)
    first = session.scalars(pending.limit(1)).first()
    if first is None:
        return []
    alike = pending.where(
        FrontierEntry.kind == first.kind,
        FrontierEntry.priority == first.priority,
        FrontierEntry.failures == first.failures,
    )
    rows = session.scalars(alike.limit(source.batch_size(first.kind))).all()
    if first.failures:
        rows = rows[: max(1, len(rows) // 4)]
    return [
        Entry(row.kind, row.key, row.parameters, row.priority, row.cursor, row.id, row.failures)
        for row in rows
    ]


def put_aside(session: Session, entries: Sequence[Entry], reason: str) -> None:
    """Leave entries for later, with the reason."""
    values = {"failures": FrontierEntry.failures + 1, "note": reason}
    ids = [entry.id for entry in entries]
    session.execute(update(FrontierEntry).where(FrontierEntry.id.in_(ids)).values(values))


def add_entries(
    session: Session, crawl_id: int, entries: Sequence[Entry], parent_id: int | None = None
) -> None:
    """Add entries to a crawl's frontier; those it has already are left alone."""
    wanted = {(entry.kind, entry.key): entry for entry in reversed(entries)}
    known = _known(session, crawl_id, list(wanted))
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
            "failures": 0,
        }
        for name, entry in reversed(wanted.items())
        if name not in known
    ]
    if rows:
        session.execute(insert(FrontierEntry), rows)


def _known(session: Session, crawl_id: int, names: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return which entries, by kind and key, a crawl has already."""
    known: set[tuple[str, str]] = set()
    for kind in {kind for kind, _ in names}:
        keys = [key for other, key in names if other == kind]
        of_kind = select(FrontierEntry.key).where(
            FrontierEntry.crawl_id == crawl_id, FrontierEntry.kind == kind
        )
        for start in range(0, len(keys), CHUNK):
            some = FrontierEntry.key.in_(keys[start : start + CHUNK])
            known |= {(kind, key) for key in session.scalars(of_kind.where(some))}
    return known
