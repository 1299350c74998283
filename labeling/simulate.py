"""Simulated people: annotators who know the right labels and slip now and then, and an adjudicator.

They label through the very functions that people use, under the protocol of the study, and every row
they leave is marked as simulated. What they do depends on the seed alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from db.engine import Database
from db.errors import NothingToDo
from db.records import Label
from db.threads import Thread
from labeling.adjudicating import adjudicate, next_dispute
from labeling.checking import check, next_check
from labeling.deciding import Notes, decide
from labeling.desk import Desk
from labeling.people import add_annotator
from labeling.queue import next_thread
from pipeline.codebook import Codebook
from pipeline.study import Study

ANNOTATORS = ("sim-ada", "sim-ben")
ADJUDICATOR = "sim-cleo"
WRONG_VALIDITY = 0.03  # how often an annotator takes a valid thread for an invalid one, or the reverse
WRONG_CAUSE = 0.08  # how often, of the valid ones, the cause is that of a close call
WRONG_FIX = 0.05  # how often, of those with the right cause, the fix pattern is another

Truths = Mapping[tuple[str, str], Label]  # (source, external id) to the right label


@dataclass(frozen=True)
class Simulation:
    """What the simulated people work on, and the right labels, which they know."""

    database: Database
    study: Study
    truths: Truths
    seed: int = 0

    def run(self) -> int:
        """Enrol everybody and let them work until nobody has anything left; return the number of acts."""
        for handle in ANNOTATORS:
            self._enrol(handle, "annotator")
        self._enrol(ADJUDICATOR, "adjudicator")
        done = 0
        while acts := self._round():
            done += acts
        return done

    def _round(self) -> int:
        acts = sum(self._work(handle, _label_next) for handle in ANNOTATORS)
        acts += sum(self._work(handle, _check_next) for handle in ANNOTATORS)
        return acts + self._work(ADJUDICATOR, _settle_next)

    def _enrol(self, handle: str, role: str) -> None:
        with self.database.writing() as session, suppress(NothingToDo):
            add_annotator(Desk(session, self.study), handle, role, simulated=True)

    def _work(self, handle: str, act: Callable[[Desk, Simulation], None]) -> int:
        """Sit one person down and let them act until there is nothing to do; return the number of acts."""
        done = 0
        with self.database.writing() as session, suppress(NothingToDo):
            desk = Desk(session, self.study, handle)
            while True:
                act(desk, self)
                done += 1
        return done

    def truth(self, thread: Thread) -> Label:
        """Return the right label."""
        return self.truths[thread.source, thread.external_id]

    def opinion(self, handle: str, thread: Thread) -> Label:
        """Return what one annotator takes a thread for: mostly what it is."""
        chance = random.Random(f"{self.seed} {handle} {thread.source} {thread.external_id}")
        truth, codebook = self.truth(thread), self.study.codebook
        if chance.random() < WRONG_VALIDITY:
            return _wrong_validity(truth, codebook, chance)
        if truth.valid and chance.random() < WRONG_CAUSE:
            return _wrong_cause(truth, codebook, chance)
        if truth.valid and chance.random() < WRONG_FIX:
            return _with_cause(truth, str(truth.root_cause), codebook, chance)
        return truth

    def seconds(self, handle: str, thread: Thread) -> int:
        """Return how long the annotator takes: longer for longer threads."""
        chance = random.Random(f"{self.seed} seconds {handle} {thread.source} {thread.external_id}")
        return round(chance.uniform(20, 90) + 4 * thread.n_posts)


def _label_next(desk: Desk, simulation: Simulation) -> None:
    thread = next_thread(desk)
    notes = Notes(seconds=simulation.seconds(desk.handle, thread))
    decide(desk, thread, simulation.opinion(desk.handle, thread), notes)


def _check_next(desk: Desk, simulation: Simulation) -> None:
    thread = next_check(desk)
    opinion = simulation.opinion(desk.handle, thread)
    standing = next(iter(desk.history.standing_votes(desk.story(thread)).values()))
    check(desk, thread, None if standing.label == opinion else opinion)


def _settle_next(desk: Desk, simulation: Simulation) -> None:
    thread = next_dispute(desk)
    truth = simulation.truth(thread)
    adjudicate(
        desk, thread, "label", truth, rationale="Read again with both labels.", difficulty="annotator_error"
    )


def _wrong_validity(truth: Label, codebook: Codebook, chance: random.Random) -> Label:
    if truth.valid:
        return Label(False, reason=chance.choice(codebook.reason_codes))
    return Label(True, root_cause=chance.choice(codebook.cause_codes))


def _wrong_cause(truth: Label, codebook: Codebook, chance: random.Random) -> Label:
    """Return a label with the cause on the other side of a close call, or any other cause."""
    close = [
        code for call in codebook.close_calls if truth.root_cause in call.between for code in call.between
    ]
    others = [code for code in close or codebook.cause_codes if code != truth.root_cause]
    return _with_cause(truth, chance.choice(others), codebook, chance)


def _with_cause(label: Label, cause: str, codebook: Codebook, chance: random.Random) -> Label:
    """Return the label with a cause and one of that cause's fix patterns, picked without much thought."""
    return replace(label, root_cause=cause, fix_pattern=chance.choice(codebook.fix_patterns_of(cause)))
