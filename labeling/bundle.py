"""Two machines: every event as one line of a file, and the union of two databases' events.

Merging only adds events, so it can neither conflict nor depend on the order of merges. Where one
person labelled the same thread on both machines, both labels stay and the fork is reported.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.errors import RefusedByProtocol
from db.history import History
from db.label_events import broken_links, digest_of, insert_event, origin_of, read_events
from db.records import Event
from db.threads import Thread
from pipeline.errors import InputError

LOCAL = ("id", "thread_id")
CARRIED = tuple(field.name for field in fields(Event) if field.name not in LOCAL)


@dataclass(frozen=True, slots=True)
class BundleReport:
    """What a merge did: events added, known before, threads missing here, and forks (thread, person)."""

    added: int
    known: int
    missing_threads: tuple[str, ...]
    forks: tuple[tuple[str, str], ...]


def bundle_lines(session: Session, handle: str | None = None) -> list[str]:
    """Return every event as one line of JSON, by origin and sequence.

    While blind labels of others than `handle` are secret, only this database's own chain goes out;
    RefusedByProtocol where those labels are part of it.
    """
    events = sorted(read_events(session), key=lambda event: (event.origin, event.sequence))
    secret = [event for event in History(events).blind_labels() if event.annotator != handle]
    if secret:
        own = origin_of(session)
        if any(event.origin == own for event in secret):
            raise RefusedByProtocol("blind labels of somebody else wait here; bundle when all are in")
        events = [event for event in events if event.origin == own]
    return [json.dumps(_carried(event), sort_keys=True, ensure_ascii=True) for event in events]


def _carried(event: Event) -> dict[str, Any]:
    row = event.row()
    return {name: row[name] for name in CARRIED} | {"at": event.at.isoformat()}


def merge_bundle(session: Session, path: Path) -> BundleReport:
    """Add the events of a bundle that this database does not hold; InputError if it was tampered with."""
    rows = _read(path)
    known = {event.uid: event for event in read_events(session)}
    for row in rows:
        if row["uid"] in known and known[row["uid"]].hash != row["hash"]:
            raise InputError(f"{path}: event {row['uid']} differs from the one held here; nothing is merged")
    new = [row for row in rows if row["uid"] not in known]
    ids = _thread_ids(session, new)
    _check_chains(path, known.values(), new)
    _check_setup(path, known.values(), new)
    try:
        for row in new:
            insert_event(session, row | {"thread_id": ids.get(row["thread_url"])})
        session.flush()
    except IntegrityError as error:
        raise InputError(
            f"{path}: an event breaks a rule of labeling ({error.orig}); nothing is merged"
        ) from None
    missing = sorted(
        {str(row["thread_url"]) for row in new if row["thread_url"] and row["thread_url"] not in ids}
    )
    return BundleReport(
        len(new), len(rows) - len(new), tuple(missing), forks_of(History(read_events(session)))
    )


def forks_of(history: History) -> tuple[tuple[str, str], ...]:
    """Return (thread URL, person) for each pair of labels that nobody has settled."""
    forked = [
        (story.url, str(ends[0].annotator)) for story in history.threads.values() for ends in story.forks
    ]
    return tuple(sorted(forked))


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    return sorted(
        (_row(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()),
        key=lambda row: (row["origin"], row["sequence"]),
    )


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if not isinstance(row, dict) or set(row) != set(CARRIED):
            raise ValueError("is no event of a bundle")
        row["at"] = datetime.fromisoformat(row["at"])
        if (
            row["at"].tzinfo is None
            or not isinstance(row["sequence"], int)
            or not isinstance(row["payload"], dict)
        ):
            raise ValueError("is no event of a bundle")
        if digest_of(row) != row["hash"]:
            raise ValueError("does not match its hash; it was changed")
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}:{number}: {error}; nothing is merged") from None
    return row


def _check_chains(path: Path, known: Iterable[Event], new: list[dict[str, Any]]) -> None:
    together = [*known, *(Event(**(row | {"id": 0, "thread_id": None})) for row in new)]
    broken = broken_links(together)
    if broken:
        raise InputError(f"{path}: {broken[0]}; nothing is merged")


def _check_setup(path: Path, known: Iterable[Event], new: list[dict[str, Any]]) -> None:
    setups = [event.payload for event in known if event.kind == "setup"]
    setups += [row["payload"] for row in new if row["kind"] == "setup"]
    if any(setup != setups[0] for setup in setups):
        raise InputError(f"{path}: labelled under another protocol or other quotas; nothing is merged")


def _thread_ids(session: Session, rows: list[dict[str, Any]]) -> dict[str, int]:
    wanted = {row["thread_url"] for row in rows if row["thread_url"]}
    found = session.execute(select(Thread.url, Thread.id))
    return {url: number for url, number in found if url in wanted}
