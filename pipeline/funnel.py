"""The funnel of section 2.1: from threads seen to valid ones, by stratum, and the criteria by source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from db.label_states import History
from db.threads import Criterion, Thread, ThreadStratum
from pipeline.study import CRITERIA, Study
from pipeline.table import Cell, Table
from pipeline.tables import OUTSIDE, Groups, Layout


def discarded_by_stratum(history: History) -> Counter[str]:
    """Count the threads that were discarded after discussion, once in each of their strata."""
    urls = [url for url in history.threads if history.outcome(url).state == "discarded"]
    return Counter(stratum for url in urls for stratum in history.strata_of(url) or (OUTSIDE,))


def funnel(session: Session, study: Study, groups: Groups, discarded: Mapping[str, int]) -> Table:
    """Threads by stratum: seen, candidates, inspected, valid, discussed, discarded.

    In the paper: 580, 323, 483 and 400 candidates, 100 valid each, 9 discussed, none discarded.
    `discarded` counts threads by stratum on which no agreement was reached after discussion.
    """
    layout = Layout(groups, study)
    stored = stored_by_stratum(session)
    inspected, valid = layout.tally(), layout.tally(valid=True)
    discussed = layout.tally(how="adjudicated")
    rows: list[tuple[Cell, ...]] = []
    for stratum in study.strata:
        code, dropped = stratum.code, discarded.get(stratum.code, 0)
        labelled = (inspected.by_stratum[code] + dropped, valid.by_stratum[code])
        disputed = (discussed.by_stratum[code] + dropped, dropped)
        rows.append((code, stratum.title, *stored.get(code, (0, 0)), *labelled, *disputed))
    if layout.has_outside:
        outside = (inspected.outside, valid.outside, discussed.outside, discarded.get(OUTSIDE, 0))
        rows.append(("outside", "in no stratum", None, None, *outside))
    columns = ("Stratum", "Title", "Seen", "Candidates", "Inspected", "Valid", "Discussed", "Discarded")
    return Table("funnel", "From threads seen to valid threads", columns, tuple(rows), _notes(layout))


def _notes(layout: Layout) -> tuple[str, ...]:
    cross_listed = ("A thread in two strata counts in both.",) if layout.has_cross_listed else ()
    return (
        "Seen: threads in the database; candidates: those that meet every criterion of the study.",
        *cross_listed,
    )


def stored_by_stratum(session: Session) -> dict[str, tuple[int, int]]:
    """Return the threads seen and the candidates of each stratum."""
    rows = session.execute(
        select(ThreadStratum.stratum, func.count(), func.sum(case((Thread.candidate, 1), else_=0)))
        .join(Thread, Thread.id == ThreadStratum.thread_id)
        .group_by(ThreadStratum.stratum)
    )
    return {stratum: (seen, candidates) for stratum, seen, candidates in rows}


def criteria(session: Session) -> Table:
    """Threads by source: seen, meeting each criterion on its own, and candidates, which meet them all."""
    met: dict[tuple[str, str], int] = {
        (source, name): count
        for source, name, count in session.execute(
            select(Thread.source, Criterion.name, func.sum(case((Criterion.met, 1), else_=0)))
            .join(Criterion, Criterion.thread_id == Thread.id)
            .group_by(Thread.source, Criterion.name)
        )
    }
    stored = session.execute(
        select(Thread.source, func.count(), func.sum(case((Thread.candidate, 1), else_=0)))
        .group_by(Thread.source)
        .order_by(Thread.source)
    )
    rows = [
        (source, seen, *(met.get((source, name)) for name in CRITERIA), found)
        for source, seen, found in stored
    ]
    columns = ("Source", "Seen", *(name.capitalize() for name in CRITERIA), "Candidates")
    notes = ("A criterion that the study does not ask of a source is a dash.",)
    return Table("criteria", "Threads that meet each criterion", columns, tuple(rows), notes)
