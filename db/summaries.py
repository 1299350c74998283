"""What the tables count of each thread, in one narrow row, so that a million are counted in a moment.

The view `thread_summary_now` says what the row of a thread has to be. Triggers note each thread whose
row may have changed, and every writing session renews those rows before it commits; so the table is
the view, at any time, whoever wrote. `nanmine db check` compares the two.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from sqlalchemy import Index, func, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from db.base import Base


class ThreadSummary(Base):
    """What is counted of a thread: source, candidacy, strata, criteria, and its label if it is imported.

    `strata` are codes joined by commas; `criteria` are names, each with a + if met or a - if
    not. The label is the live imported one of a thread that has no other events; what people did is
    for `db.label_states` to judge.
    """

    __tablename__ = "thread_summary"

    thread_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    verdict: Mapped[str | None]
    simulated: Mapped[bool | None]
    strata: Mapped[str]
    reason: Mapped[str | None]
    root_cause: Mapped[str | None]
    fix_pattern: Mapped[str | None]
    function: Mapped[str | None]
    source: Mapped[str]
    candidate: Mapped[bool]
    criteria: Mapped[str]


COLUMNS = tuple(ThreadSummary.__table__.c)
COUNTED = COLUMNS[1:]  # in the order of the index: what groups by the first of them needs no sorting
Index("ix_thread_summary_counted", *COUNTED)


class StaleSummary(Base):
    """A thread whose summary has to be renewed: empty but within a transaction that writes."""

    __tablename__ = "stale_summary"

    thread_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Seen(NamedTuple):
    """What threads have in common before anybody labels them; `criteria` are (name, met)."""

    source: str
    candidate: bool
    strata: tuple[str, ...]
    criteria: tuple[tuple[str, bool], ...]


NAMES = ", ".join(column.name for column in COLUMNS)
NOW = f"select {NAMES} from thread_summary_now"  # noqa: S608
STALE = "where thread_id in (select thread_id from stale_summary)"


def renew_summaries(session: Session) -> None:
    """Renew the summaries of the threads that changed since they were last renewed."""
    session.flush()
    if session.scalar(select(StaleSummary.thread_id).limit(1)) is not None:
        session.execute(text(f"delete from thread_summary {STALE}"))  # noqa: S608
        session.execute(text(f"insert into thread_summary ({NAMES}) {NOW} {STALE}"))
        session.execute(text("delete from stale_summary"))


def count_threads(session: Session) -> Counter[Seen]:
    """Return how many threads there are of each kind."""
    renew_summaries(session)
    counts: Counter[Seen] = Counter()
    for row in session.execute(select(*COUNTED, func.count().label("threads")).group_by(*COUNTED)):
        verdicts = {code[:-1]: code[-1] == "+" for code in split_codes(row.criteria)}
        seen = Seen(row.source, row.candidate, split_codes(row.strata), tuple(verdicts.items()))
        counts[seen] += row.threads
    return counts


def rebuild_summaries(session: Session) -> None:
    """Renew every summary, whether or not anything changed."""
    every = "select id from thread union select thread_id from thread_summary"
    session.execute(text("delete from stale_summary"))
    session.execute(text(f"insert into stale_summary {every}"))
    renew_summaries(session)


def wrong_summaries(session: Session) -> int:
    """Return how many threads have a summary other than the right one: none, unless it was tampered with."""
    stored = f"select {NAMES} from thread_summary"  # noqa: S608
    pairs = ((stored, NOW), (NOW, stored))
    unequal = " union all ".join(f"select * from ({one} except {other}) as rest" for one, other in pairs)  # noqa: S608
    return session.scalar(text(f"select count(distinct thread_id) from ({unequal}) as unequal")) or 0  # noqa: S608


def split_codes(joined: str) -> tuple[str, ...]:
    """Return the parts of `strata` or of `criteria`, sorted: databases differ in what they put first."""
    return tuple(sorted(joined.split(","))) if joined else ()
