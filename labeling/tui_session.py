"""What the annotation screen does: every act opens one transaction and calls what the commands call.

There is no Textual here, so that the acts of the screen are tested as the commands are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial

from db.engine import Database
from db.errors import NothingToDo, UsageError
from db.records import Label
from db.threads import Thread
from labeling.adjudicating import Side, adjudicate, next_dispute, sides
from labeling.checking import check, next_check
from labeling.deciding import Notes, Span, decide, decide_unsure, undo
from labeling.desk import Desk, at_desk
from labeling.document import Document, to_document
from labeling.progress import StratumProgress, progress_of
from labeling.queue import next_thread
from labeling.reading import label_line, label_to_check, reveal
from labeling.suggestions import proposal_lines
from labeling.taxonomy import propose
from pipeline.study import Study

LONGEST = 3600  # seconds that still count as time spent on one thread


@dataclass(slots=True)
class Draft:
    """What is chosen on the screen and not yet committed."""

    cause: str | None = None
    reason: str | None = None
    fix: str | None = None
    function: str | None = None
    memo: str = ""
    difficulty: str | None = None
    spans: list[Span] = field(default_factory=list)

    def label(self) -> Label | None:
        """The label chosen, or None while there is none."""
        if self.cause:
            return Label(True, None, self.cause, self.fix, self.function)
        return Label(False, self.reason) if self.reason else None


@dataclass(frozen=True, slots=True)
class Task:
    """One thread on the screen: what is to be done with it (`label`, `check`, `adjudicate`), and its text."""

    activity: str
    thread_id: int
    url: str
    document: Document
    to_check: dict[str, object] | None = None
    sides: tuple[Side, ...] = ()


class Work:
    """The work of one person at the screen."""

    def __init__(
        self, database: Database, study: Study, handle: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.database, self.study, self.handle = database, study, handle
        self.clock = clock
        self.draft = Draft()
        self.task: Task | None = None
        self.uncertain = False  # whether threads to label are those of active draws alone
        self.progress: list[StratumProgress] = []
        self._opened = clock()

    def _desk(self) -> AbstractContextManager[Desk]:
        return at_desk(self.database, self.study, self.handle)

    def open_next(self, width: int) -> Task:
        """Take the next task: a thread to label, else a label to check, else a dispute to settle."""
        with self._desk() as desk:
            activity, thread = _first(desk, self.uncertain)
            self.task = self._to_task(desk, activity, thread, width)
            self.progress = progress_of(desk)
        return self.task

    def rewrap(self, width: int) -> Document:
        """Return the open thread wrapped to another width."""
        task = self._task()
        with self.database.reading() as session:
            thread = Desk(session, self.study, self.handle).thread(task.thread_id)
            self.task = replace(task, document=to_document(thread, self.study.keywords, width))
        return self.task.document

    def _to_task(self, desk: Desk, activity: str, thread: Thread, width: int) -> Task:
        self.draft, self._opened = Draft(), self.clock()
        return Task(
            activity,
            thread.id,
            thread.url,
            to_document(thread, self.study.keywords, width),
            label_to_check(desk, thread) if activity == "check" else None,
            tuple(sides(desk, thread)) if activity == "adjudicate" else (),
        )

    def commit(self) -> str:
        """Commit what is chosen and say so; UsageError while nothing is."""
        task, label = self._task(), self.draft.label()
        if label is None and task.activity != "check":
            raise UsageError("choose a cause (1-9, 0) or x and a reason first")
        with self._desk() as desk:
            thread = desk.thread(task.thread_id)
            if task.activity == "label":
                assert label is not None
                decide(desk, thread, label, self._notes())
            elif task.activity == "check":
                check(desk, thread, label, self.draft.memo)
            else:
                self._rule(desk, thread, "label", label)
        return f"{task.thread_id} committed"

    def unsure(self) -> str:
        """Leave the thread to discussion."""
        task = self._task()
        with self._desk() as desk:
            decide_unsure(desk, desk.thread(task.thread_id), self._notes())
        return f"{task.thread_id} is unsure"

    def settle(self, outcome: str) -> str:
        """Discard or defer the dispute; the memo is the reason."""
        task = self._task()
        with self._desk() as desk:
            self._rule(desk, desk.thread(task.thread_id), outcome, None)
        return f"{task.thread_id}: {outcome}"

    def undo(self, width: int) -> str:
        """Take back the last act, open its thread again, and say what stands now."""
        with self._desk() as desk:
            event = undo(desk)
            activity = "check" if event.kind == "check" else "label"
            self.task = self._to_task(desk, activity, desk.thread(str(event.thread_url)), width)
            self.progress = progress_of(desk)
        return f"undone, now {label_line(event.label) if event.label else event.verdict}; u takes that back"

    def propose(self, name: str, definition: str) -> str:
        """Propose a category; the thread waits for the outcome."""
        with self._desk() as desk:
            event = propose(desk, name, definition, desk.thread(self._task().thread_id))
        return f"proposal {event.uid[:8]}: {name}"

    def reveal(self) -> str:
        """Show the model's proposal, where the protocol allows it after the person has committed."""
        with self._desk() as desk:
            thread = desk.thread(self._task().thread_id)
            reveal(desk, thread)
            return " · ".join(proposal_lines(desk.session, thread))

    def _rule(self, desk: Desk, thread: Thread, outcome: str, label: Label | None) -> None:
        adjudicate(desk, thread, outcome, label, rationale=self.draft.memo, difficulty=self.draft.difficulty)

    def _notes(self) -> Notes:
        seconds = min(int(self.clock() - self._opened), LONGEST)
        return Notes(memo=self.draft.memo, spans=tuple(self.draft.spans), seconds=seconds)

    def _task(self) -> Task:
        if self.task is None:
            raise NothingToDo("no thread is open")
        return self.task


def _first(desk: Desk, uncertain: bool) -> tuple[str, Thread]:
    """Return the first thing to do; NothingToDo with every reason there is none."""
    roles = desk.person.roles.keys()
    queues: list[tuple[str, Callable[[Desk], Thread]]] = []
    if "annotator" in roles:
        queues += [("label", partial(next_thread, uncertain=uncertain)), ("check", next_check)]
    if roles & {"adjudicator", "lead"}:
        queues.append(("adjudicate", next_dispute))
    reasons = []
    for activity, take in queues:
        try:
            return activity, take(desk)
        except NothingToDo as reason:
            reasons.append(str(reason))
    raise NothingToDo("; ".join(reasons))
