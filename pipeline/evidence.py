"""Evidence: the pieces of a thread that moved its proposal, from the cues and from the words alike.

Every count and every cue belongs to one piece of its thread, the one in which it is met first. So the
weights of the pieces add up to the log-odds of the proposal, but for what facts, intercepts and cues
without a place add: those of each step of validity, plus those of the first cause against the mean of
the others.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.features import BLOCKS, NOWHERE, Floats, Numbers, Trace
from pipeline.model import Model
from pipeline.scoring import Scorer, Sheet, Weighed

SHOWN = 6  # pieces of evidence a proposal
LEAST = 0.05  # log-odds below which a piece moved nothing
SNIPPET = 160  # characters of a piece that are shown


@dataclass(frozen=True, slots=True)
class Traces:
    """Where the counts and cues of a sheet's documents come from.

    `counts` and `cues` number the pieces, row after row; `packed` holds each row's pieces, by `pack`.
    """

    counts: Numbers
    cues: Numbers
    packed: tuple[bytes, ...]


def pack(trace: Trace) -> bytes:
    """Return the pieces of a document as bytes, ready to show; title and tags count as the opening post."""
    shown = (
        f"{position or 0} {' '.join(text[: 2 * SNIPPET].split())[:SNIPPET]}"
        for position, text in trace.pieces
    )
    return zlib.compress("\n".join(shown).encode(errors="replace"), 1)


@dataclass(frozen=True)
class Explainer:
    """Explains the proposals of one model."""

    model: Model

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.model.weighting, self._directions("text"))

    @cached_property
    def _cues(self) -> Numbers:
        return self._directions("cues")

    def _directions(self, part: str) -> Numbers:
        """Return what proposing a cause goes by: validity, and the cause against the mean of the others."""
        steps, causes = getattr(self.model.valid, part), getattr(self.model.cause, part)
        others = (causes.sum(axis=1, keepdims=True) - causes) / max(causes.shape[1] - 1, 1)
        return np.asarray(steps.sum(axis=1, keepdims=True) + causes - others)

    def evidence(
        self, sheet: Sheet, weighed: Weighed, traces: Traces, causes: Floats
    ) -> list[list[dict[str, Any]]]:
        """Return [{text, weight, position}] for each document, the strongest first, equals as they stand.

        `causes` are the probabilities of the causes (n × causes) that the sheet was given.
        """
        weights = self.weights(sheet, weighed, traces, causes.argmax(axis=1))
        strong = np.argsort(-np.abs(weights), axis=1, kind="stable")[:, :SHOWN]
        found = np.take_along_axis(weights, strong, axis=1)
        rows = zip(traces.packed, strong.tolist(), found.tolist(), strict=True)
        return [_shown(packed, zip(numbers, own, strict=True)) for packed, numbers, own in rows]

    def weights(self, sheet: Sheet, weighed: Weighed, traces: Traces, firsts: Numbers) -> Floats:
        """Return what each piece adds to proposing the cause in `firsts` (n): n × pieces of the longest."""
        width = 1 + max(int(of[of != NOWHERE].max(initial=0)) for of in (traces.counts, traces.cues))
        rows = np.repeat(np.arange(len(sheet)), np.diff(sheet.starts[:: len(BLOCKS)]))
        found = self._scorer.contributions(weighed, firsts)
        weights = np.bincount(rows * width + traces.counts, found, len(sheet) * width)
        hit, cues = np.nonzero(sheet.cues)
        placed = traces.cues != NOWHERE
        hit, cues, pieces = hit[placed], cues[placed], traces.cues[placed]
        weights += np.bincount(hit * width + pieces, self._cues[cues, firsts[hit]], len(sheet) * width)
        return np.asarray(weights.reshape(len(sheet), width), dtype=np.float64)


def _shown(packed: bytes, weights: Any) -> list[dict[str, Any]]:
    strong = [(piece, weight) for piece, weight in weights if abs(weight) >= LEAST]
    if not strong:
        return []
    pieces = zlib.decompress(packed).decode().split("\n")
    told = [(*pieces[piece].split(" ", 1), weight) for piece, weight in strong]
    return [
        {"text": text, "weight": round(weight, 3), "position": int(position)}
        for position, text, weight in told
    ]
