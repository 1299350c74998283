"""What the events of labeling amount to: a pure fold, the same whatever order they arrived in.

Nothing here reads a database. An event is superseded by the one that names it, so the live events
are the ends of chains; two live ends of one chain are a fork, reported and never settled here.

A thread moves through these states: drawn, single (one of two blind labels), labeled (waits for its
check), parked (waits for a category), disputed, forked, and the settled ones: agreed, checked,
joint, adjudicated, imported, unchecked (a rejection nobody checks), discarded.

A thread may also be drawn because a model is uncertain of it (a draw of phase ACTIVE, for no
stratum). Its label then trains models and counts nowhere: such threads are not like the others.
Should the study's own seeded order draw the thread for a stratum, it is in the study sample with
full right, and its label counts however early it was given. That keeps every share unbiased: who
is in the sample is decided by the random order alone, which knows neither model nor label. An early
label counts only when that order has come to its thread: when every thread drawn before it is
labelled, and only if the quota was still open then (`out_of_turn`). So the threads that count are
those that would have counted had nobody ever drawn a thread actively.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from db.records import Label

PHASES = ("imported", "pilot", "discussion", "independent", "blind")  # a later one outweighs an earlier
ACTIVE = "active"  # the phase of a draw that a model's uncertainty decided
SETTLED = ("agreed", "checked", "joint", "adjudicated", "imported", "unchecked", "discarded")


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the event table as a value."""

    id: int
    uid: str
    origin: str
    sequence: int
    kind: str
    thread_id: int | None
    thread_url: str | None
    annotator: str | None
    phase: str | None
    verdict: str | None
    reason: str | None
    root_cause: str | None
    fix_pattern: str | None
    function: str | None
    codebook: str | None
    content_sha256: str | None
    supersedes: str | None
    payload: dict[str, Any]
    simulated: bool
    at: datetime
    previous_hash: str
    hash: str

    @property
    def label(self) -> Label | None:
        """The label the event gives, or None where its verdict is no label."""
        if self.verdict not in ("valid", "invalid"):
            return None
        return Label(self.verdict == "valid", self.reason, self.root_cause, self.fix_pattern, self.function)

    def row(self) -> dict[str, Any]:
        """Return the columns by name."""
        return {column.name: getattr(self, column.name) for column in fields(self)}


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a thread stands: its state, its label if it has one, and the votes that rests on.

    `how` is set where the label is settled. `basis` holds the uids of the live votes and checks.
    """

    state: str
    label: Label | None = None
    how: str | None = None
    simulated: bool = False
    basis: frozenset[str] = frozenset()


@dataclass(slots=True)
class ThreadHistory:
    """The live events of one thread."""

    url: str
    thread_id: int | None
    draws: list[Event] = field(default_factory=list)
    ends: list[Event] = field(default_factory=list)
    adjudications: list[Event] = field(default_factory=list)
    imports: list[Event] = field(default_factory=list)
    reopenings: list[Event] = field(default_factory=list)
    reveals: list[Event] = field(default_factory=list)

    def drop(self, uids: set[str]) -> None:
        """Leave out events that were superseded."""
        for events in (self.ends, self.adjudications, self.imports):
            events[:] = [event for event in events if event.uid not in uids]

    @property
    def decisions(self) -> list[Event]:
        """The live decisions; one that was withdrawn is none."""
        return [event for event in self.ends if event.kind == "decision" and event.verdict != "withdrawn"]

    @property
    def checks(self) -> list[Event]:
        """The live checks."""
        return [event for event in self.ends if event.kind == "check" and event.verdict != "withdrawn"]

    def ends_of(self, kind: str, annotator: str, phase: str) -> list[Event]:
        """Return the ends of one person's chain, withdrawn ones too: several after a fork."""
        key = (kind, annotator, phase)
        return [event for event in self.ends if (event.kind, event.annotator, event.phase) == key]

    @property
    def sample_draws(self) -> list[Event]:
        """The draws that the study's random order decided: they alone put a thread into the study sample."""
        return [draw for draw in self.draws if draw.phase != ACTIVE]

    @property
    def was_drawn_actively(self) -> bool:
        """Whether a model's uncertainty drew the thread, whatever else did."""
        return len(self.sample_draws) < len(self.draws)

    @property
    def is_active(self) -> bool:
        """Whether nothing but a model's uncertainty brought the thread: it trains, and counts nowhere."""
        return self.was_drawn_actively and not self.sample_draws and not self.is_imported

    @property
    def is_imported(self) -> bool:
        """Whether a label of the thread came from a file."""
        return self.imported is not None or any(vote.phase == "imported" for vote in self.decisions)

    @property
    def imported(self) -> Event | None:
        """The live imported final label."""
        return self.imports[-1] if self.imports else None

    @property
    def phase(self) -> str | None:
        """The phase whose votes count: the last that has any."""
        return max((str(vote.phase) for vote in self.decisions), key=PHASES.index, default=None)

    @property
    def votes(self) -> dict[str, Event]:
        """The vote of each person in the phase that counts; a discussion keeps unchanged pilot votes."""
        phase, decisions = self.phase, self.decisions
        taken = ("pilot", "discussion") if phase == "discussion" else (phase,)
        votes: dict[str, Event] = {}
        for name in taken:
            votes |= {str(event.annotator): event for event in decisions if event.phase == name}
        return votes

    @property
    def forks(self) -> list[list[Event]]:
        """Each set of live ends that one person has in one phase, where there are several."""
        ends: dict[tuple[str | None, str | None], list[Event]] = defaultdict(list)
        for event in self.decisions:
            ends[event.annotator, event.phase].append(event)
        return [events for events in ends.values() if len(events) > 1]


