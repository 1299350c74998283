"""The model's proposal for a thread, as lines to show once it may be shown."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.proposals import Proposal
from db.threads import Thread


def proposal_lines(session: Session, thread: Thread, shown: int = 3) -> list[str]:
    """Return the newest proposal for a thread: validity, likeliest causes and fix patterns, evidence."""
    newest = select(Proposal).where(Proposal.thread_id == thread.id).order_by(Proposal.id.desc()).limit(1)
    proposal = session.scalar(newest)
    if proposal is None:
        return [f"{thread.id}: no model has proposed anything"]
    lines = [f"{thread.id}: valid with probability {proposal.valid_probability:.2f}"]
    for title, ranked in (("cause", proposal.causes), ("fix", proposal.fix_patterns)):
        said = ", ".join(f"{item['code']} {item['probability']:.2f}" for item in ranked[:shown])
        lines.append(f"{title}: {said}")
    pieces = proposal.evidence[:shown]
    return lines + [f"post {one['position']}, {one['weight']:+.2f}: {one['text']}" for one in pieces]
