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
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from db.errors import NothingToDo
from pipeline.codebook import Codebook
from pipeline.features import WIDTH, Floats
from pipeline.model import SEED, Examples, quiet_split, rules_model, train
from pipeline.rules import Rules

FOLDS = 5
BINS = 10
RESAMPLES = 1_000
RECALL = 0.95
APART = "other"  # the broad type whose causes are reported but not averaged in macro-F1
PLAIN_C = 10.0
Predicted = tuple[Floats, Floats]  # probability of validity (n), and of each cause (n × causes)


@dataclass(frozen=True, eq=False)
class Scored:
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
        name: {**_validity(found.valid, valid), **_causes(found.causes, causes, codebook, seed)}
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
        "per_class": _per_class(scored["model"].causes, causes, codebook),
        "confusion": _confusion(scored["model"].causes, causes, codebook),
    }


def cross_validate(
    examples: Examples,
    codebook: Codebook,
    *,
    repeats: int,
    seed: int = SEED,
    methods: tuple[str, ...] = ("model", "rules", "plain", "majority", "stratified"),
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Scored]:
    """Return what each method predicts for every example when it has not seen its group."""
    rules = Rules(codebook)
    valid, causes = examples.targets(codebook)
    shape = (repeats, len(examples))
    scored = {name: Scored(np.zeros(shape), np.zeros((*shape, len(codebook.causes)))) for name in methods}
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


def _by_model(known: Examples, unseen: Examples, rules: Rules, seed: int) -> Predicted:
    return train(known, rules, seed=seed).predict(unseen.features)


def _by_rules(known: Examples, unseen: Examples, rules: Rules, seed: int) -> Predicted:
    return rules_model(rules).predict(unseen.features)


def _shares(known: Examples, rules: Rules) -> tuple[float, Floats]:
    valid, causes = known.targets(rules.codebook)
    counts = np.bincount(causes[causes >= 0], minlength=len(rules.codebook.causes)).astype(float)
    return float(valid.mean()), counts / max(counts.sum(), 1)


def _by_majority(known: Examples, unseen: Examples, rules: Rules, seed: int) -> Predicted:
    valid, causes = _shares(known, rules)
    return np.full(len(unseen), valid), np.tile(causes, (len(unseen), 1))


def _by_stratified_guess(known: Examples, unseen: Examples, rules: Rules, seed: int) -> Predicted:
    valid, causes = _shares(known, rules)
    random = np.random.default_rng(seed)
    guesses = np.eye(len(causes))[random.choice(len(causes), len(unseen), p=causes if causes.any() else None)]
    return (random.random(len(unseen)) < valid).astype(float), 0.9 * guesses + 0.1 * causes


def _by_plain(known: Examples, unseen: Examples, rules: Rules, seed: int) -> Predicted:
    """TF-IDF of words and characters of all channels alike, and logistic regression."""
    counts = _one_block(known), _one_block(unseen)
    weighting = _PlainWeighting(counts[0])
    rows, others = weighting(counts[0]), weighting(counts[1])
    valid, causes = known.targets(rules.codebook)
    predicted = np.full((len(unseen), len(rules.codebook.causes)), 1e-6)
    named = np.flatnonzero(causes >= 0)
    with threadpool_limits(1):
        validity = _plain_probabilities(rows, valid, others, 2)[:, 1]
        if len(named):
            predicted += _plain_probabilities(rows[named], causes[named], others, predicted.shape[1])
    return validity, predicted / predicted.sum(axis=1, keepdims=True)


def _plain_probabilities(rows: Any, labels: Any, others: Any, k: int) -> Floats:
    """Fit in the space that the rows span: the same estimate as in all columns, at a fraction of the time."""
    found = np.zeros((others.shape[0], k))
    if len(set(labels)) < 2:
        found[:, labels[0]] = 1
        return found
    values, vectors = np.linalg.eigh((rows @ rows.T).toarray())
    kept = values > 1e-7 * values.max()
    basis = vectors[:, kept] / np.sqrt(values[kept])
    fitted = LogisticRegression(C=PLAIN_C, max_iter=500).fit((rows @ rows.T) @ basis, labels)
    found[:, fitted.classes_] = fitted.predict_proba((others @ rows.T) @ basis)
    return found


