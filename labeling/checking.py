"""Checks: somebody else looks at a label and agrees, or says what they would have said."""

from __future__ import annotations

from db.errors import NothingToDo, RefusedByProtocol, UsageError
from db.records import Event, Label
from db.thread_history import ThreadHistory
from db.threads import Thread
from labeling.desk import Desk
from labeling.queue import is_stratum_closed

PHASE = "check"


def next_check(desk: Desk) -> Thread:
    """Return the next thread whose label the person at the desk should check; NothingToDo if none."""
    desk.require("annotator")
    waiting = [story for story in _labeled(desk) if _may_check(desk, story)]
    for story in sorted(waiting, key=_place):
        if _is_due(desk, story):
            return desk.thread(story.url)
    if waiting:
        raise NothingToDo(f"{len(waiting)} labels wait for their check until their strata are labelled")
    raise NothingToDo(f"nothing to check for {desk.handle}")


def check(desk: Desk, thread: Thread, label: Label | None = None, memo: str = "") -> Event:
    """Record that the person agrees with the label as it stands, or their own `label` instead of it.

    Raises RefusedByProtocol for one's own label, before checks are due, or when it was adjudicated.
    """
    desk.require("annotator")
    story = desk.story(thread)
    decision = _to_check(desk, thread, story)
    problem = desk.study.codebook.problem_with(label) if label else None
    if problem:
        raise UsageError(problem)
    ends = story.ends_of("check", desk.handle, PHASE)
    payload = {"decision": decision.uid} | ({"memo": memo} if memo else {})
    return desk.record(
        "check",
        thread,
        label,
        phase=PHASE,
        supersedes=ends[-1].uid if ends else None,
        payload=payload,
        **({} if label else {"verdict": "agree"}),
    )


def _to_check(desk: Desk, thread: Thread, story: ThreadHistory) -> Event:
    votes = list(desk.history.standing_votes(story).values())
    if desk.protocol.is_blind or story.phase != "independent" or len(votes) != 1 or votes[0].label is None:
        raise RefusedByProtocol(f"thread {thread.id} has no label of one person that could be checked")
    if votes[0].annotator == desk.handle:
        raise RefusedByProtocol(f"thread {thread.id}: {desk.handle} labelled it, so somebody else checks it")
    if any(ruling.annotator == desk.handle for ruling in story.adjudications):
        raise RefusedByProtocol(f"{desk.handle} adjudicated thread {thread.id} and cannot check it")
    if desk.history.outcome(story.url).state in ("adjudicated", "discarded"):
        raise RefusedByProtocol(f"thread {thread.id} is adjudicated")
    if not _is_due(desk, story):
        raise RefusedByProtocol(f"thread {thread.id}: checks begin when the strata are labelled")
    return votes[0]


def _labeled(desk: Desk) -> list[ThreadHistory]:
    stories = desk.history.threads.values()
    return [story for story in stories if desk.history.outcome(story.url).state == "labeled"]


def _may_check(desk: Desk, story: ThreadHistory) -> bool:
    acted = (*desk.history.standing_votes(story).values(), *story.adjudications)
    return all(event.annotator != desk.handle for event in acted)


def _is_due(desk: Desk, story: ThreadHistory) -> bool:
    when = desk.protocol.check_after
    if when == "any_time" or story.is_active:
        return True
    strata = [stratum.code for stratum in desk.study.strata]
    if when == "stratum_closed":
        strata = [code for code in strata if code in desk.history.strata_of(story.url)]
    return all(is_stratum_closed(desk, code) for code in strata)


def _place(story: ThreadHistory) -> tuple[str, int]:
    draw = (story.sample_draws or story.draws)[0].payload
    return draw["stratum"], draw["position"]
