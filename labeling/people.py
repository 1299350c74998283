"""Who takes part: annotators, adjudicators and leads, and the strata they own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from db.errors import NothingToDo, UsageError
from db.records import Event
from labeling.desk import Desk

ROLES = ("annotator", "adjudicator", "lead")
HANDLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def add_annotator(
    desk: Desk, handle: str, role: str = "annotator", strata: Sequence[str] = (), *, simulated: bool = False
) -> Event:
    """Give a person a role, in all strata or those named; NothingToDo if they have just that already."""
    if not HANDLE.fullmatch(handle):
        raise UsageError(f"handle {handle!r}: letters, digits, dot, dash and underscore, at most 64")
    if role not in ROLES:
        raise UsageError(f"role {role!r} is not one of {', '.join(ROLES)}")
    known = desk.history.people.get(handle)
    wanted = tuple(sorted({desk.study.stratum(code).code for code in strata}))
    if known and known.roles.get(role) == wanted:
        raise NothingToDo(f"{handle} is already {role} there")
    if known and known.roles and known.simulated != simulated:
        raise UsageError(f"{handle} is {'' if known.simulated else 'not '}simulated; choose another handle")
    payload = {"role": role, "strata": list(wanted)}
    return desk.record("annotator", annotator=handle, simulated=simulated, payload=payload)


def remove_annotator(desk: Desk, handle: str) -> Event:
    """Take every role from a person; what they did stays, and what they left undone goes to others."""
    known = desk.history.people.get(handle)
    if known is None or not known.roles:
        raise NothingToDo(f"{handle} has no role")
    return desk.record("annotator", annotator=handle, simulated=known.simulated, payload={"role": None})
