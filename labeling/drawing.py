"""What is labelled, and in which order: a seeded draw that later threads never reorder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from sqlalchemy import select

from db.errors import NothingToDo
from db.records import Event
from db.threads import Thread, ThreadStratum
from labeling.desk import Desk

POOL = "*"  # stands for all strata together, in the draw of a pilot


def draw_key(seed: int, stratum: str, thread_key: str) -> str:
    """Return what threads are sorted by: it depends on the seed, the stratum and the thread alone."""
    return hashlib.sha256(f"{seed}\n{stratum}\n{thread_key}".encode()).hexdigest()


def pool(desk: Desk, stratum: str) -> list[Thread]:
    """Return the candidates that can still be drawn for a stratum (or POOL), in drawing order."""
    query = select(Thread).where(Thread.candidate, Thread.availability == "present")
    members = select(ThreadStratum.thread_id)
    if stratum != POOL:
        members = members.where(ThreadStratum.stratum == stratum)
    threads = desk.session.scalars(query.where(Thread.id.in_(members)))
    return in_order(desk, stratum, [thread for thread in threads if _can_be_drawn(desk, thread, stratum)])


def in_order(desk: Desk, stratum: str, threads: Iterable[Thread]) -> list[Thread]:
    """Return threads as the protocol orders them."""
    seed = desk.protocol.seed
    shuffled = sorted(
        threads, key=lambda thread: draw_key(seed, stratum, f"{thread.source}:{thread.external_id}")
    )
    if desk.protocol.order == "seeded":
        return shuffled
    dated = [thread for thread in shuffled if thread.created_at]
    dated.sort(key=lambda thread: str(thread.created_at), reverse=desk.protocol.order == "newest")
    return dated + [thread for thread in shuffled if not thread.created_at]


def _can_be_drawn(desk: Desk, thread: Thread, stratum: str) -> bool:
    story = desk.history.threads.get(thread.url)
    if story is None:
        return True
    covered = {code for draw in story.draws for code in draw.payload["strata"]}
    return not story.is_imported and not (covered if stratum == POOL else stratum in covered)


def draw(desk: Desk, strata: Sequence[str] = (), count: int | None = None) -> list[Event]:
    """Draw the pilot if it is still to be drawn, else the next batch of each open stratum.

    NothingToDo where every stratum is full, exhausted or waits for its open batch.
    """
    if pilot := draw_pilot(desk):
        return pilot
    drawn = []
    for code in strata or [stratum.code for stratum in desk.study.strata]:
        drawn += draw_stratum(desk, desk.study.stratum(code).code, count or desk.protocol.batch)
    if not drawn:
        raise NothingToDo("nothing to draw: every stratum is full, exhausted or has a batch to finish")
    return drawn


def draw_stratum(desk: Desk, stratum: str, count: int) -> list[Event]:
    """Draw up to `count` further threads for a stratum; none where it is full or its batch is open."""
    if desk.room(stratum) <= 0 or (desk.protocol.is_blind and not is_batch_closed(desk, stratum)):
        return []
    return _record(desk, stratum, pool(desk, stratum)[:count])


def is_batch_closed(desk: Desk, stratum: str) -> bool:
    """Say whether every thread drawn for the stratum is settled."""
    outcomes = [desk.history.outcome(url) for url in desk.history.drawn_in(stratum)]
    return all(outcome.how is not None or outcome.state == "discarded" for outcome in outcomes)


def pilot_threads(desk: Desk) -> list[str]:
    """Return the URLs of the pilot in drawing order, drawing it first if that is still to be done."""
    draw_pilot(desk)
    return [str(event.thread_url) for event in _pilot(desk)]


def _pilot(desk: Desk) -> list[Event]:
    draws = [draw for story in desk.history.threads.values() for draw in story.draws if draw.phase == "pilot"]
    return sorted(draws, key=lambda draw: (draw.payload["position"], str(draw.thread_url)))


def draw_pilot(desk: Desk) -> list[Event]:
    """Draw the pilot if it is still to be drawn; return those draws, none where there is nothing to do."""
    size = desk.protocol.pilot_size
    if not size or _pilot(desk):
        return []
    chosen = _stratified(desk, size) if desk.protocol.pilot_stratified else pool(desk, POOL)[:size]
    if not chosen:
        raise NothingToDo("nothing to draw: the database holds no candidates of the study's strata")
    return _record(desk, POOL, chosen)


def _stratified(desk: Desk, size: int) -> list[Thread]:
    share = size // max(len(desk.study.strata), 1)
    chosen = {
        thread.url: thread for stratum in desk.study.strata for thread in pool(desk, stratum.code)[:share]
    }
    return in_order(desk, POOL, chosen.values())


def _record(desk: Desk, stratum: str, threads: Sequence[Thread]) -> list[Event]:
    events = []
    for number, thread in enumerate(threads, start=last_position(desk, stratum) + 1):
        counted = sorted(row.stratum for row in thread.strata) if stratum == POOL else [stratum]
        payload = {"stratum": stratum, "position": number, "strata": counted}
        phase = "pilot" if stratum == POOL else "main"
        events.append(desk.record("draw", thread, annotator=None, phase=phase, payload=payload))
    return events


def last_position(desk: Desk, stratum: str) -> int:
    """Return the place of the thread that was drawn last for a stratum (or POOL); 0 before the first."""
    draws = (draw.payload for story in desk.history.threads.values() for draw in story.draws)
    return max((draw["position"] for draw in draws if draw["stratum"] == stratum), default=0)
