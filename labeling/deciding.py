"""Decisions: valid with a cause, invalid with a reason, unsure, or waiting for a new category.

Nothing is ever changed: a new decision of the same person supersedes the former one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from db.errors import NothingToDo, RefusedByProtocol, UsageError
from db.records import Event, Label
from db.threads import Thread
from labeling.desk import Desk
from pipeline.text import TEXT_VERSION, to_text


@dataclass(frozen=True, slots=True)
class Span:
    """Evidence: code points `start` to `end` of the text of the post at `position`."""

    position: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Notes:
    """What goes with a decision and never counts in agreement: memo, evidence, time taken, partner."""

    memo: str = ""
    spans: tuple[Span, ...] = ()
    seconds: int | None = None
    partner: str | None = None


NO_NOTES = Notes()


def decide(desk: Desk, thread: Thread, label: Label, notes: Notes = NO_NOTES) -> Event:
    """Record the label of the person at the desk; it takes its place in the quotas at once.

    Raises UsageError for a label outside the codebook, RefusedByProtocol where a rule forbids it.
    """
    problem = desk.study.codebook.problem_with(label)
    if problem:
        raise UsageError(problem)
    return _decide(desk, thread, notes, label=label)


def decide_unsure(desk: Desk, thread: Thread, notes: Notes = NO_NOTES) -> Event:
    """Record that the person cannot decide; the thread goes to discussion."""
    return _decide(desk, thread, notes, verdict="unsure")


def park(desk: Desk, thread: Thread, proposal: str, notes: Notes = NO_NOTES) -> Event:
    """Record that the thread waits for a proposed category."""
    return _decide(desk, thread, notes, verdict="parked", more={"proposal": proposal})


def _decide(
    desk: Desk,
    thread: Thread,
    notes: Notes,
    *,
    label: Label | None = None,
    verdict: str | None = None,
    more: dict[str, Any] | None = None,
) -> Event:
    phase = phase_of(desk, thread)
    may_decide(desk, thread, phase)
    payload = _payload(desk, thread, phase, notes) | (more or {})
    if label is not None and label.valid:
        payload |= _places(desk, thread, label)
    ends = desk.story(thread).ends_of("decision", desk.handle, phase)
    if len(ends) > 1:
        payload["resolves"] = [end.uid for end in ends[:-1]]
    columns = {"verdict": verdict} if verdict else {}
    supersedes = ends[-1].uid if ends else None
    return desk.record(
        "decision", thread, label, phase=phase, supersedes=supersedes, payload=payload, **columns
    )


def phase_of(desk: Desk, thread: Thread) -> str:
    """Return the phase in which a decision about the thread falls now."""
    story = desk.story(thread)
    if any(draw.phase == "pilot" for draw in story.draws):
        revised = desk.protocol.is_blind and (story.phase == "discussion" or is_locked(desk, thread))
        return "discussion" if revised else "pilot"
    if story.draws:
        return "blind" if desk.protocol.is_blind else "independent"
    raise RefusedByProtocol(f"thread {thread.id} is not drawn; take what `nanmine label next` gives")


def may_decide(desk: Desk, thread: Thread, phase: str) -> None:
    """Raise RefusedByProtocol where the person may not label the thread in this phase."""
    person = desk.require("annotator")
    story = desk.story(thread)
    strata = {code for draw in story.draws for code in draw.payload["strata"]}
    strata = strata or {row.stratum for row in thread.strata}
    if phase != "pilot" and not strata & set(desk.strata()):
        raise RefusedByProtocol(
            f"thread {thread.id} lies in {', '.join(sorted(strata))}, which {person.handle} does not own"
        )
    if any(ruling.annotator == person.handle for ruling in story.adjudications):
        raise RefusedByProtocol(f"{person.handle} adjudicated thread {thread.id} and cannot label it")
    others = [vote for vote in story.decisions if vote.annotator != person.handle and vote.phase == phase]
    if others and not desk.protocol.is_blind:
        raise RefusedByProtocol(
            f"thread {thread.id} is already labelled by {others[0].annotator}; check it instead"
        )
    if any(check.annotator == person.handle for check in story.checks):
        raise RefusedByProtocol(f"{person.handle} checked thread {thread.id} and cannot label it")
    if phase == "blind" and is_locked(desk, thread):
        raise RefusedByProtocol(
            f"thread {thread.id}: everybody has labelled it, so first labels stand; ask a lead to reopen it"
        )


def is_locked(desk: Desk, thread: Thread) -> bool:
    """Say whether every blind label of the thread is in, so that none may change unless it is reopened."""
    story = desk.story(thread)
    phase = "pilot" if story.phase == "discussion" else story.phase
    votes = {
        vote.annotator: vote.uid
        for vote in story.decisions
        if vote.phase == phase and vote.verdict != "parked"
    }
    if not desk.protocol.is_blind or len(votes) < desk.protocol.raters:
        return False
    return all(sorted(votes.values()) != reopening.payload["basis"] for reopening in story.reopenings)


def reopen(desk: Desk, thread: Thread) -> Event:
    """Let the blind labels of a thread change once more; leads only."""
    desk.require("lead")
    if not is_locked(desk, thread):
        raise NothingToDo(f"thread {thread.id} is open")
    basis = sorted(vote.uid for vote in desk.story(thread).votes.values())
    return desk.record("reopen", thread, payload={"basis": basis})


def _payload(desk: Desk, thread: Thread, phase: str, notes: Notes) -> dict[str, Any]:
    payload = notes_payload(thread, notes)
    if any(reveal.annotator == desk.handle for reveal in desk.story(thread).reveals):
        payload["suggestion_seen"] = True
    if phase == "pilot" and not desk.protocol.is_blind:
        payload["with"] = _partners(desk, notes.partner)
    return payload


def notes_payload(thread: Thread, notes: Notes) -> dict[str, Any]:
    """Return memo, evidence and time as a decision's event keeps them; UsageError for a span outside."""
    payload: dict[str, Any] = {}
    if notes.memo:
        payload["memo"] = notes.memo
    if notes.spans:
        payload["spans"] = [_span(thread, span) for span in notes.spans]
        payload["text_version"] = TEXT_VERSION
    if notes.seconds is not None:
        payload["seconds"] = notes.seconds
    return payload


