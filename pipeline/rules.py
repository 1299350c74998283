"""The rule model: a codebook's cues propose before there is any label.

A cue is a regular expression that speaks for a root cause, for validity, or for a reason against
it, in some channels, with a weight in log-odds. Cues with an empty pattern are the base rates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.channels import CHANNELS, Segment
from pipeline.codebook import Codebook
from pipeline.errors import StudyError
from pipeline.trigrams import Needs, Runs, runs_of

VALID = "valid"
SPOKEN = ("title", "prose", "replies", "answer")  # where a cue looks unless it says otherwise
Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Cue:
    """One cue: `pattern` in one of `channels` adds `weight` (log-odds) to `target`.

    `target` is a cause, a reason or `valid`; `fix` is the fix pattern that the cue points to.
    """

    target: str
    pattern: re.Pattern[str]
    channels: tuple[str, ...]
    weight: float
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """That cue number `cue` hit, at `start` of segment number `segment` (None: the thread as a whole)."""

    cue: int
    segment: int | None
    start: int = 0


class Rules:
    """The cues of a codebook, ready to score; StudyError if one cannot be used."""

    def __init__(self, codebook: Codebook) -> None:
        self.codebook = codebook
        rows = enumerate(codebook.cues, 1)
        self.cues = tuple(cue for number, row in rows for cue in _to_cues(row, number, codebook))

    @cached_property
    def cause_weights(self) -> Array:
        """The weight of each cue for each cause (cues × causes)."""
        columns = {code: (number, 1.0) for number, code in enumerate(self.codebook.cause_codes)}
        return self._weights(columns, len(columns))

    @cached_property
    def valid_weights(self) -> Array:
        """The weight of each cue for passing each step of validity (cues × steps).

        A cue for `valid` speaks for the first step, one for a reason against the step of that reason.
        """
        reasons = {code: (self.codebook.failed_step(code), -1.0) for code in self.codebook.reason_codes}
        return self._weights({VALID: (0, 1.0), **reasons}, len(self.codebook.steps))

    def _weights(self, columns: Mapping[str, tuple[int, float]], size: int) -> Array:
        weights = np.zeros((len(self.cues), size))
        for number, cue in enumerate(self.cues):
            if cue.target in columns:
                column, sign = columns[cue.target]
                weights[number, column] = sign * cue.weight
        return weights

    @cached_property
    def _needs(self) -> tuple[Needs, ...]:
        return tuple(Needs.of(cue.pattern) for cue in self.cues)

    def find(self, segments: tuple[Segment, ...]) -> tuple[Hit, ...]:
        """Return the first hit of each cue that hits, in cue order."""
        held = tuple(runs_of(segment.text) for segment in segments)
        anywhere = frozenset().union(*held)
        numbers = (number for number, needs in enumerate(self._needs) if needs.met_by(anywhere))
        return tuple(hit for number in numbers if (hit := self._find_one(number, segments, held)))

    def _find_one(self, number: int, segments: tuple[Segment, ...], held: tuple[Runs, ...]) -> Hit | None:
        cue, needs = self.cues[number], self._needs[number]
        if not cue.pattern.pattern:
            return Hit(number, None)
        for place, segment in enumerate(segments):
            read = segment.channel in cue.channels and needs.met_by(held[place])
            if read and (found := cue.pattern.search(segment.text)):
                return Hit(number, place, found.start())
        return None


def _to_cues(row: dict[str, Any], number: int, codebook: Codebook) -> list[Cue]:
    try:
        return _checked_cues(row, codebook)
    except (KeyError, TypeError, ValueError, re.error) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
        raise StudyError(f"codebook {codebook.name}: [[cues]] row {number}: {reason}") from None


def _checked_cues(row: dict[str, Any], codebook: Codebook) -> list[Cue]:
    unknown = row.keys() - {"for", "patterns", "channels", "weight", "fix"}
    if unknown:
        raise ValueError(f"unknown key {sorted(unknown)[0]!r}")
    channels = tuple(row.get("channels", SPOKEN))
    for channel in channels:
        if channel not in CHANNELS:
            raise ValueError(f"channel {channel!r} is not one of {', '.join(CHANNELS)}")
    target = row["for"]
    if target != VALID and target not in (*codebook.cause_codes, *codebook.reason_codes):
        raise ValueError(f"{target!r} is not a cause, a reason or {VALID!r}")
    if row.get("fix") and row["fix"] not in codebook.fix_patterns_of(target):
        raise ValueError(f"fix pattern {row['fix']!r} is not one of {target}'s")
    patterns = [re.compile(pattern, re.IGNORECASE) for pattern in row["patterns"]]
    return [Cue(target, pattern, channels, float(row["weight"]), row.get("fix")) for pattern in patterns]
