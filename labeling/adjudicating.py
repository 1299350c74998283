"""Adjudication: a third person settles what two could not, and says why.

A ruling rests on the labels as they stood: when one of them changes, the ruling is stale and the
thread leaves the final set until it is ruled on again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from db.errors import NothingToDo, RefusedByProtocol, UsageError
from db.records import Event, Label
from db.thread_history import ThreadHistory
from db.threads import Thread
from labeling.desk import Desk

DIFFICULTIES = ("ambiguous_text", "guideline_gap", "annotator_error", "edge_case")
OUTCOMES = ("label", "discard", "defer")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the labels in dispute; `name` is `left` or `right` where sides are anonymous."""

    name: str
    verdict: str
    label: Label | None
    memo: str
    spans: tuple[dict[str, int], ...]
    phase: str | None


def next_dispute(desk: Desk) -> Thread:
    """Return the next thread for the adjudicator at the desk, deferred ones last; NothingToDo if none."""
    desk.require("adjudicator", "lead")
    waiting = [url for url in disputes(desk) if not _takes_part(desk, url)]
    if not waiting:
        raise NothingToDo(f"nothing to adjudicate for {desk.handle}")
    deferred = {url for url in waiting if desk.history.threads[url].adjudications}
    return desk.thread(min(waiting, key=lambda url: (url in deferred, url)))


def disputes(desk: Desk) -> list[str]:
    """Return the URLs of all threads that wait for adjudication."""
    return [url for url in desk.history.threads if desk.history.outcome(url).state == "disputed"]


def sides(desk: Desk, thread: Thread) -> list[Side]:
    """Return the labels in dispute for the adjudicator at the desk.

    Where the protocol wants them anonymous, they come in a random order that stays the same.
    """
    desk.require("adjudicator", "lead")
    if _takes_part(desk, thread.url):
        raise RefusedByProtocol(f"{desk.handle} labelled or checked thread {thread.id}")
    outcome = desk.history.outcome(thread.url)
    events = [desk.history.by_uid[uid] for uid in outcome.basis]
    if not desk.protocol.anonymous_sides:
        events.sort(key=lambda event: (event.kind == "check", event.at, event.uid))
        return [_side(str(event.annotator), event) for event in events]
    events.sort(key=lambda event: hashlib.sha256(event.uid.encode()).digest())
    names = ("left", "right", *(f"side {number}" for number in range(3, len(events) + 1)))
    return [_side(name, event) for name, event in zip(names, events, strict=False)]


def _side(name: str, event: Event) -> Side:
    payload = event.payload
    return Side(
        name,
        str(event.verdict),
        event.label,
        payload.get("memo", ""),
        tuple(payload.get("spans", ())),
        event.phase,
    )


def adjudicate(
    desk: Desk,
    thread: Thread,
    outcome: str,
    label: Label | None = None,
    *,
    rationale: str = "",
    difficulty: str | None = None,
) -> Event:
    """Record the ruling of the adjudicator at the desk: a `label`, `discard`, or `defer` for later.

    Discarding needs a rationale; the protocol may ask for one, and for the difficulty, always. A
    valid label takes a place in a quota only where there is room.
    """
    desk.require("adjudicator", "lead")
    story = desk.story(thread)
    if _takes_part(desk, thread.url):
        raise RefusedByProtocol(
            f"{desk.handle} labelled or checked thread {thread.id} and cannot adjudicate it"
        )
    state = desk.history.outcome(thread.url)
    if state.state not in ("disputed", "adjudicated", "discarded"):
        raise RefusedByProtocol(f"thread {thread.id} is {state.state}; only disputed threads are adjudicated")
    _check_ruling(desk, state.basis, outcome, label, rationale, difficulty)
    payload: dict[str, object] = {
        "basis": sorted(state.basis),
        "rationale": rationale,
        "difficulty": difficulty,
    }
    if label is not None and label.valid and not desk.protocol.is_blind:
        payload["full"] = [code for code in _drawn(story) if desk.room(code, besides=thread.url) <= 0]
    rulings = story.adjudications
    return desk.record(
        "adjudication",
        thread,
        label,
        phase="adjudication",
        supersedes=rulings[-1].uid if rulings else None,
        payload=payload,
        **({} if label else {"verdict": outcome}),
    )


def _check_ruling(
    desk: Desk,
    basis: frozenset[str],
    outcome: str,
    label: Label | None,
    rationale: str,
    difficulty: str | None,
) -> None:
    if outcome not in OUTCOMES or (outcome == "label") != (label is not None):
        raise UsageError(f"an adjudication gives a label, or one of {', '.join(OUTCOMES[1:])}")
    if difficulty is not None and difficulty not in DIFFICULTIES:
        raise UsageError(f"difficulty {difficulty!r} is not one of {', '.join(DIFFICULTIES)}")
    if outcome == "discard" and not rationale:
        raise RefusedByProtocol("a discarded thread needs a reason: --reason TEXT")
    if outcome == "label" and desk.protocol.state_difficulty and not (rationale and difficulty):
        raise RefusedByProtocol(
            f"say why and where the difference came from: --reason TEXT --source {'|'.join(DIFFICULTIES)}"
        )
    problem = desk.study.codebook.problem_with(label) if label else None
    if problem:
        raise UsageError(problem)
    given = {desk.history.category(desk.history.by_uid[uid]) for uid in basis}
    if label and desk.protocol.third_party == "tiebreaker" and _category(desk, label) not in given:
        raise RefusedByProtocol("the third person breaks ties here: the label is one of those given")


def _category(desk: Desk, label: Label) -> tuple[str, ...]:
    if not label.valid:
        return ("invalid",)
    fix = (label.fix_pattern or "",) if desk.protocol.check_fix_pattern else ()
    return ("valid", str(label.root_cause), *fix)


def _drawn(story: ThreadHistory) -> list[str]:
    return sorted({code for draw in story.draws for code in draw.payload["strata"]})


def _takes_part(desk: Desk, url: str) -> bool:
    story = desk.history.threads.get(url)
    return story is not None and any(event.annotator == desk.handle for event in story.ends)
