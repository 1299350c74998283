"""The label of each thread that the study counts, decided here alone, and labels that come from a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Select, func, insert, or_, select, text
from sqlalchemy.orm import Session

from db.history import History
from db.label_events import ACTS, BATCH, COLUMNS, Chain, LabelEvent
from db.records import Event, FinalLabel, Label
from db.summaries import ThreadSummary, renew_summaries, split_codes
from db.threads import Thread, by_url

Counted = tuple[tuple[str, ...], Label, str, bool, bool]  # strata, label, how, simulated, active
LABELS = ("valid", "invalid")  # the verdicts that are labels
FOLDED = select(LabelEvent.thread_url).where(text(ACTS), LabelEvent.thread_url.is_not(None))
IMPORTED = (  # what `_imported` takes
    ThreadSummary.verdict,
    ThreadSummary.simulated,
    ThreadSummary.strata,
    ThreadSummary.reason,
    ThreadSummary.root_cause,
    ThreadSummary.fix_pattern,
    ThreadSummary.function,
)


def final_labels(session: Session, *, unchecked: bool = False, active: bool = False) -> list[FinalLabel]:
    """Return what `each_final_label` yields, ordered by thread."""
    found = each_final_label(session, unchecked=unchecked, active=active)
    return sorted(found, key=lambda final: final.thread_id)


def each_final_label(
    session: Session, *, unchecked: bool = False, active: bool = False
) -> Iterator[FinalLabel]:
    """Yield the label of every thread that has a settled one, by URL, reading as it goes.

    Who wins: an adjudication that rests on the labels as they stand now; else the labels of the
    study's protocol where they are settled; else the imported label. `unchecked` adds, with `how`
    "unchecked", the rejections that one person made and the protocol has nobody check. `active`
    adds, marked so, the labels of threads that a model's uncertainty drew: for training, not for counting.
    """
    history = read_acts(session)
    query = _summaries(Thread.id, Thread.url, *IMPORTED).order_by(by_url(session))
    query = query.where(or_(ThreadSummary.verdict.is_not(None), Thread.url.in_(FOLDED)))
    for thread_id, thread_url, *row in session.execute(query, execution_options={"yield_per": BATCH}):
        is_folded = thread_url in history.threads
        counted = _folded(history, thread_url, row, unchecked) if is_folded else _imported(history, row)
        final = counted and FinalLabel(thread_id, thread_url, *counted)
        if final and (active or not final.active):
            yield final


def count_final_labels(session: Session, *, unchecked: bool = False) -> Counter[Counted]:
    """Return how many threads `each_final_label` gives the same values, those of active drawing among them.

    Threads that have imported labels and nothing else, which may be a million, are counted in SQL.
    """
    history = read_acts(session)
    folded = session.execute(_summaries(Thread.url, *IMPORTED).where(Thread.url.in_(FOLDED)))
    outcomes = (_folded(history, url, row, unchecked) for url, *row in folded)
    counts = Counter(counted for counted in outcomes if counted is not None)
    imported = select(*IMPORTED, func.count()).where(ThreadSummary.verdict.is_not(None)).group_by(*IMPORTED)
    for *row, count in session.execute(imported):
        if counted := _imported(history, row):
            counts[counted] += count
    return counts


def read_acts(session: Session) -> History:
    """Return what the events amount to, those of threads with nothing but imported labels left out."""
    renew_summaries(session)
    wanted = or_(LabelEvent.thread_url.is_(None), LabelEvent.thread_url.in_(FOLDED))
    return History(Event(*row) for row in session.execute(select(*COLUMNS).where(wanted)))


def _summaries(*columns: Any) -> Select[Any]:
    return select(*columns).join_from(Thread, ThreadSummary, ThreadSummary.thread_id == Thread.id)


def _folded(history: History, url: str, row: Sequence[Any], unchecked: bool) -> Counted | None:
    """Return how a thread counts that has other events than imports; `row` holds IMPORTED."""
    outcome = history.outcome(url)
    if outcome.label is None or outcome.how is None or (outcome.how == "unchecked" and not unchecked):
        return None
    active, drawn = history.is_left_out(url), bool(history.threads[url].sample_draws)
    strata = history.counted_strata(url) if drawn or active else split_codes(row[2])
    return strata, outcome.label, outcome.how, outcome.simulated, active


def _imported(history: History, row: Sequence[Any]) -> Counted | None:
    """Return how a thread counts that has nothing but imported labels; `row` holds IMPORTED."""
    verdict, simulated, strata, *details = row
    label = history.merged(Label(verdict == "valid", *details))
    return (split_codes(strata), label, "imported", simulated, False) if label and verdict in LABELS else None


def import_final_labels(
    session: Session, labels: Iterable[tuple[Thread, Label]], *, simulated: bool = False, note: str = ""
) -> int:
    """Append one imported label for each thread that has no such label yet; return how many changed."""
    chain, remaining, changed = Chain(session), iter(labels), 0
    common = {"simulated": simulated, "payload": {"note": note} if note else {}}
    while batch := list(islice(remaining, BATCH)):
        live = _live_imports(session, [thread.url for thread, _ in batch])
        rows = []
        for thread, label in batch:
            uid, known = live.get(thread.url, (None, None))
            if known != label:
                facts = common | {"supersedes": uid, "content_sha256": thread.content_sha256}
                rows.append(chain.link("import", thread, label, **facts))
                live[thread.url] = (rows[-1]["uid"], label)
        if rows:
            session.execute(insert(LabelEvent), rows)
        changed += len(rows)
    return changed


def _live_imports(session: Session, urls: Sequence[str]) -> dict[str, tuple[str | None, Label | None]]:
    """Return the uid and the label of the live import of each thread that has one."""
    query = select(*COLUMNS).where(LabelEvent.thread_url.in_(urls), LabelEvent.kind == "import")
    threads = History(Event(*row) for row in session.execute(query)).threads
    return {url: (event.uid, event.label) for url, thread in threads.items() if (event := thread.imported)}
