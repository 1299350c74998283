"""How labeling stands: states per stratum, places left, and how long a thread takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from labeling.desk import Desk
from labeling.drawing import pool


@dataclass(frozen=True, slots=True)
class StratumProgress:
    """One stratum: its quota, places taken, threads drawn in each state, candidates left, seconds a thread.

    `seconds` is the median of the times that were taken, and `seconds_left` an estimate: the places
    left, times the threads drawn for each place so far, times the median.
    """

    stratum: str
    quota: int
    taken: int
    drawn: int
    states: dict[str, int]
    left: int
    seconds: float | None
    seconds_left: float | None


def progress_of(desk: Desk) -> list[StratumProgress]:
    """Return the progress of each stratum of the study."""
    return [_progress(desk, stratum.code, stratum.quota) for stratum in desk.study.strata]


def active_states(desk: Desk) -> dict[str, int]:
    """Return how many threads that a model's uncertainty drew are in each state."""
    active = [story.url for story in desk.history.threads.values() if story.is_active]
    return dict(sorted(Counter(desk.history.outcome(url).state for url in active).items()))


def _progress(desk: Desk, code: str, quota: int) -> StratumProgress:
    drawn = desk.history.drawn_in(code)
    states = Counter(desk.history.outcome(url).state for url in drawn)
    room = max(desk.room(code), 0)
    seconds = _median_seconds(desk, drawn)
    labelled = len(drawn) - states["drawn"]
    taken = quota - room
    each = labelled / taken if taken else 1.0
    left = room * each * seconds if seconds is not None else None
    return StratumProgress(
        code, quota, taken, len(drawn), dict(sorted(states.items())), len(pool(desk, code)), seconds, left
    )


def _median_seconds(desk: Desk, urls: Sequence[str]) -> float | None:
    votes = [vote for url in urls for vote in desk.history.threads[url].decisions]
    times = [vote.payload["seconds"] for vote in votes if "seconds" in vote.payload]
    return float(median(times)) if times else None


def progress_text(rows: Sequence[StratumProgress], active: Mapping[str, int]) -> str:
    """Return the progress as lines: one a stratum, and one of active drawing (threads by state), if any."""
    lines = []
    for row in rows:
        states = ", ".join(f"{number} {state}" for state, number in row.states.items())
        time = f", {row.seconds:.0f} s a thread" if row.seconds is not None else ""
        ahead = f", about {row.seconds_left / 60:.0f} min to go" if row.seconds_left else ""
        lines.append(
            f"{row.stratum}: {row.taken} of {row.quota} valid, {row.drawn} drawn ({states or '-'}),"
            f" {row.left} candidates left{time}{ahead}"
        )
    if active:
        states = ", ".join(f"{number} {state}" for state, number in active.items())
        lines.append(f"active: {sum(active.values())} drawn ({states}), for the model, in no table")
    return "\n".join(lines)
