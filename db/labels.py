"""The table of labeling: one append-only row for everything that happened, linked by hashes.

Whatever a person does (a draw, a decision, a check, an adjudication, a change of the codebook) is
one event. What the events amount to is worked out in `db.label_states`; `final_labels` is the only
place that decides which label of a thread the study counts. Triggers refuse every change of a row.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    Select,
    Text,
    UniqueConstraint,
    func,
    insert,
    or_,
    select,
    text,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from db.base import Base
from db.crawls import Memory
from db.label_states import Event, History
from db.records import FinalLabel, Label
from db.threads import Thread, ThreadStratum

KINDS = (
    "setup", "annotator", "codebook", "draw", "decision", "check", "adjudication", "import",
    "proposal", "resolution", "reveal", "reopen",
)  # fmt: skip
VERDICTS = ("valid", "invalid", "unsure", "parked", "withdrawn", "agree", "discard", "defer")
DETAILS = "verdict = 'valid' or (fix_pattern is null and function is null)"
GENESIS = "0" * 64
UNHASHED = frozenset(("id", "thread_id", "hash"))


class LabelEvent(Base):
    """One thing that happened in labeling, never changed and never deleted.

    `origin` names the database it happened in and `sequence` its place there; `hash` digests the row
    and the `previous_hash` of that origin. `verdict` with `reason`, `root_cause`, `fix_pattern` and
    `function` is the label it gives, if any; `supersedes` is the `uid` of the event it replaces;
    `codebook` and `content_sha256` say under which codebook and on which text it was made.
    """

    __tablename__ = "label_event"
    __table_args__ = (
        UniqueConstraint("uid"),
        UniqueConstraint("origin", "sequence"),
        UniqueConstraint("origin", "supersedes"),
        CheckConstraint(f"kind in {KINDS}", name="kind"),
        CheckConstraint(f"verdict in {VERDICTS}", name="verdict"),
        CheckConstraint("(verdict = 'valid') = (root_cause is not null)", name="cause_of_valid"),
        CheckConstraint("(verdict = 'invalid') = (reason is not null)", name="reason_of_invalid"),
        CheckConstraint(DETAILS, name="details_of_valid"),
        Index(None, "thread_url", "kind"),
        Index(
            "uq_label_event_first",
            "origin",
            "kind",
            "thread_url",
            "annotator",
            "phase",
            unique=True,
            sqlite_where=text("supersedes is null and kind in ('decision', 'check')"),
            postgresql_where=text("supersedes is null and kind in ('decision', 'check')"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str]
    origin: Mapped[str]
    sequence: Mapped[int]
    kind: Mapped[str]
    thread_id: Mapped[int | None] = mapped_column(ForeignKey("thread.id"))
    thread_url: Mapped[str | None]
    annotator: Mapped[str | None]
    phase: Mapped[str | None]
    verdict: Mapped[str | None]
    reason: Mapped[str | None]
    root_cause: Mapped[str | None]
    fix_pattern: Mapped[str | None]
    function: Mapped[str | None]
    codebook: Mapped[str | None]
    content_sha256: Mapped[str | None]
    supersedes: Mapped[str | None]
    payload: Mapped[dict[str, Any]]
    simulated: Mapped[bool]
    at: Mapped[datetime]
    previous_hash: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(Text)


Counted = tuple[tuple[str, ...], Label, str, bool, bool]  # strata, label, how, simulated, active
COLUMNS = [LabelEvent.__table__.c[field.name] for field in fields(Event)]
EVENTFUL = (  # the URLs of threads that have more than one event, or one that is no import
    select(LabelEvent.thread_url)
    .where(LabelEvent.thread_url.is_not(None))
    .group_by(LabelEvent.thread_url)
    .having(or_(func.count() > 1, func.max(LabelEvent.kind) != "import"))
)
STRATA = (  # the strata of a thread, joined by commas in no order
    select(func.aggregate_strings(ThreadStratum.stratum, ","))
    .where(ThreadStratum.thread_id == Thread.id)
    .scalar_subquery()
    .label("strata")
)


def read_events(session: Session, after: int = 0) -> list[Event]:
    """Return every event with an id over `after`, in the order in which this database took them."""
    rows = session.execute(select(*COLUMNS).where(LabelEvent.id > after).order_by(LabelEvent.id))
    return [Event(*row) for row in rows]


def read_history(session: Session) -> History:
    """Return what all events amount to."""
    return History(read_events(session))


def append_event(
    session: Session,
    kind: str,
    *,
    thread: Thread | None = None,
    label: Label | None = None,
    at: datetime | None = None,
    **columns: Any,
) -> Event:
    """Append one event to this database's own chain and return it; `columns` are LabelEvent's.

    A `label` sets the verdict and the four label columns.
    """
    origin = origin_of(session)
    last = session.execute(
        select(LabelEvent.sequence, LabelEvent.hash)
        .where(LabelEvent.origin == origin)
        .order_by(LabelEvent.sequence.desc())
        .limit(1)
    ).first()
    sequence, previous_hash = (last[0] + 1, last[1]) if last else (1, GENESIS)
    row = dict.fromkeys(column.name for column in COLUMNS) | {"payload": {}, "simulated": False} | columns
    row |= _label_columns(label) if label else {}
    row |= {
        "uid": uuid.uuid4().hex,
        "origin": origin,
        "sequence": sequence,
        "kind": kind,
        "thread_id": thread.id if thread else None,
        "thread_url": thread.url if thread else None,
        "at": (at or datetime.now(UTC)).astimezone(UTC),
        "previous_hash": previous_hash,
    }
    return insert_event(session, row | {"hash": digest_of(row)})


def insert_event(session: Session, row: dict[str, Any]) -> Event:
    """Insert a complete row as it stands, one of this database or one brought from another."""
    values = {name: value for name, value in row.items() if name != "id"}
    result = session.execute(insert(LabelEvent).values(values).returning(LabelEvent.id))
    return Event(**(values | {"id": result.scalar_one()}))


def digest_of(row: dict[str, Any]) -> str:
    """Return the SHA-256 of a row's content and of the hash before it; local numbers stay out."""
    content = {name: value for name, value in row.items() if name not in UNHASHED}
    content["at"] = row["at"].astimezone(UTC).isoformat()
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def origin_of(session: Session) -> str:
    """Return the name of this database in every chain of events, giving it one at first."""
    known = session.get(Memory, ("labeling", "origin"))
    if known is None:
        known = Memory(owner="labeling", name="origin", value={"uid": uuid.uuid4().hex})
        session.add(known)
        session.flush()
    return str(known.value["uid"])


