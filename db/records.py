"""The values of labeling that cross layers: one label, and the final label of a thread."""

from __future__ import annotations

from dataclasses import dataclass


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
