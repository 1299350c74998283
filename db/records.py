"""The values of labeling that cross layers: one label, one event, and the final label of a thread."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Label:
    """One label of one thread: the final one, or one annotator's.

    `valid` True goes with `root_cause` (and perhaps `fix_pattern`, `function`); False with `reason`.
    """

    valid: bool
    reason: str | None = None
    root_cause: str | None = None
    fix_pattern: str | None = None
    function: str | None = None


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
class FinalLabel:
    """The label of a thread that the study counts, the strata it counts in, and how it came.

    `how` is `agreed`, `checked`, `adjudicated`, `joint` or `imported`. `strata` is empty for a
    thread outside every stratum of the study. `active` marks the label of a thread that a model's
    uncertainty drew: it trains models and counts in no table.
    """

    thread_id: int
    url: str
    strata: tuple[str, ...]
    label: Label
    how: str
    simulated: bool = False
    active: bool = False