def broken_links(events: Iterable[Event]) -> list[str]:
    """Return one line for each event whose hash, or whose link to the one before it, does not hold."""
    problems: list[str] = []
    ends: dict[str, tuple[int, str]] = {}
    for event in sorted(events, key=lambda event: (event.origin, event.sequence)):
        sequence, previous = ends.get(event.origin, (0, GENESIS))
        where = f"event {event.uid} ({event.kind}, number {event.sequence} of {event.origin[:8]})"
        if digest_of(event.row()) != event.hash:
            problems.append(f"{where}: its content does not match its hash")
        if event.sequence != sequence + 1 or event.previous_hash != previous:
            problems.append(f"{where}: does not follow number {sequence}")
        ends[event.origin] = (event.sequence, event.hash)
    return problems


def final_labels(session: Session, *, unchecked: bool = False, active: bool = False) -> list[FinalLabel]:
    """Return the label of every thread that has a settled one, ordered by thread.

    Who wins: an adjudication that rests on the labels as they stand now; else the labels of the
    study's protocol where they are settled; else the imported label. `unchecked` adds, with `how`
    "unchecked", the rejections that one person made and the protocol has nobody check. `active`
    adds, marked so, the labels of threads that a model's uncertainty drew: for training, not for counting.
    """
    history = _eventful_history(session)
    found = [final for final in _folded_labels(session, history, unchecked) if active or not final.active]
    for thread_id, url, *row in session.execute(_only_imported(Thread.id, Thread.url)):
        found.append(FinalLabel(thread_id, url, *_imported(history, row)))
    return sorted(found, key=lambda final: final.thread_id)


