"""The model: one linear head for validity, one for the root cause, and shares for the fix patterns.

Each head starts from the cues of the codebook and learns from labels what they miss; how much it
may learn, and how sure it may sound, is chosen by cross-validation within its own training set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_matrix
from scipy.special import log_softmax, softmax
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from db.records import Label
from pipeline.codebook import Codebook
from pipeline.features import COLUMNS, FACTS, Features, Floats
from pipeline.logistic import PriorLogistic
from pipeline.rules import Rules
from pipeline.weighting import Space, Weighting

SEED = 20220731
PENALTIES = (0.1, 0.3, 1.0, 3.0)
INNER_FOLDS = 3
FIX_SMOOTHING = 1.0
CUE_FIX = 0.6  # what one cue of a fix pattern adds to its log-odds
CHUNK = 4_000  # rows scored at a time


@dataclass(frozen=True, eq=False)
class Head:
    """A linear head: weights of columns (sparse), facts and cues, and an intercept, for k classes."""

    text: csr_matrix
    facts: Floats
    cues: Floats
    intercept: Floats

    @cached_property
    def _dense(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.asarray(self.text.toarray(), dtype=np.float32)

    def scores(self, text: csr_matrix, features: Features) -> Floats:
        """Return the log-odds of each class for weighted rows (n × k), up to a constant a row."""
        dense = features.facts @ self.facts + features.cues @ self.cues + self.intercept
        return np.asarray(text @ self._dense + dense) if self.text.nnz else np.asarray(dense)


@dataclass(frozen=True, eq=False)
class Trained:
    """A head and how it was fitted: the penalty and the temperature that cross-validation chose."""

    head: Head
    penalty: float
    temperature: float


@dataclass(frozen=True, eq=False)
class Model:
    """A whole model; `fixes` maps each cause to the share of each of its fix patterns."""

    weighting: Weighting
    valid: Head
    cause: Head
    fixes: dict[str, dict[str, float]]
    settings: dict[str, float]

    def predict(self, features: Features) -> tuple[Floats, Floats]:
        """Return the probability of validity (n) and of each cause, given validity (n × causes)."""
        parts = [self._predict(features.take(slice(i, i + CHUNK))) for i in range(0, len(features), CHUNK)]
        if not parts:
            return np.zeros(0), np.zeros((0, self.cause.intercept.size))
        return np.concatenate([valid for valid, _ in parts]), np.concatenate([causes for _, causes in parts])

    def _predict(self, features: Features) -> tuple[Floats, Floats]:
        text = self.weighting.transform(features.counts)
        valid = softmax(self.valid.scores(text, features), axis=1)[:, 1]
        return np.asarray(valid), np.asarray(softmax(self.cause.scores(text, features), axis=1))


def rules_model(rules: Rules) -> Model:
    """Return the model before any label: the cues alone."""
    weighting = Weighting(np.zeros(COLUMNS, dtype=np.float32))
    valid, cause = _rules_head(valid_prior(rules)), _rules_head(rules.cause_weights)
    return Model(weighting, valid, cause, fix_shares((), rules.codebook), {"labels": 0})


def _rules_head(cues: Floats) -> Head:
    k = cues.shape[1]
    return Head(csr_matrix((COLUMNS, k), dtype=np.float32), np.zeros((len(FACTS), k)), cues, np.zeros(k))


def valid_prior(rules: Rules) -> Floats:
    """Return what each cue adds to the log-odds of (not valid, valid)."""
    half = rules.valid_weights[:, 0] / 2
    return np.stack([-half, half], axis=1)


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled documents: their features, labels and groups, row by row."""

    features: Features
    labels: tuple[Label, ...]
    groups: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Any) -> Examples:
        """Return the examples of some rows (indices)."""
        return Examples(self.features.take(rows), tuple(self.labels[row] for row in rows), self.groups[rows])

    def targets(self, codebook: Codebook) -> tuple[Any, Any]:
        """Return validity (n, 0 or 1) and the number of the cause (n, -1 for none)."""
        numbers = {code: number for number, code in enumerate(codebook.cause_codes)}
        valid = np.array([int(label.valid) for label in self.labels], dtype=int)
        return valid, np.array([numbers.get(label.root_cause or "", -1) for label in self.labels], dtype=int)


def train(examples: Examples, rules: Rules, *, settings: dict[str, float] | None = None, seed: int = SEED) -> Model:
    """Fit both heads; `settings` of an earlier model spare the cross-validation within."""
    if not len(examples):
        return rules_model(rules)
    settings = settings if settings and "valid_penalty" in settings else {}
    with threadpool_limits(1):
        space = Space.fit(examples.features, seed)
        valid, causes = examples.targets(rules.codebook)
        everything = np.arange(len(examples))
        named = np.flatnonzero(causes >= 0)
        first = _fit(space, examples, valid, everything, valid_prior(rules), _chosen(settings, "valid"), seed)
        second = _fit(space, examples, causes, named, rules.cause_weights, _chosen(settings, "cause"), seed)
    chosen = {"labels": float(len(examples))}
    for name, trained in (("valid", first), ("cause", second)):
        chosen |= {f"{name}_penalty": trained.penalty, f"{name}_temperature": trained.temperature}
    fixes = fix_shares(examples.labels, rules.codebook)
    return Model(space.weighting, first.head, second.head, fixes, chosen)


