"""What a person is shown: a thread with its text, and their own labels of it, never another's.

The model's proposals are shown by `reveal` only, after the person has committed, where the protocol
allows it at all.
"""

from __future__ import annotations

from typing import Any

from db.errors import RefusedByProtocol
from db.records import Event, Label
from db.thread_history import ACTIVE
from db.threads import Thread
from labeling.desk import Desk
from pipeline.text import to_text


def thread_document(desk: Desk, thread: Thread) -> dict[str, Any]:
    """Return a thread as one JSON-ready document for the person at the desk."""
    return {
        "id": thread.id,
        "url": thread.url,
        "source": thread.source,
        "kind": thread.kind,
        "title": thread.title,
        "strata": sorted(row.stratum for row in thread.strata),
        "phase": _phase(desk, thread),
        "label": own_label(desk, thread),
        "posts": [
            {
                "position": post.position,
                "role": post.role,
                "accepted": post.accepted,
                "text": to_text(post.body, post.body_format).plain,
            }
            for post in thread.posts
        ],
    }


def _phase(desk: Desk, thread: Thread) -> str | None:
    """Return the phase of the draws that count most: `pilot`, `main` or `active`."""
    phases = {str(draw.phase) for draw in desk.story(thread).draws}
    return next((phase for phase in ("pilot", "main", ACTIVE) if phase in phases), None)


def own_label(desk: Desk, thread: Thread) -> dict[str, Any] | None:
    """Return the live decision of the person at the desk, or None."""
    if desk.name is None:
        return None
    own = [vote for vote in desk.story(thread).decisions if vote.annotator == desk.name]
    return label_document(own[-1]) if own else None


def label_document(event: Event) -> dict[str, Any]:
    """Return the label of one event with its memo and evidence; nobody's name."""
    return {
        "verdict": event.verdict,
        "reason": event.reason,
        "root_cause": event.root_cause,
        "fix_pattern": event.fix_pattern,
        "function": event.function,
        "memo": event.payload.get("memo", ""),
        "spans": event.payload.get("spans", []),
    }


def label_to_check(desk: Desk, thread: Thread) -> dict[str, Any] | None:
    """Return the label that the person at the desk is to check, or None where checks are blind."""
    votes = list(desk.history.standing_votes(desk.story(thread)).values())
    if desk.protocol.check_blind or desk.protocol.is_blind or len(votes) != 1:
        return None
    return label_document(votes[0])


def reveal(desk: Desk, thread: Thread) -> Event:
    """Record that the person is shown the model's proposal; refused before they committed.

    Never allowed in phases that agreement is computed on.
    """
    if desk.protocol.suggestions != "after_commit" or desk.protocol.is_blind:
        raise RefusedByProtocol("this study shows no proposals to people who label")
    own = [vote for vote in desk.story(thread).decisions if vote.annotator == desk.handle]
    if not own or own[-1].phase == "pilot":
        raise RefusedByProtocol(
            "a proposal is shown only after one's own label of the thread, and never in the pilot"
        )
    return desk.record("reveal", thread, phase=own[-1].phase, payload={"decision": own[-1].uid})


def label_line(label: Label | None) -> str:
    """Return a label in one line of text."""
    if label is None:
        return "no label"
    if not label.valid:
        return f"invalid ({label.reason})"
    return " · ".join(part for part in (label.root_cause, label.fix_pattern, label.function) if part)
