"""What the tables are counted from, read from a database or from a replication package."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db.final_labels import count_final_labels, each_final_label, read_acts
from db.label_events import ACTS, LabelEvent
from db.records import FinalLabel, Label
from db.summaries import Seen, count_threads
from db.threads import Thread
from pipeline.tables import OUTSIDE, Group, Groups

BATCH = 500


class Origin(NamedTuple):
    """Where a valid thread comes from, and its root cause."""

    cause: str
    source: str
    libraries: tuple[str, ...]
    repository: str | None
    created_at: datetime | None


KEYS: dict[str, Callable[[Origin], Sequence[str]]] = {
    "library": lambda origin: origin.libraries or ("none",),
    "source": lambda origin: (origin.source,),
    "year": lambda origin: (str(origin.created_at.year) if origin.created_at else "unknown",),
    "repository": lambda origin: (origin.repository,) if origin.repository else (),
}


@dataclass(frozen=True)
class Origins:
    """Valid threads by where they come from: (key, cause) by each of KEYS, and by month since year 0."""

    crossed: dict[str, Counter[tuple[str, str]]]
    months: Counter[int]


def count_origins(origins: Iterable[Origin]) -> Origins:
    """Count valid threads; one about two libraries counts for both."""
    found = Origins({what: Counter() for what in KEYS}, Counter())
    for origin in origins:
        for what, keys in KEYS.items():
            found.crossed[what].update((key, origin.cause) for key in keys(origin))
        if origin.created_at:
            found.months[month_of(origin.created_at)] += 1
    return found


@dataclass(frozen=True)
class Material:
    """The counts behind the tables of a study.

    `strata` and `sources` hold (seen, candidates) by stratum and by source, `met` threads by source
    and criterion, `discarded` threads by stratum, `opened` (seen, candidates) by month since year 0.
    `active` labels count nowhere: a model's uncertainty drew their threads.
    `origins` and `opened` are empty where only the quick tables are wanted.
    """

    groups: Groups
    strata: dict[str, tuple[int, int]]
    sources: dict[str, tuple[int, int]]
    met: dict[tuple[str, str], int]
    discarded: Counter[str]
    active: int = 0
    origins: Origins = field(default_factory=lambda: count_origins(()))
    opened: dict[int, tuple[int, int]] = field(default_factory=dict)


def read_material(session: Session, *, everything: bool = False) -> Material:
    """Read the counts from a database; `everything` adds origins and months."""
    groups, active = read_groups(session, unchecked=True)
    kinds = count_threads(session)
    return Material(
        groups=groups,
        strata=seen_and_candidates((code, kind, n) for kind, n in kinds.items() for code in kind.strata),
        sources=seen_and_candidates((kind.source, kind, n) for kind, n in kinds.items()),
        met=_criteria_met(kinds),
        discarded=_discarded(session),
        active=active,
        origins=count_origins(_origins(session) if everything else ()),
        opened=_opened(session) if everything else {},
    )


def read_groups(session: Session, *, unchecked: bool = False) -> tuple[Groups, int]:
    """Return how many threads stand behind each group, and how many labels of active drawing do not count.

    `unchecked` as for `final_labels`.
    """
    groups: dict[Group, int] = {}
    active = 0
    counts = count_final_labels(session, unchecked=unchecked)
    for (strata, label, how, simulated, is_active), count in counts.items():
        if is_active:
            active += count
        else:
            groups[_group(strata, label, how, simulated)] = count
    return groups, active


def _group(strata: tuple[str, ...], label: Label, how: str, simulated: bool) -> Group:
    details = label.reason, label.root_cause, label.fix_pattern, label.function
    return Group(strata, label.valid, *details, how, simulated)


def seen_and_candidates(pairs: Iterable[tuple[str, Seen, int]]) -> dict[str, tuple[int, int]]:
    """Return (seen, candidates) by name, given as (name, what the threads have in common, how many)."""
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, kind, count in pairs:
        counts[name][0] += count
        counts[name][1] += count * kind.candidate
    return {name: (seen, candidates) for name, (seen, candidates) in sorted(counts.items())}


def _criteria_met(kinds: Mapping[Seen, int]) -> dict[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for kind, count in kinds.items():
        for name, met in kind.criteria:
            counts[kind.source, name] += count * met
    return dict(counts)


def _discarded(session: Session) -> Counter[str]:
    """Count the threads discarded after discussion, once in each of their strata."""
    discarded = discarded_threads(session)
    return Counter(stratum for strata in discarded.values() for stratum in strata or (OUTSIDE,))


def discarded_threads(session: Session) -> dict[str, tuple[str, ...]]:
    """Return the threads of the study that were discarded after discussion by URL, with their strata."""
    discards = select(LabelEvent.id).where(text(ACTS), LabelEvent.verdict == "discard")
    if session.scalar(discards.limit(1)) is None:
        return {}
    history = read_acts(session)
    urls = sorted(
        url
        for url in history.threads
        if history.outcome(url).state == "discarded" and not history.is_left_out(url)
    )
    return {url: history.counted_strata(url) for url in urls}


def _origins(session: Session) -> Iterator[Origin]:
    columns = (Thread.id, Thread.source, Thread.libraries, Thread.repository, Thread.created_at)
    for causes in batches_of_causes(each_final_label(session)):
        for id_, source, libraries, *rest in session.execute(select(*columns).where(Thread.id.in_(causes))):
            yield Origin(causes[id_], source, tuple(sorted(libraries)), *rest)


def batches_of_causes(labels: Iterable[FinalLabel]) -> Iterator[dict[int, str]]:
    """Yield the root causes of valid threads by thread, some hundred at a time."""
    valid = ((final.thread_id, final.label.root_cause or "") for final in labels if final.label.valid)
    while batch := dict(islice(valid, BATCH)):
        yield batch


def _opened(session: Session) -> dict[int, tuple[int, int]]:
    dates = session.execute(
        select(Thread.created_at, Thread.candidate).where(Thread.created_at.is_not(None)),
        execution_options={"yield_per": BATCH},
    )
    return count_months((created_at, candidate) for created_at, candidate in dates)


def count_months(threads: Iterable[tuple[datetime, bool]]) -> dict[int, tuple[int, int]]:
    """Return (seen, candidates) by month of threads given as (opened, is a candidate)."""
    counts: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    for opened, candidate in threads:
        count = counts[month_of(opened)]
        count[0] += 1
        count[1] += candidate
    return {month: (seen, candidates) for month, (seen, candidates) in counts.items()}


def month_of(time: datetime) -> int:
    """Return the months since year 0."""
    return time.year * 12 + time.month - 1