def _chosen(settings: dict[str, float], name: str) -> tuple[float, float] | None:
    if not settings:
        return None
    return settings[f"{name}_penalty"], settings[f"{name}_temperature"]


def _fit(
    space: Space,
    examples: Examples,
    targets: Any,
    rows: Any,
    cue_weights: Floats,
    chosen: tuple[float, float] | None,
    seed: int,
) -> Trained:
    """Fit one head on some rows; without any row it keeps to the cues."""
    chosen_rows = examples.take(rows)
    prior = chosen_rows.features.cues @ cue_weights
    coordinates = space.project(chosen_rows.features)
    labels = targets[rows]
    penalty, temperature = chosen or _choose(coordinates, labels, prior, chosen_rows.groups, seed)
    if not len(rows):
        return Trained(_rules_head(cue_weights), penalty, temperature)
    fitted = PriorLogistic(cue_weights.shape[1], penalty).fit(coordinates, labels, prior)
    text, facts, cues = space.weights(fitted.weights_ / temperature)
    cues = cues + fitted.scale_ * cue_weights / temperature
    return Trained(Head(text.astype(np.float32), facts, cues, fitted.intercept_ / temperature), penalty, temperature)


def _choose(coordinates: Floats, labels: Any, prior: Floats, groups: Any, seed: int) -> tuple[float, float]:
    """Return the penalty with the smallest loss on rows left out, and the temperature that suits it."""
    folds = inner_folds(labels, groups, seed)
    if not folds:
        return 1.0, 1.0
    losses = {}
    for penalty in PENALTIES:
        scores = np.zeros_like(prior)
        for train_rows, test_rows in folds:
            fitted = PriorLogistic(prior.shape[1], penalty).fit(coordinates[train_rows], labels[train_rows], prior[train_rows])
            scores[test_rows] = fitted.decision_function(coordinates[test_rows], prior[test_rows])
        temperature = _temperature(scores, labels)
        losses[penalty] = (_log_loss(scores / temperature, labels), temperature)
    best = min(losses, key=lambda penalty: (round(losses[penalty][0], 6), -penalty))
    return best, losses[best][1]


def inner_folds(labels: Any, groups: Any, seed: int) -> list[tuple[Any, Any]]:
    """Return the folds within a training set, by group; none where there are too few groups."""
    if len(labels) < 4 * INNER_FOLDS or len(set(groups)) < 2 * INNER_FOLDS or len(set(labels)) < 2:
        return []
    splitter = StratifiedGroupKFold(INNER_FOLDS, shuffle=True, random_state=seed)
    return [(a, b) for a, b in quiet_split(splitter, labels, groups) if len(a) and len(b)]


def quiet_split(splitter: Any, labels: Any, groups: Any) -> list[tuple[Any, Any]]:
    """Split by a scikit-learn splitter without its warning that a class has fewer members than folds."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return list(splitter.split(np.zeros(len(labels)), labels, groups))


def _temperature(scores: Floats, labels: Any) -> float:
    found = minimize_scalar(
        lambda log: _log_loss(scores / np.exp(log), labels), bounds=(-0.7, 1.4), method="bounded"
    )
    return float(np.exp(found.x))


def _log_loss(scores: Floats, labels: Any) -> float:
    return float(-log_softmax(scores, axis=1)[np.arange(len(labels)), labels].mean())


def fix_shares(labels: Sequence[Label], codebook: Codebook) -> dict[str, dict[str, float]]:
    """Return, for each cause, the share of each of its fix patterns among the labels, smoothed."""
    shares = {}
    for cause in codebook.cause_codes:
        counts = {pattern: FIX_SMOOTHING for pattern in codebook.fix_patterns_of(cause)}
        for label in labels:
            if label.root_cause == cause and label.fix_pattern in counts:
                counts[label.fix_pattern] += 1
        total = sum(counts.values())
        shares[cause] = {pattern: count / total for pattern, count in counts.items()}
    return shares


def fix_probabilities(model: Model, rules: Rules, causes: Floats, cues: Floats) -> dict[str, float]:
    """Return the probability of each fix pattern of one document, from its causes and its cues."""
    found: dict[str, float] = {}
    for code, share in zip(rules.codebook.cause_codes, causes, strict=True):
        odds = dict(model.fixes.get(code, {}))
        for number in np.flatnonzero(cues):
            cue = rules.cues[number]
            if cue.target == code and cue.fix in odds:
                odds[cue.fix] *= float(np.exp(CUE_FIX))
        total = sum(odds.values())
        for pattern, value in odds.items():
            found[pattern] = found.get(pattern, 0.0) + float(share) * value / total
    return found
