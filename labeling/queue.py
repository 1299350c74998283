"""Who labels what next: the pilot first, then each stratum in drawing order, then active draws."""

from __future__ import annotations

from db.errors import NothingToDo
from db.thread_history import ThreadHistory
from db.threads import Thread
from labeling.desk import Desk
from labeling.drawing import draw_stratum, is_batch_closed, pilot_threads, pool


def next_thread(desk: Desk, *, uncertain: bool = False) -> Thread:
    """Return the next thread for the person at the desk, drawing one more where that is due.

    The study sample comes first, then what was drawn actively; with `uncertain`, that alone.
    NothingToDo says why there is none: strata full or exhausted, or a batch that waits for others.
    """
    desk.require("annotator")
    desk.set_up()
    found = None if uncertain else _next_of_sample(desk)
    thread = _next_active(desk) if found is None else desk.thread(found)
    if thread is None:
        raise NothingToDo(_no_uncertain(desk) if uncertain else _why_nothing(desk))
    return thread


def _next_of_sample(desk: Desk) -> str | None:
    pilot = (url for url in pilot_threads(desk) if needs_label(desk, desk.history.threads[url]))
    strata = (found for code in desk.strata() if (found := _next_in(desk, code)))
    return next(pilot, None) or next(strata, None)


def _next_active(desk: Desk) -> Thread | None:
    """Return the first actively drawn thread of the person's strata that waits for them and is still there.

    The sample is labelled to its end, but a study owes nothing to what a model drew.
    """
    own = set(desk.strata())
    waiting = [
        (draw.payload["position"], story.url)
        for story in desk.history.threads.values()
        if story.is_active and needs_label(desk, story)
        for draw in story.draws
    ]
    found = (desk.find(url) for _, url in sorted(waiting))
    there = (thread for thread in found if thread and thread.availability == "present")
    return next((thread for thread in there if own & {row.stratum for row in thread.strata}), None)


def _no_uncertain(desk: Desk) -> str:
    return (
        f"nothing to label for {desk.handle} that a model is uncertain of;"
        " draw some: nanmine label draw --order uncertain"
    )


def needs_label(desk: Desk, story: ThreadHistory) -> bool:
    """Say whether the thread waits for a decision of the person at the desk."""
    if desk.history.outcome(story.url).state in ("imported", "forked", "adjudicated", "discarded"):
        return False
    if any(event.annotator == desk.handle for event in (*story.adjudications, *story.checks)):
        return False
    votes = desk.history.standing_votes(story)
    if not desk.protocol.is_blind:
        return not votes
    return desk.handle not in votes and len(votes) < desk.protocol.raters


def _next_in(desk: Desk, stratum: str) -> str | None:
    """Return the first thread of a stratum that waits for the person; draw as long as that may give one."""
    while True:
        waiting = _waiting(desk, stratum)
        if waiting and (desk.protocol.is_blind or desk.room(stratum) > 0):
            return waiting[0]
        if not draw_stratum(desk, stratum, desk.protocol.batch if desk.protocol.is_blind else 1):
            return None


def _waiting(desk: Desk, stratum: str) -> list[str]:
    drawn = desk.history.drawn_in(stratum)
    return [url for url in drawn if needs_label(desk, desk.history.threads[url])]


def _why_nothing(desk: Desk) -> str:
    parts = []
    for code in desk.strata():
        quota = desk.study.stratum(code).quota
        if desk.room(code) <= 0:
            parts.append(f"{code} has its {quota} valid threads")
        elif desk.protocol.is_blind and not is_batch_closed(desk, code):
            parts.append(f"{code} waits for the rest of its batch")
        else:
            parts.append(f"{code} has no further candidates")
    return f"nothing to label for {desk.handle}: {'; '.join(parts) or 'no stratum is theirs'}"


def is_stratum_closed(desk: Desk, stratum: str) -> bool:
    """Say whether a stratum is labelled: its quota is met, or every candidate is drawn and decided."""
    if desk.room(stratum) <= 0:
        return True
    drawn = (desk.history.outcome(url).state for url in desk.history.drawn_in(stratum))
    return not pool(desk, stratum) and not any(state in ("drawn", "single", "parked") for state in drawn)
