"""The events of labeling put in order: people, codebooks, proposals, threads and the rules they obey.

An event is superseded by the one that names it, so the live events are the ends of chains; two live
ends of one chain are a fork, reported and never settled here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from db.records import Event, Label
from db.thread_history import ACTIVE, ThreadHistory

HELD = {
    "draw": "draws",
    "adjudication": "adjudications",
    "import": "imports",
    "reopen": "reopenings",
    "reveal": "reveals",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """The part of the protocol that decides states; `labeling.protocol` explains every key."""

    protocol: str = "faithful"
    raters: int = 2
    check_invalid: bool = False
    check_fix_pattern: bool = False
    replace_discarded: bool = False
    pilot_counts: bool = True
    uncounted_causes: Sequence[str] = ()
    cross_listed: str = "each"
    quotas: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> Rules:
        """Return the rules in the payload of a setup event, whose other keys matter elsewhere."""
        names = {key.name for key in fields(cls)}
        return cls(**{key: value for key, value in payload.items() if key in names})


@dataclass(slots=True)
class Person:
    """Somebody who labels, under a handle; `roles` maps a role to its strata (none: all of them)."""

    handle: str
    roles: dict[str, tuple[str, ...]]
    simulated: bool


class Fold:
    """All events of labeling folded into people, codebooks, proposals and threads."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.events: list[Event] = []
        self.by_uid: dict[str, Event] = {}
        self.people: dict[str, Person] = {}
        self.codebooks: list[Event] = []
        self.proposals: list[Event] = []
        self.resolutions: dict[str, Event] = {}
        self.threads: dict[str, ThreadHistory] = {}
        self.setup: dict[str, Any] = {}
        self.rules = Rules()
        self._has_active_draws = False
        self._replaced: set[str] = set()
        self._merged: dict[str, str] = {}
        for event in sorted(events, key=lambda event: (event.at, event.origin, event.sequence)):
            self.add(event)

    def add(self, event: Event) -> None:
        """Take in one further event."""
        self.events.append(event)
        self.by_uid[event.uid] = event
        self._replace(event)
        if event.kind == "setup":
            self.setup, self.rules = event.payload, Rules.of(event.payload)
        elif event.kind == "annotator":
            self._take_person(event)
        elif event.kind == "codebook":
            self.codebooks.append(event)
            self._merged = _merges(self.codebooks)
        elif event.kind == "proposal":
            self.proposals.append(event)
        elif event.kind == "resolution":
            self.resolutions[event.payload["proposal"]] = event
        elif event.thread_url is not None:
            self._take_of_thread(event)

    def _replace(self, event: Event) -> None:
        replaced = {event.supersedes, *event.payload.get("resolves", ())} - {None}
        self._replaced |= replaced
        if replaced and event.thread_url in self.threads:
            self.threads[event.thread_url].drop(replaced)

    def _take_person(self, event: Event) -> None:
        handle = str(event.annotator)
        person = self.people.setdefault(handle, Person(handle, {}, event.simulated))
        if event.payload["role"] is None:
            person.roles.clear()
        else:
            person.roles[event.payload["role"]] = tuple(event.payload.get("strata", ()))

    def _take_of_thread(self, event: Event) -> None:
        url = str(event.thread_url)
        thread = self.threads.setdefault(url, ThreadHistory(url, event.thread_id))
        thread.thread_id = thread.thread_id or event.thread_id
        if event.uid in self._replaced or (event.kind == "draw" and _drawn_before(thread, event)):
            return
        self._has_active_draws |= event.kind == "draw" and event.phase == ACTIVE
        if event.kind in ("decision", "check"):
            thread.ends.append(event)
        else:
            getattr(thread, HELD[event.kind]).append(event)

    def merged(self, label: Label | None) -> Label | None:
        """Return the label with its cause as later codebooks merged it."""
        if label is None or label.root_cause not in self._merged:
            return label
        cause = self._merged[label.root_cause]
        return Label(label.valid, label.reason, cause, label.fix_pattern, label.function)


def _drawn_before(thread: ThreadHistory, event: Event) -> bool:
    """Say whether the thread is already drawn for this stratum: two databases draw the same prefix."""
    key = (event.phase, event.payload["strata"])
    return any((draw.phase, draw.payload["strata"]) == key for draw in thread.draws)


def _merges(codebooks: Iterable[Event]) -> dict[str, str]:
    """Return the map from each merged code to the code it stands for today, through all versions."""
    merged: dict[str, str] = {}
    for event in codebooks:
        step = event.payload.get("merges", {})
        merged = {old: step.get(new, new) for old, new in merged.items()} | step
    return merged
