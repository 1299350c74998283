"""What happened to one thread: its draws, the live votes and checks, the rulings and the forks."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from db.records import Event

PHASES = ("imported", "pilot", "discussion", "independent", "blind")  # a later one outweighs an earlier
ACTIVE = "active"  # the phase of a draw that a model's uncertainty decided


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