HELD = {
    "draw": "draws",
    "adjudication": "adjudications",
    "import": "imports",
    "reopen": "reopenings",
    "reveal": "reveals",
}


class History:
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
        self._outcomes: dict[str, Outcome] = {}
        self._surplus: dict[str, frozenset[str]] = {}
        self._out_of_turn: dict[str, frozenset[str]] = {}
        for event in sorted(events, key=lambda event: (event.at, event.origin, event.sequence)):
            self.add(event)

    def add(self, event: Event) -> None:
        """Take in one further event."""
        self._forget(event)
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

    def _forget(self, event: Event) -> None:
        """Drop what the event may change: its thread's outcome, or all of them."""
        self._surplus.clear()
        self._out_of_turn.clear()
        if event.kind in ("setup", "codebook", "resolution"):
            self._outcomes.clear()
        else:
            self._outcomes.pop(event.thread_url or "", None)

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

    @property
    def sample(self) -> list[ThreadHistory]:
        """The threads of the study: all but those that are left out."""
        return [thread for url, thread in self.threads.items() if not self.is_left_out(url)]

    def is_left_out(self, url: str) -> bool:
        """Say whether the thread counts nowhere: it was drawn actively, and its turn came in no stratum."""
        thread = self.threads[url]
        if not thread.was_drawn_actively or thread.is_imported:
            return False
        strata = {code for draw in thread.sample_draws for code in draw.payload["strata"]}
        return all(url in self.out_of_turn(stratum) for stratum in strata)

    def outcome(self, url: str) -> Outcome:
        """Return where the thread stands; `drawn` for one that nobody has labelled."""
        if url not in self._outcomes:
            self._outcomes[url] = self._outcome_or_imported(self.threads[url])
        return self._outcomes[url]

    def _outcome_or_imported(self, thread: ThreadHistory) -> Outcome:
        outcome = self._outcome(thread)
        if outcome.how is None and outcome.state != "discarded" and thread.imported is not None:
            imported = thread.imported
            return Outcome("imported", self.merged(imported.label), "imported", imported.simulated)
        return outcome

    def _outcome(self, thread: ThreadHistory) -> Outcome:
        votes = self.standing_votes(thread)
        if not votes:
            return Outcome("drawn")
        checks = self._checks_of(thread, votes)
        basis = frozenset(event.uid for event in (*votes.values(), *checks))
        simulated = any(event.simulated for event in (*votes.values(), *checks))
        if any(vote.phase == thread.phase for ends in thread.forks for vote in ends):
            return Outcome("forked", basis=basis)
        ruling = self._ruling(thread, basis)
        if ruling is not None:
            return self._ruled(ruling, basis, simulated)
        if any(vote.verdict == "parked" for vote in votes.values()):
            return Outcome("parked", basis=basis)
        state, label, how = self._state(thread, list(votes.values()), checks)
        return Outcome(state, self.merged(label), how, simulated, basis)

    def _state(
        self, thread: ThreadHistory, votes: list[Event], checks: list[Event]
    ) -> tuple[str, Label | None, str | None]:
        first = min(votes, key=lambda vote: (vote.at, vote.uid))
        if self.rules.protocol == "faithful" and thread.phase == "pilot":
            return ("joint", first.label, "joint") if first.label else ("disputed", None, None)
        if self._is_half(thread, votes):
            return "single", None, None
        if self._differ(votes, checks):
            return "disputed", None, None
        if len(votes) > 1:
            return "agreed", first.label, "agreed"
        if checks:
            return "checked", first.label, "checked"
        if first.verdict == "invalid" and not self.rules.check_invalid:
            return "unchecked", first.label, "unchecked"
        return "labeled", first.label, None

    def _differ(self, votes: list[Event], checks: list[Event]) -> bool:
        undecided = any(vote.label is None for vote in votes)
        return undecided or len({self.category(event) for event in (*votes, *checks)}) > 1

    def _is_half(self, thread: ThreadHistory, votes: list[Event]) -> bool:
        owner_alone = self.rules.protocol == "faithful" and thread.phase == "independent"
        return not owner_alone and len(votes) < self.rules.raters

    def standing_votes(self, thread: ThreadHistory) -> dict[str, Event]:
        """Return the votes that count; one that waited for a category is void once that is resolved."""
        resolved = self.resolutions
        return {
            who: vote for who, vote in thread.votes.items() if vote.payload.get("proposal") not in resolved
        }

    def _checks_of(self, thread: ThreadHistory, votes: Mapping[str, Event]) -> list[Event]:
        """Return the live checks of the votes as they stand; a check of a replaced vote is void."""
        standing = {vote.uid for vote in votes.values()}
        return [check for check in thread.checks if check.payload["decision"] in standing]

    def _ruling(self, thread: ThreadHistory, basis: frozenset[str]) -> Event | None:
        """Return the live adjudication that rests on exactly these votes and checks, if there is one."""
        standing = [event for event in thread.adjudications if frozenset(event.payload["basis"]) == basis]
        return standing[-1] if standing and standing[-1].verdict != "defer" else None

    def _ruled(self, ruling: Event, basis: frozenset[str], simulated: bool) -> Outcome:
        simulated = simulated or ruling.simulated
        if ruling.verdict == "discard":
            return Outcome("discarded", simulated=simulated, basis=basis)
        return Outcome("adjudicated", self.merged(ruling.label), "adjudicated", simulated, basis)

    def is_stale(self, url: str) -> bool:
        """Say whether the thread was adjudicated on votes that have changed since."""
        thread = self.threads[url]
        rulings = [event for event in thread.adjudications if event.verdict != "defer"]
        return bool(rulings) and self._ruling(thread, self._outcome(thread).basis) is None

    def blind_labels(self) -> list[Event]:
        """Return the blind labels that nobody but their giver may see: those of threads not all labelled."""
        if self.rules.protocol != "blind_double":
            return []
        stories = [story for story in self.threads.values() if story.phase in ("pilot", "blind")]
        waiting = [story for story in stories if len(story.votes) < self.rules.raters]
        return [vote for story in waiting for vote in story.decisions]

    def category(self, event: Event) -> tuple[str, ...]:
        """Return what has to be equal for agreement: the cause or the rejection, never memo or reason."""
        if event.verdict == "agree":
            return self.category(self.by_uid[event.payload["decision"]])
        label = self.merged(event.label)
        if label is None or not label.valid:
            return (str(event.verdict),)
        fix = (label.fix_pattern or "",) if self.rules.check_fix_pattern else ()
        return ("valid", str(label.root_cause), *fix)

    def merged(self, label: Label | None) -> Label | None:
        """Return the label with its cause as later codebooks merged it."""
        if label is None or label.root_cause not in self._merged:
            return label
        cause = self._merged[label.root_cause]
        return Label(label.valid, label.reason, cause, label.fix_pattern, label.function)

    def strata_of(self, url: str) -> tuple[str, ...]:
        """Return the strata the thread was drawn for and had room in when it was labelled, sorted."""
        thread, votes = self.threads[url], self.threads[url].votes.values()
        if thread.phase in ("pilot", "discussion") and not self.rules.pilot_counts:
            return ()
        if any(vote.root_cause in self.rules.uncounted_causes for vote in votes):
            return ()
        full = {code for event in (*votes, *thread.adjudications) for code in event.payload.get("full", ())}
        drawn = [code for draw in thread.draws for code in draw.payload["strata"] if code not in full]
        return tuple(drawn[:1]) if self.rules.cross_listed == "first" else tuple(sorted(set(drawn)))

    def counted_strata(self, url: str) -> tuple[str, ...]:
        """Return the strata the thread counts in: those where its turn came and the quota has a place."""
        return tuple(
            stratum
            for stratum in self.strata_of(url)
            if url not in self.surplus(stratum) | self.out_of_turn(stratum)
        )

    def surplus(self, stratum: str) -> frozenset[str]:
        """Return the settled valid threads beyond the quota of a stratum, by their place in the draw."""
        if stratum not in self._surplus:
            quota = self.rules.quotas.get(stratum)
            self._surplus[stratum] = frozenset(() if quota is None else self.valid_in(stratum)[quota:])
        return self._surplus[stratum]

    def out_of_turn(self, stratum: str) -> frozenset[str]:
        """Return the actively drawn threads of a stratum whose turn has not come, or came past its quota.

        The turn of a thread comes when every thread drawn before it has the labels that it waited for.
        """
        if stratum not in self._out_of_turn:
            early = self._take_turns(stratum) if self._has_active_draws else ()
            self._out_of_turn[stratum] = frozenset(early)
        return self._out_of_turn[stratum]

    def _take_turns(self, stratum: str) -> Iterator[str]:
        """Yield who is out of turn; what blind double labeling draws is labelled, whatever the quota."""
        is_faithful = self.rules.protocol == "faithful"
        quota = self.rules.quotas.get(stratum, math.inf) if is_faithful else math.inf
        taken, waiting = 0, False
        for url in self._drawn_for(stratum):
            if self.threads[url].was_drawn_actively and (waiting or taken >= quota):
                yield url
                continue
            waiting |= self.outcome(url).state in ("drawn", "single")
            taken += stratum in self.strata_of(url) and self._takes_place(url)

    def valid_in(self, stratum: str) -> list[str]:
        """Return the threads of a stratum that are settled as valid and had their turn, in drawing order."""
        early = self.out_of_turn(stratum)
        drawn = (url for url in self.drawn_in(stratum) if url not in early)
        return [url for url in drawn if _is_final_valid(self.outcome(url))]

    def drawn_in(self, stratum: str) -> list[str]:
        """Return the threads that can count in a stratum, the pilot first, then in drawing order."""
        return [url for url in self._drawn_for(stratum) if stratum in self.strata_of(url)]

    def _drawn_for(self, stratum: str) -> list[str]:
        places = []
        for thread in self.threads.values():
            draws = [draw for draw in thread.draws if stratum in draw.payload["strata"]]
            if draws:
                first = min((draw.phase != "pilot", draw.payload["position"]) for draw in draws)
                places.append((first, thread.url))
        return [url for _, url in sorted(places)]

    def spent(self, stratum: str, besides: str | None = None) -> int:
        """Return how many places of a stratum's quota are taken, imported labels and one thread apart.

        A valid label takes its place when it is given. Where discarded threads are not replaced,
        one that an adjudication discards or rejects keeps the place it took.
        """
        left_out = {besides, *self.out_of_turn(stratum)}
        return sum(self._takes_place(url) for url in self.drawn_in(stratum) if url not in left_out)

    def _takes_place(self, url: str) -> bool:
        votes = self.threads[url].votes.values()
        outcome = self.outcome(url)
        if outcome.state in ("discarded", "adjudicated") and self.rules.replace_discarded:
            return _is_final_valid(outcome)
        if self.rules.protocol == "faithful":
            return any(vote.verdict == "valid" for vote in votes) or _is_final_valid(outcome)
        return _is_final_valid(outcome)


def _is_final_valid(outcome: Outcome) -> bool:
    return outcome.how is not None and outcome.label is not None and outcome.label.valid


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
