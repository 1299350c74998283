"""How good the proposals are: repeated cross-validation, with baselines in the same folds.

Folds are stratified by label and never part a group (a repository, or threads that read almost the
same). Everything that is learned is learned within the fold: document frequencies, penalties,
temperatures, and the blend of cues and data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from db.errors import NothingToDo
from pipeline.baselines import METHODS
from pipeline.codebook import Codebook
from pipeline.features import Floats
from pipeline.metrics import cause_figures, class_figures, confusion, validity_figures
from pipeline.model import SEED, Examples, quiet_split
from pipeline.rules import Rules

FOLDS = 5


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What one method predicted out of fold: for each repeat, validity (n) and causes (n × causes)."""

    valid: Floats
    causes: Floats


def evaluate(
    examples: Examples,
    codebook: Codebook,
    *,
    repeats: int = 10,
    seed: int = SEED,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Return every figure as one JSON-ready document; NothingToDo if there are too few labels."""
    valid, causes = examples.targets(codebook)
    scored = cross_validate(examples, codebook, repeats=repeats, seed=seed, progress=progress)
    measured = {
        name: {**validity_figures(found.valid, valid), **cause_figures(found.causes, causes, codebook, seed)}
        for name, found in scored.items()
    }
    return {
        "labels": len(examples),
        "valid": int(valid.sum()),
        "groups": len(set(examples.groups)),
        "folds": FOLDS,
        "repeats": repeats,
        "seed": seed,
        "codebook": codebook.digest,
        "methods": measured,
        "per_class": class_figures(scored["model"].causes, causes, codebook),
        "confusion": confusion(scored["model"].causes, causes, codebook),
    }


def cross_validate(
    examples: Examples,
    codebook: Codebook,
    *,
    repeats: int,
    seed: int = SEED,
    methods: tuple[str, ...] = ("model", "rules", "plain", "majority", "stratified"),
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, OutOfFold]:
    """Return what each method predicts for every example when it has not seen its group."""
    rules = Rules(codebook)
    valid, causes = examples.targets(codebook)
    shape = (repeats, len(examples))
    scored = {name: OutOfFold(np.zeros(shape), np.zeros((*shape, len(codebook.causes)))) for name in methods}
    for repeat in range(repeats):
        for known, unseen in _folds(np.where(valid, causes + 1, -1), examples.groups, seed + repeat):
            for name in methods:
                predicted = METHODS[name](examples.take(known), examples.take(unseen), rules, seed + repeat)
                scored[name].valid[repeat, unseen], scored[name].causes[repeat, unseen] = predicted
        progress(f"{repeat + 1} of {repeats} repeats")
    return scored


def _folds(strata: Any, groups: Any, seed: int) -> Iterator[tuple[Any, Any]]:
    if len(set(groups)) < FOLDS or max(np.unique(strata, return_counts=True)[1]) < FOLDS:
        raise NothingToDo(
            f"{len(strata)} labels of {len(set(groups))} groups are too few for {FOLDS} folds; label more"
        )
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    yield from quiet_split(splitter, strata, groups)


def suspects(examples: Examples, codebook: Codebook, *, repeats: int = 3) -> list[tuple[int, dict[str, Any]]]:
    """Return (row, what is odd) of the labels that disagree with predictions out of fold, oddest first."""
    scored = cross_validate(examples, codebook, repeats=repeats, methods=("model",))["model"]
    valid, causes = examples.targets(codebook)
    found = []
    for row, chances in enumerate(_chances(scored)):
        label = 0 if not valid[row] else causes[row] + 1
        rather = int(chances.argmax())
        if label != rather and label >= 0:
            names = ("not valid", *codebook.cause_codes)
            told = {"label": names[label], "rather": names[rather], "probability": float(chances[label])}
            found.append((row, told))
    return sorted(found, key=lambda item: (item[1]["probability"], item[0]))


def _chances(scored: OutOfFold) -> Floats:
    """Return the probability of each outcome (n × 1 + causes): not valid, or valid with a cause."""
    valid, causes = scored.valid.mean(axis=0), scored.causes.mean(axis=0)
    return np.column_stack([1 - valid, valid[:, None] * causes])


def evaluation_lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures as lines for people."""
    lines = [
        f"{figures['labels']} labels ({figures['valid']} valid) in {figures['groups']} groups; "
        f"{figures['repeats']} x {figures['folds']} folds by group",
        *_active_lines(figures),
        f"{'':12}{'macro-F1':>10}{'95 %':>16}{'accuracy':>10}{'top 3':>8}"
        f"{'AP valid':>10}{'saved@95':>10}{'ECE':>8}",
    ]
    for name, row in figures["methods"].items():
        lines.append(f"{name:12}" + _row(row))
    calibrated = figures["methods"]["model"]["calibration"]
    if calibrated:
        lines.append(
            f"a perfectly calibrated model would show an ECE of {calibrated['noise_floor']:.3f} here "
            f"(95 %: {calibrated['noise_95']:.3f})"
        )
    lines.append(f"{'':12}{'precision':>10}{'recall':>10}{'F1':>10}{'labels':>8}")
    for row in figures["per_class"]:
        values = "".join(f"{row[key]:10.3f}" for key in ("precision", "recall", "f1"))
        lines.append(f"{row['code']:12}{values}{row['labels']:8}")
    return lines


def _active_lines(figures: dict[str, Any]) -> list[str]:
    if not figures.get("active"):
        return []
    return [f"{figures['active']} of the labels are of threads that a model's uncertainty drew, not chance"]


def _row(row: dict[str, Any]) -> str:
    low, high = row["macro_f1_interval"] or (None, None)
    interval = f"{low:.3f}-{high:.3f}" if low is not None else "-"
    cells = [
        _number(row["macro_f1"], 10),
        f"{interval:>16}",
        _number(row["accuracy"], 10),
        _number(row["top_3"], 8),
    ]
    cells += [_number(row["average_precision"], 10), _number(row["work_saved_at_95"], 10)]
    return "".join(cells) + _number(row["calibration"]["error"] if row["calibration"] else None, 8)


def _number(value: float | None, width: int) -> str:
    return f"{value:{width}.3f}" if value is not None else f"{'-':>{width}}"