def _one_block(examples: Examples) -> Any:
    """Return the counts with the blocks added up: what a model without channels would see."""
    from scipy.sparse import csr_matrix

    counts = examples.features.counts
    folded = csr_matrix((counts.data, counts.indices % WIDTH, counts.indptr), shape=(counts.shape[0], WIDTH))
    folded.sum_duplicates()
    return folded


class _PlainWeighting:
    """scikit-learn's TF-IDF, fitted on some counts."""

    def __init__(self, counts: Any) -> None:
        from sklearn.feature_extraction.text import TfidfTransformer

        self._transformer = TfidfTransformer(sublinear_tf=True).fit(counts)

    def __call__(self, counts: Any) -> Any:
        return self._transformer.transform(counts)


METHODS: dict[str, Callable[[Examples, Examples, Rules, int], Predicted]] = {
    "model": _by_model,
    "rules": _by_rules,
    "plain": _by_plain,
    "majority": _by_majority,
    "stratified": _by_stratified_guess,
}


def _validity(predicted: Floats, valid: Any) -> dict[str, float | None]:
    """Average precision, and work saved at 95 % recall over reading in random order, over the repeats."""
    if not 0 < valid.sum() < len(valid):
        return {"average_precision": None, "work_saved_at_95": None}
    precision = [average_precision_score(valid, one) for one in predicted]
    saved = [work_saved(valid, one) for one in predicted]
    return {"average_precision": float(np.mean(precision)), "work_saved_at_95": float(np.mean(saved))}


def work_saved(valid: Any, predicted: Floats, recall: float = RECALL) -> float:
    """Return the share of threads that need no reading for that recall, less what chance would spare."""
    order = np.argsort(-predicted, kind="stable")
    found = np.cumsum(valid[order])
    read = int(np.searchsorted(found, np.ceil(recall * valid.sum()))) + 1
    return float(1 - read / len(valid) - (1 - recall))


def _causes(predicted: Floats, causes: Any, codebook: Codebook, seed: int) -> dict[str, Any]:
    """Macro-F1 with its bootstrap interval, accuracy, top 3 and calibration, over the valid threads."""
    rows = np.flatnonzero(causes >= 0)
    if not len(rows):
        return dict.fromkeys(("macro_f1", "macro_f1_interval", "accuracy", "top_3", "calibration"))
    truth, found = causes[rows], predicted[:, rows]
    top = np.argsort(-found, axis=2, kind="stable")
    counted = averaged_classes(truth, codebook)
    return {
        "macro_f1": float(np.mean([_macro_f1(truth, one[:, 0], counted) for one in top])),
        "macro_f1_interval": _bootstrap(truth, top[:, :, 0], counted, seed),
        "accuracy": float((top[:, :, 0] == truth).mean()),
        "top_3": float((top[:, :, :3] == truth[None, :, None]).any(axis=2).mean()),
        "calibration": calibration(found, truth, seed),
    }


def averaged_classes(truth: Any, codebook: Codebook) -> list[int]:
    """Return the causes that macro-F1 averages: those with a label, but for the residual type."""
    return [n for n, cause in enumerate(codebook.causes) if cause.type != APART and (truth == n).any()]


def _macro_f1(truth: Any, found: Any, counted: list[int]) -> float:
    return float(f1_score(truth, found, labels=counted, average="macro", zero_division=0))


def _bootstrap(truth: Any, found: Any, counted: list[int], seed: int) -> list[float]:
    """Return the 95 % interval of macro-F1 over resampled threads, each with a repeat drawn at random."""
    random = np.random.default_rng(seed)
    values = []
    for _ in range(RESAMPLES):
        rows = random.integers(len(truth), size=len(truth))
        one = found[random.integers(len(found))]
        values.append(_fast_macro_f1(truth[rows], one[rows], counted))
    return [float(value) for value in np.quantile(values, [0.025, 0.975])]


