"""Where each thread stands in labeling, by the rules of the protocol.

A thread moves through these states: drawn, single (one of two blind labels), labeled (waits for its
check), parked (waits for a category), disputed, forked, and the settled ones: agreed, checked,
joint, adjudicated, imported, unchecked (a rejection nobody checks), discarded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from db.label_fold import Fold
from db.records import Event, Label
from db.thread_history import ThreadHistory


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


class States(Fold):
    """The state of every thread, worked out when it is asked for."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._outcomes: dict[str, Outcome] = {}
        super().__init__(events)

    def add(self, event: Event) -> None:
        """Take in one further event and drop what it may change: its thread's outcome, or all of them."""
        if event.kind in ("setup", "codebook", "resolution"):
            self._outcomes.clear()
        else:
            self._outcomes.pop(event.thread_url or "", None)
        super().add(event)

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
