"""The model: one linear head for validity, one for the root cause, and shares for the fix patterns.

Each head starts from the cues of the codebook and learns from labels what they miss; how much it
may learn, and how sure it may sound, is chosen by cross-validation within its own training set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from db.records import Label
from pipeline.codebook import Codebook
from pipeline.dataset import FACTS
from pipeline.features import Features, Floats
from pipeline.logistic import PriorLogistic
from pipeline.rules import Rules
from pipeline.weighting import Space, Weighting

SEED = 20220731
PENALTIES = (0.1, 0.3, 1.0, 3.0)
TRUSTS = (1.0, 0.6, 0.3, 0.0)  # how much of the cues' opinion a head starts from
INNER_FOLDS = 3
FIX_SMOOTHING = 1.0
CUE_FIX = 0.6  # what one cue of a fix pattern adds to its log-odds
CHUNK = 4_000  # rows scored at a time


@dataclass(frozen=True, eq=False)
class Head:
    """A linear head: weights of the known columns, facts and cues, and an intercept, for k classes."""

    text: np.ndarray[Any, np.dtype[np.float32]]
    facts: Floats
    cues: Floats
    intercept: Floats

    def rest(self, features: Features) -> Floats:
        """Return the log-odds of each class (n × k) that facts and cues give, with the intercept."""
        return np.asarray(features.facts @ self.facts + features.cues @ self.cues + self.intercept)


@dataclass(frozen=True, slots=True)
class Choice:
    """What cross-validation chose for a head: the penalty, the trust in the cues, the temperature."""

    penalty: float = 1.0
    trust: float = 1.0
    temperature: float = 1.0


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

    @cached_property
    def _text(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The text weights of both heads side by side: one product scores both."""
        return np.hstack([self.valid.text, self.cause.text])

    def _predict(self, features: Features) -> tuple[Floats, Floats]:
        text = self.weighting.transform(features.counts) @ self._text
        k = self.valid.intercept.size
        valid = softmax(text[:, :k] + self.valid.rest(features), axis=1)[:, 1]
        return np.asarray(valid), np.asarray(softmax(text[:, k:] + self.cause.rest(features), axis=1))


def rules_model(rules: Rules) -> Model:
    """Return the model before any label: the cues alone."""
    weighting = Weighting(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
    valid, cause = _rules_head(valid_prior(rules)), _rules_head(rules.cause_weights)
    return Model(weighting, valid, cause, fix_shares((), rules.codebook), {})


def _rules_head(cues: Floats, columns: int = 0) -> Head:
    k = cues.shape[1]
    return Head(np.zeros((columns, k), dtype=np.float32), np.zeros((len(FACTS), k)), cues, np.zeros(k))


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


def train(
    examples: Examples, rules: Rules, *, settings: dict[str, float] | None = None, seed: int = SEED
) -> Model:
    """Fit both heads; `settings` of an earlier model spare the cross-validation within."""
    if not len(examples):
        return rules_model(rules)
    settings = settings if settings and "valid_penalty" in settings else {}
    with threadpool_limits(1):
        space = Space.fit(examples.features, seed)
        valid, causes = examples.targets(rules.codebook)
        everything = np.arange(len(examples))
        named = np.flatnonzero(causes >= 0)
        known = (_chosen(settings, "valid"), _chosen(settings, "cause"))
        first, choice = _fit(space, examples, valid, everything, valid_prior(rules), known[0], seed)
        second, other = _fit(space, examples, causes, named, rules.cause_weights, known[1], seed)
    chosen = {f"valid_{name}": value for name, value in asdict(choice).items()}
    chosen |= {f"cause_{name}": value for name, value in asdict(other).items()}
    return Model(space.weighting, first, second, fix_shares(examples.labels, rules.codebook), chosen)


def _chosen(settings: dict[str, float], name: str) -> Choice | None:
    if not settings:
        return None
    return Choice(*(settings[f"{name}_{field}"] for field in ("penalty", "trust", "temperature")))


def _fit(
    space: Space,
    examples: Examples,
    targets: Any,
    rows: Any,
    cue_weights: Floats,
    chosen: Choice | None,
    seed: int,
) -> tuple[Head, Choice]:
    """Fit one head on some rows; without any row it keeps to the cues."""
    own = examples.take(rows)
    if not len(own):
        return _rules_head(cue_weights, len(space.weighting.columns)), chosen or Choice()
    prior = own.features.cues @ cue_weights
    coordinates = space.coordinates[rows]
    labels = targets[rows]
    choice = chosen or _choose(coordinates, labels, prior, own.groups, seed)
    fitted = PriorLogistic(cue_weights.shape[1], choice.penalty).fit(
        coordinates, labels, choice.trust * prior
    )
    text, facts, cues = space.weights(fitted.weights_ / choice.temperature)
    cues = cues + choice.trust * cue_weights / choice.temperature
    return Head(text.astype(np.float32), facts, cues, fitted.intercept_ / choice.temperature), choice


def _choose(coordinates: Floats, labels: Any, prior: Floats, groups: Any, seed: int) -> Choice:
    """Return what makes the smallest loss on rows left out: first the trust, then the penalty."""
    folds = inner_folds(labels, groups, seed)
    if not folds:
        return Choice()

    def tried(penalty: float, trust: float) -> tuple[float, Choice]:
        scores = np.zeros_like(prior)
        for known, unseen in folds:
            model = PriorLogistic(prior.shape[1], penalty).fit(
                coordinates[known], labels[known], trust * prior[known]
            )
            scores[unseen] = model.decision_function(coordinates[unseen], trust * prior[unseen])
        temperature = _temperature(scores, labels)
        return round(_log_loss(scores / temperature, labels), 6), Choice(penalty, trust, temperature)

    trust = min((tried(0.3, trust) for trust in TRUSTS), key=lambda found: found[0])[1].trust
    return min((tried(penalty, trust) for penalty in PENALTIES), key=lambda found: found[0])[1]


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
        counts = dict.fromkeys(codebook.fix_patterns_of(cause), FIX_SMOOTHING)
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