def _fast_macro_f1(truth: Any, found: Any, counted: list[int]) -> float:
    size = int(max(truth.max(), found.max())) + 1
    table = np.bincount(truth * size + found, minlength=size * size).reshape(size, size)
    present = [n for n in counted if n < size and table[n].sum()]
    scores = [2 * table[n, n] / (table[n].sum() + table[:, n].sum()) for n in present]
    return float(np.mean(scores)) if scores else 0.0


def calibration(predicted: Floats, truth: Any, seed: int) -> dict[str, Any]:
    """Return the pooled expected calibration error, what a perfect model shows at this n, and the bins.

    `bins` holds [mean probability, share right, threads] of each bin that has threads.
    """
    mean = predicted.mean(axis=0)
    sure, right = mean.max(axis=1), (mean.argmax(axis=1) == truth).astype(float)
    random = np.random.default_rng(seed)
    noise = [
        _calibration_error(sure, (random.random(len(sure)) < sure).astype(float)) for _ in range(RESAMPLES)
    ]
    return {
        "error": _calibration_error(sure, right),
        "noise_floor": float(np.mean(noise)),
        "noise_95": float(np.quantile(noise, 0.95)),
        "bins": _calibration_bins(sure, right),
    }


def _calibration_error(sure: Floats, right: Floats) -> float:
    gaps = np.bincount(_bin(sure), weights=sure - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(sure))


def _calibration_bins(sure: Floats, right: Floats) -> list[list[float]]:
    counts = np.bincount(_bin(sure), minlength=BINS)
    sums = (np.bincount(_bin(sure), weights=values, minlength=BINS) for values in (sure, right))
    return [
        [float(probability / n), float(share / n), int(n)]
        for probability, share, n in zip(*sums, counts, strict=True)
        if n
    ]


def _bin(sure: Floats) -> Any:
    return np.minimum((sure * BINS).astype(int), BINS - 1)


def _per_class(predicted: Floats, causes: Any, codebook: Codebook) -> list[dict[str, Any]]:
    rows = np.flatnonzero(causes >= 0)
    if not len(rows):
        return []
    truth = np.tile(causes[rows], len(predicted))
    found = predicted[:, rows].argmax(axis=2).ravel()
    numbers = list(range(len(codebook.causes)))
    scores = precision_recall_fscore_support(truth, found, labels=numbers, zero_division=0)
    return [
        {
            "code": code,
            "precision": float(p),
            "recall": float(r),
            "f1": float(f),
            "labels": int(n) // len(predicted),
        }
        for code, p, r, f, n in zip(codebook.cause_codes, *scores, strict=True)
    ]


def _confusion(predicted: Floats, causes: Any, codebook: Codebook) -> list[list[float]]:
    """Return the mean number of threads of each cause (rows) that were given each cause (columns)."""
    rows = np.flatnonzero(causes >= 0)
    numbers = list(range(len(codebook.causes)))
    tables = [
        confusion_matrix(causes[rows], one[rows].argmax(axis=1), labels=numbers)
        for one in predicted
        if len(rows)
    ]
    return [[float(cell) for cell in row] for row in np.mean(tables, axis=0)] if tables else []


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


def _chances(scored: Scored) -> Floats:
    """Return the probability of each outcome (n × 1 + causes): not valid, or valid with a cause."""
    valid, causes = scored.valid.mean(axis=0), scored.causes.mean(axis=0)
    return np.column_stack([1 - valid, valid[:, None] * causes])


def evaluation_lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures as lines for people."""
    lines = [
        f"{figures['labels']} labels ({figures['valid']} valid) in {figures['groups']} groups; "
        f"{figures['repeats']} x {figures['folds']} folds by group",
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
