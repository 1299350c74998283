"""What the report says of agreement, protocol and model, or that there is nothing to say yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from db.label_states import Event, History, ThreadHistory
from db.labels import read_history
from pipeline.study import Study
from pipeline.table import Share, Table

Matrix = tuple[list[str], list[list[int]], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Part:
    """The text, tables and figures of a section; `matrix` is names, counts, and the two sides' names."""

    text: str
    tables: tuple[Table, ...] = ()
    matrix: Matrix | None = None
    figures: Sequence[tuple[Callable[[], Any], str]] = ()


def agreement_part(session: Session) -> Part:
    """Return how far annotators agree before any ruling, and the protocol they followed."""
    history = read_history(session)
    pairs = [pair for thread in history.threads.values() if (pair := _pair(thread))]
    protocol = protocol_table(history)
    if not pairs:
        return Part("No thread has two independent labels yet.", (protocol,))
    return Part("", (_agreement_table(pairs), protocol), _matrix(pairs))


def _pair(thread: ThreadHistory) -> tuple[Event, Event] | None:
    """Return the first two annotators' standing labels of a thread in the phase that counts."""
    votes = [thread.votes[who] for who in sorted(thread.votes) if thread.votes[who].label]
    return (votes[0], votes[1]) if len(votes) > 1 else None


def _agreement_table(pairs: Sequence[tuple[Event, Event]]) -> Table:
    both = [pair for pair in pairs if all(event.verdict == "valid" for event in pair)]
    verdict = sum(first.verdict == second.verdict for first, second in pairs)
    cause = sum(first.root_cause == second.root_cause for first, second in both)
    rows = (
        ("valid or not", len(pairs), Share(verdict, len(pairs))),
        ("root cause, where both say valid", len(both), Share(cause, len(both))),
    )
    return Table("agreement", "Agreement of two annotators", ("Of", "Threads", "Agree(%)"), rows)


def _matrix(pairs: Sequence[tuple[Event, Event]]) -> Matrix:
    counts = Counter((_category(first), _category(second)) for first, second in pairs)
    names = sorted({name for pair in counts for name in pair}, key=lambda name: (name == "not valid", name))
    return (
        names,
        [[counts[row, column] for column in names] for row in names],
        ("First annotator", "Second annotator"),
    )


def _category(event: Event) -> str:
    return event.root_cause or "not valid"


def protocol_table(history: History) -> Table:
    """Return every choice of the protocol that the study was labelled under."""
    rows = tuple((name, _said(value)) for name, value in sorted(history.setup.items()))
    notes = () if rows else ("No protocol is set up yet; labels were imported, or there are none.",)
    return Table("protocol", "Protocol in force", ("Choice", "Value"), rows, notes)


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(item)}" for name, item in sorted(value.items()))
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def model_part(session: Session, study: Study) -> Part:
    """Return the card of the model that proposes, if one is trained."""
    return Part("No model is trained yet.")
