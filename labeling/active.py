"""Active drawing: the threads of which the newest proposals are least certain, outside the study sample.

Their labels teach the model most and count in no table: whoever counted them would count what the
model finds hard, not what there is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from db.errors import NothingToDo
from db.proposals import StoredProposal, latest_proposals
from db.records import Event
from db.thread_history import ACTIVE
from db.threads import Thread
from labeling.desk import Desk
from labeling.drawing import POOL, draw_pilot, last_position, pool

NO_STRATUM = "?"  # stands for no stratum, in an active draw


def uncertainty(valid: float, causes: Iterable[float]) -> float:
    """Return the entropy in nats over not valid and valid with each cause; `causes` are given validity."""
    chances = (1 - valid, *(valid * cause for cause in causes))
    return -sum(chance * math.log(chance) for chance in chances if chance > 0)


def draw_uncertain(desk: Desk, strata: Sequence[str] = (), count: int | None = None) -> list[Event]:
    """Draw the pilot, by chance, if it is still to be drawn, else the most uncertain untouched candidates.

    NothingToDo where no model has proposed anything, or no candidate (of the strata) with a proposal is
    left that is neither drawn nor labelled.
    """
    if pilot := draw_pilot(desk):
        return pilot
    proposals = {found.thread_id: found for found in latest_proposals(desk.session)}
    if not proposals:
        raise NothingToDo("no model has proposed anything to be uncertain of; run: nanmine propose run")
    free = [thread for thread in _untouched(desk, strata) if thread.id in proposals]
    if not free:
        raise NothingToDo("nothing to draw: every candidate with a proposal is drawn or labelled")
    free.sort(key=lambda thread: -_uncertainty(proposals[thread.id]))
    first = last_position(desk, NO_STRATUM) + 1
    chosen = free[: count or desk.protocol.batch]
    return [_record(desk, thread, proposals[thread.id], first + n) for n, thread in enumerate(chosen)]


def _untouched(desk: Desk, strata: Sequence[str]) -> list[Thread]:
    """Return the candidates that nobody drew or labelled, in the study's order, which settles ties."""
    codes = [desk.study.stratum(code).code for code in strata] or [POOL]
    threads = {thread.url: thread for code in codes for thread in pool(desk, code)}.values()
    return [thread for thread in threads if not (desk.story(thread).draws or desk.story(thread).decisions)]


def _uncertainty(proposal: StoredProposal) -> float:
    return uncertainty(proposal.valid_probability, (cause["probability"] for cause in proposal.causes))


def _record(desk: Desk, thread: Thread, proposal: StoredProposal, position: int) -> Event:
    payload = {
        "stratum": NO_STRATUM,
        "position": position,
        "strata": [],
        "order": "uncertain",
        "uncertainty": round(_uncertainty(proposal), 6),
        "model": proposal.model,
    }
    return desk.record("draw", thread, annotator=None, phase=ACTIVE, payload=payload)