def _span(thread: Thread, span: Span) -> dict[str, int]:
    posts = {post.position: post for post in thread.posts}
    if span.position not in posts:
        raise UsageError(f"span: thread {thread.id} has no post {span.position}")
    post = posts[span.position]
    length = len(to_text(post.body, post.body_format).plain)
    if not 0 <= span.start < span.end <= length:
        raise UsageError(
            f"span {span.start}:{span.end} is not inside post {span.position}, which has {length} characters"
        )
    return {"position": span.position, "start": span.start, "end": span.end}


def _partners(desk: Desk, partner: str | None) -> list[str]:
    """Return who labels jointly with the person at the desk: those named, else the other annotators."""
    others = [
        person.handle
        for person in desk.history.people.values()
        if "annotator" in person.roles and person.handle != desk.handle
    ]
    if partner is not None and partner not in others:
        raise UsageError(f"{partner!r} is no other annotator")
    if not others:
        raise RefusedByProtocol(
            "the pilot is labelled jointly: add a second annotator, or set pilot_size = 0 in [labeling]"
        )
    return [partner] if partner else sorted(others)


def _places(desk: Desk, thread: Thread, label: Label) -> dict[str, Any]:
    """Return which of the thread's strata the label takes no place in: the full ones.

    RefusedByProtocol where all of them are full, unless a model's uncertainty drew the thread as well.
    Under blind double labeling the quota is decided at the ends of batches instead.
    """
    drawn = [code for draw in desk.story(thread).draws for code in draw.payload["strata"]]
    if desk.protocol.is_blind or label.root_cause in desk.protocol.uncounted_causes:
        return {}
    full = [code for code in drawn if desk.room(code, besides=thread.url) <= 0]
    if drawn and len(full) == len(drawn) and not desk.story(thread).was_drawn_actively:
        quotas = ", ".join(f"{code} has its {desk.study.stratum(code).quota} valid threads" for code in full)
        raise RefusedByProtocol(f"thread {thread.id}: {quotas}")
    return {"full": sorted(full)} if full else {}


def last_act(desk: Desk, thread: Thread | None = None) -> Event:
    """Return the last decision or check of the person at the desk (on one thread); NothingToDo if none."""
    acts = [
        event
        for event in desk.history.events
        if event.kind in ("decision", "check")
        and event.annotator == desk.handle
        and event.phase != "imported"
        and (thread is None or event.thread_url == thread.url)
    ]
    if not acts:
        raise NothingToDo(f"{desk.handle} has done nothing that could be undone")
    return acts[-1]


def undo(desk: Desk, thread: Thread | None = None) -> Event:
    """Take back the last decision or check; a second undo takes back the first.

    The act stays in the record: a new event restores what stood before it. Refused once the thread
    was adjudicated, or once everybody's blind label is in.
    """
    last = last_act(desk, thread)
    thread = desk.thread(str(last.thread_url))
    if any(ruling.verdict != "defer" for ruling in desk.story(thread).adjudications):
        raise RefusedByProtocol(
            f"thread {thread.id} was adjudicated; label it anew and have it adjudicated again"
        )
    if last.kind == "decision":
        may_decide(desk, thread, str(last.phase))
    return restore(desk, thread, last)


def restore(desk: Desk, thread: Thread, last: Event) -> Event:
    """Record once more what stood before the event `last`, or that it is withdrawn."""
    before = desk.history.by_uid.get(last.supersedes or "")
    payload = {key: value for key, value in (before.payload if before else {}).items() if key != "resolves"}
    if last.kind == "check":
        payload.setdefault("decision", last.payload["decision"])
    if before is not None and before.label is not None and before.label.valid and last.kind == "decision":
        payload = {key: value for key, value in payload.items() if key != "full"}
        payload |= _places(desk, thread, before.label)
    return desk.record(
        last.kind,
        thread,
        before.label if before else None,
        phase=last.phase,
        supersedes=last.uid,
        payload=payload | {"undoes": last.uid},
        **({} if before and before.label else {"verdict": before.verdict if before else "withdrawn"}),
    )


def reaffirm(desk: Desk, thread: Thread) -> Event:
    """Give one's live label again, under today's codebook and text."""
    phase = phase_of(desk, thread)
    own = [vote for vote in desk.story(thread).ends_of("decision", desk.handle, phase) if vote.label]
    if not own:
        raise NothingToDo(f"{desk.handle} has no label of thread {thread.id} to reaffirm")
    label = desk.history.merged(own[-1].label)
    assert label is not None
    return decide(desk, thread, label, Notes(memo=str(own[-1].payload.get("memo", ""))))


def spans_of(texts: Sequence[str]) -> tuple[Span, ...]:
    """Parse spans as people write them: `START:END` in the opening post, or `POST:START:END`."""
    spans = []
    for text in texts:
        parts = text.split(":")
        if len(parts) not in (2, 3) or not all(part.isdecimal() for part in parts):
            raise UsageError(f"span {text!r}: write START:END, or POST:START:END with the post's number")
        position, start, end = (int(part) for part in (["0", *parts] if len(parts) == 2 else parts))
        spans.append(Span(position, start, end))
    return tuple(spans)
