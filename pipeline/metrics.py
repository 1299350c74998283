"""The figures of predictions made out of fold: precision, F1, calibration, confusion, work saved."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

from pipeline.codebook import Codebook
from pipeline.features import Floats

BINS = 10
RESAMPLES = 1_000
RECALL = 0.95
APART = "other"  # the broad type whose causes are reported but not averaged in macro-F1


def validity_figures(predicted: Floats, valid: Any) -> dict[str, float | None]:
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


def cause_figures(predicted: Floats, causes: Any, codebook: Codebook, seed: int) -> dict[str, Any]:
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


def class_figures(predicted: Floats, causes: Any, codebook: Codebook) -> list[dict[str, Any]]:
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


def confusion(predicted: Floats, causes: Any, codebook: Codebook) -> list[list[float]]:
    """Return the mean number of threads of each cause (rows) that were given each cause (columns)."""
    rows = np.flatnonzero(causes >= 0)
    numbers = list(range(len(codebook.causes)))
    tables = [
        confusion_matrix(causes[rows], one[rows].argmax(axis=1), labels=numbers)
        for one in predicted
        if len(rows)
    ]
    return [[float(cell) for cell in row] for row in np.mean(tables, axis=0)] if tables else []