def count_final_labels(session: Session, *, unchecked: bool = False) -> Counter[Counted]:
    """Return how many threads `final_labels` gives the same values, those of active drawing among them.

    The database counts the threads that have nothing but one import, which may be a million.
    """
    history = _eventful_history(session)
    folded = _folded_labels(session, history, unchecked)
    counts = Counter(
        (final.strata, final.label, final.how, final.simulated, final.active) for final in folded
    )
    rows = _only_imported().subquery()
    for *row, count in session.execute(select(*rows.c, func.count()).group_by(*rows.c)):
        counts[_imported(history, row)] += count
    return counts


def _eventful_history(session: Session) -> History:
    """Return what the events amount to, those of threads with one import and nothing else left out."""
    wanted = or_(LabelEvent.thread_url.is_(None), LabelEvent.thread_url.in_(EVENTFUL))
    return History(Event(*row) for row in session.execute(select(*COLUMNS).where(wanted)))


def _folded_labels(session: Session, history: History, unchecked: bool) -> list[FinalLabel]:
    found = []
    rows = select(Thread.id, Thread.url, STRATA).where(Thread.url.in_(EVENTFUL))
    for thread_id, url, strata in session.execute(rows):
        outcome = history.outcome(url)
        if outcome.label is None or outcome.how is None or (outcome.how == "unchecked" and not unchecked):
            continue
        active, drawn = history.is_left_out(url), bool(history.threads[url].sample_draws)
        counted = history.counted_strata(url) if drawn or active else _sorted_strata(strata)
        final = FinalLabel(thread_id, url, counted, outcome.label, outcome.how, outcome.simulated, active)
        found.append(final)
    return found


def _only_imported(*columns: Any) -> Select[Any]:
    """Select, after the columns given, what `_imported` takes, of each thread with one import alone."""
    label = [LabelEvent.verdict, LabelEvent.reason, LabelEvent.root_cause, LabelEvent.fix_pattern]
    return (
        select(*columns, STRATA, LabelEvent.simulated, *label, LabelEvent.function)
        .join_from(LabelEvent, Thread, Thread.url == LabelEvent.thread_url)
        .where(LabelEvent.thread_url.not_in(EVENTFUL), LabelEvent.verdict.in_(("valid", "invalid")))
    )


def _imported(history: History, row: Sequence[Any]) -> Counted:
    strata, simulated, verdict, *details = row
    label = history.merged(Label(verdict == "valid", *details))
    assert label is not None
    return _sorted_strata(strata), label, "imported", simulated, False


def import_final_labels(
    session: Session, labels: Iterable[tuple[Thread, Label]], *, simulated: bool = False, note: str = ""
) -> int:
    """Append one imported label for each thread that has no such label yet; return how many changed."""
    history = read_history(session)
    live = {url: thread.imported for url, thread in history.threads.items()}
    changed = 0
    for thread, label in labels:
        known = live.get(thread.url)
        if known is not None and known.label == label:
            continue
        live[thread.url] = append_event(
            session,
            "import",
            thread=thread,
            label=label,
            supersedes=known.uid if known else None,
            content_sha256=thread.content_sha256,
            simulated=simulated,
            payload={"note": note} if note else {},
        )
        changed += 1
    return changed


def _label_columns(label: Label) -> dict[str, Any]:
    return {
        "verdict": "valid" if label.valid else "invalid",
        "reason": label.reason,
        "root_cause": label.root_cause,
        "fix_pattern": label.fix_pattern,
        "function": label.function,
    }


def _sorted_strata(joined: str | None) -> tuple[str, ...]:
    return tuple(sorted(joined.split(","))) if joined else ()
