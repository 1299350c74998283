"""The table of labeling: one append-only row for everything that happened, linked by hashes.

Whatever a person does (a draw, a decision, a check, an adjudication, a change of the codebook) is
one event. What the events amount to is worked out in `db.history`. Triggers refuse every change of a row.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, UniqueConstraint, insert, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from db.base import Base
from db.crawls import Memory
from db.history import History
from db.records import Event, Label
from db.threads import Thread

KINDS = (
    "setup", "annotator", "codebook", "draw", "decision", "check", "adjudication", "import",
    "proposal", "resolution", "reveal", "reopen",
)  # fmt: skip
VERDICTS = ("valid", "invalid", "unsure", "parked", "withdrawn", "agree", "discard", "defer")
DETAILS = "verdict = 'valid' or (fix_pattern is null and function is null)"
ACTS = "kind <> 'import'"  # written out, or no database sees that the index of acts will do
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
        # The migration gives PostgreSQL the same conditions: naming them here would load that dialect always.
        Index("ix_label_event_acts", "thread_url", sqlite_where=text(ACTS)),
        Index(
            "uq_label_event_first",
            "origin",
            "kind",
            "thread_url",
            "annotator",
            "phase",
            unique=True,
            sqlite_where=text("supersedes is null and kind in ('decision', 'check')"),
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


BATCH = 500  # threads at a time
COLUMNS = [LabelEvent.__table__.c[field.name] for field in fields(Event)]
NAMES = [column.name for column in COLUMNS if column.name != "id"]


def read_events(session: Session, after: int = 0) -> list[Event]:
    """Return every event with an id over `after`, in the order in which this database took them."""
    rows = session.execute(select(*COLUMNS).where(LabelEvent.id > after).order_by(LabelEvent.id))
    return [Event(*row) for row in rows]


def each_event(session: Session) -> Iterator[Event]:
    """Yield every event by origin and sequence, reading as it goes."""
    query = select(*COLUMNS).order_by(LabelEvent.origin, LabelEvent.sequence)
    for row in session.execute(query, execution_options={"yield_per": BATCH}):
        yield Event(*row)


def read_history(session: Session) -> History:
    """Return what all events amount to."""
    return History(read_events(session))


class Chain:
    """The end of this database's own chain, which grows by every row that is linked to it."""

    def __init__(self, session: Session) -> None:
        self.origin = origin_of(session)
        last = session.execute(
            select(LabelEvent.sequence, LabelEvent.hash)
            .where(LabelEvent.origin == self.origin)
            .order_by(LabelEvent.sequence.desc())
            .limit(1)
        ).first()
        self.sequence: int = last[0] if last else 0
        self.hash: str = last[1] if last else GENESIS

    def link(self, kind: str, thread: Thread | None, label: Label | None, **columns: Any) -> dict[str, Any]:
        """Return the complete row of a new event; `columns` are LabelEvent's, `at` is now by default."""
        row = dict.fromkeys(NAMES) | {"payload": {}, "simulated": False} | columns
        row |= _label_columns(label) if label else {}
        row |= {
            "uid": uuid.uuid4().hex,
            "origin": self.origin,
            "sequence": self.sequence + 1,
            "kind": kind,
            "thread_id": thread.id if thread else None,
            "thread_url": thread.url if thread else None,
            "at": (row["at"] or datetime.now(UTC)).astimezone(UTC),
            "previous_hash": self.hash,
        }
        self.sequence, self.hash = self.sequence + 1, digest_of(row)
        return row | {"hash": self.hash}


def append_event(
    session: Session,
    kind: str,
    *,
    thread: Thread | None = None,
    label: Label | None = None,
    **columns: Any,
) -> Event:
    """Append one event to this database's own chain and return it; `columns` are LabelEvent's.

    A `label` sets the verdict and the four label columns.
    """
    return insert_event(session, Chain(session).link(kind, thread, label, **columns))


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


def _label_columns(label: Label) -> dict[str, Any]:
    return {
        "verdict": "valid" if label.valid else "invalid",
        "reason": label.reason,
        "root_cause": label.root_cause,
        "fix_pattern": label.fix_pattern,
        "function": label.function,
    }
