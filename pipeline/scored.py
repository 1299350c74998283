"""Score threads from the cache: part by part, on every core, in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np

from db.engine import Database
from db.proposals import cached_rows
from pipeline.dataset import Reference
from pipeline.evidence import Explainer
from pipeline.feature_cache import SCORED, TRACED, FeatureCache
from pipeline.features import Floats, Numbers
from pipeline.model import Model, fix_probabilities
from pipeline.scoring import Weighed

PART = 500  # threads scored at a time
AHEAD = 4  # parts that may wait to be scored
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model says of some threads: validity (n), causes (n × causes), cues (n × cues), and why."""

    references: Sequence[Reference]
    valid: Floats
    causes: Floats
    cues: Floats
    evidence: list[list[dict[str, Any]]]


def scored(
    database: Database,
    cache: FeatureCache,
    model: Model,
    references: Sequence[Reference],
    *,
    explained: bool = False,
) -> Iterator[Scored]:
    """Yield what a model says of threads that are in the cache, in the order in which they lie there.

    The numbers depend on neither parts nor cores. A thread that is not cached is left out.
    """
    columns = SCORED + TRACED if explained else SCORED
    explainer = Explainer(model)

    def score(part: tuple[Sequence[Reference], list[tuple[bytes, ...]]]) -> Scored:
        threads, rows = part
        sheet = cache.sheet(rows)
        weighed = Weighed.of(sheet, model.weighting)
        valid, causes = model.score(sheet, weighed)
        evidence = explainer.evidence(sheet, weighed, cache.traces(rows), causes) if explained else []
        return Scored(threads, valid, causes, sheet.cues, evidence)

    yield from _in_order(score, _parts(database, cache, references, columns))


def _parts(
    database: Database, cache: FeatureCache, references: Sequence[Reference], columns: tuple[str, ...]
) -> Iterator[tuple[Sequence[Reference], list[tuple[bytes, ...]]]]:
    with database.reading() as session:
        lying = sorted(cache.find(session, references), key=itemgetter(0))
    for start in range(0, len(lying), PART):
        part = lying[start : start + PART]
        with database.reading() as session:
            rows = cached_rows(session, [row for row, _ in part], columns)
        yield [reference for _, reference in part], rows


def _in_order(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield the results of `work` in the order of the items, while others are worked on."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def proposal_rows(model: Model, cache: FeatureCache, part: Scored) -> list[dict[str, Any]]:
    """Return what was scored, with its evidence, as rows of Proposal without the model."""
    patterns, fixes = fix_probabilities(model, cache.rules, part.causes, part.cues)
    causes = _ranked(cache.rules.codebook.cause_codes, part.causes)
    fix_patterns = _ranked(patterns, fixes)
    found = zip(part.references, part.valid.tolist(), causes, fix_patterns, part.evidence, strict=True)
    return [
        {
            "thread_id": one.thread_id,
            "valid_probability": round(valid, 6),
            "causes": own_causes,
            "fix_patterns": own_fixes,
            "evidence": evidence,
        }
        for one, valid, own_causes, own_fixes, evidence in found
    ]


def _ranked(codes: Sequence[str], probabilities: Floats) -> list[list[dict[str, Any]]]:
    """Return [{code, probability}] for each row, the highest first, equals by code."""
    names = np.array(codes)
    by_name: Numbers = np.argsort(names, kind="stable")
    order = by_name[np.argsort(-probabilities[:, by_name], axis=1, kind="stable")]
    shown = np.take_along_axis(probabilities, order, axis=1).round(6).tolist()
    return [
        [{"code": code, "probability": value} for code, value in zip(own, values, strict=True)]
        for own, values in zip(names[order].tolist(), shown, strict=True)
    ]
