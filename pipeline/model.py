"""The model: linear heads for validity and for the root cause, and shares for the fix patterns.

Validity is decided in steps (is it the symptom? is it settled?), each with log-odds of its own, and
a thread is valid if it passes all of them. Each head starts from the cues of the codebook and learns
from labels what they miss; how much it may learn, and how sure it may sound, is chosen by
cross-validation within its own training set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from db.records import Label
from pipeline.codebook import Codebook
from pipeline.dataset import FACTS
from pipeline.features import Features, Floats
from pipeline.logistic import PriorLogistic
from pipeline.rows import Rows
from pipeline.rules import Rules
from pipeline.scoring import Scorer, Sheet, Weighed
from pipeline.space import Space, are_few, sample
from pipeline.weighting import Weighting

SEED = 20220731
PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01)  # the most cautious first
FIRST_PENALTY = 0.3  # with which the trust is chosen
TRUSTS = (1.0, 0.6, 0.3, 0.0)  # how much of the cues' opinion a head starts from
HEAT = 0.2  # standard deviation of the temperature's logarithm before any row is seen
INNER_FOLDS = 3
TRIED = 3_000  # rows at most that a choice is made on
FIX_SMOOTHING = 1.0
FOUND = 2  # training documents at least that a column is found in
CUE_FIX = 0.6  # what one cue of a fix pattern adds to its log-odds
CHUNK = 500  # rows scored at a time


@dataclass(frozen=True, eq=False)
class Head:
    """A linear head: weights of the known columns, facts and cues, and an intercept, for k log-odds."""

    text: np.ndarray[Any, np.dtype[np.float32]]
    facts: Floats
    cues: Floats
    intercept: Floats

    def rest(self, sheet: Sheet) -> Floats:
        """Return the log-odds (n × k) that facts and cues give, with the intercept."""
        return np.asarray(sheet.facts @ self.facts + sheet.cues @ self.cues + self.intercept)


@dataclass(frozen=True, slots=True)
class Choice:
    """What cross-validation chose for a head: the penalty, the trust in the cues, the temperature.

    `shares` are those of the blocks, once they are learned.
    """

    penalty: float = 1.0
    trust: float = 1.0
    temperature: float = 1.0
    shares: list[float] | None = None


@dataclass(frozen=True, eq=False)
class Model:
    """A whole model: `valid` gives the log-odds of passing each step, `cause` those of each cause.

    `fixes` maps each cause to the share of each of its fix patterns.
    """

    weighting: Weighting
    valid: Head
    cause: Head
    fixes: dict[str, dict[str, float]]
    settings: dict[str, Any]

    def predict(self, features: Features) -> tuple[Floats, Floats]:
        """Return the probability of validity (n) and of each cause, given validity (n × causes)."""
        sheets = (Sheet.of(features.take(slice(i, i + CHUNK))) for i in range(0, len(features), CHUNK))
        parts = [self.score(sheet, Weighed.of(sheet, self.weighting)) for sheet in sheets]
        if not parts:
            return np.zeros(0), np.zeros((0, self.cause.intercept.size))
        return np.concatenate([valid for valid, _ in parts]), np.concatenate([causes for _, causes in parts])

    @cached_property
    def _scorer(self) -> Scorer:
        """The text weights of both heads: each step of validity, and each cause against the last."""
        causes = self.cause.text[:, :-1] - self.cause.text[:, -1:]
        return Scorer(self.weighting, np.hstack([self.valid.text, causes]))

    def score(self, sheet: Sheet, weighed: Weighed) -> tuple[Floats, Floats]:
        """Return what `predict` returns, for the documents of a sheet that this model's weighting weighed."""
        text = self._scorer.scores(weighed)
        steps = self.valid.intercept.size
        causes = self.cause.rest(sheet)
        causes[:, :-1] += text[:, steps:]
        valid = expit(text[:, :steps] + self.valid.rest(sheet)).prod(axis=1)
        return np.asarray(valid), np.asarray(softmax(causes, axis=1))


def rules_model(rules: Rules) -> Model:
    """Return the model before any label: the cues alone."""
    weighting = Weighting(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
    valid, cause = _rules_head(rules.valid_weights), _rules_head(rules.cause_weights)
    return Model(weighting, valid, cause, fix_shares((), rules.codebook), {})


def _rules_head(cues: Floats, columns: int = 0) -> Head:
    k = cues.shape[1]
    return Head(np.zeros((columns, k), dtype=np.float32), np.zeros((len(FACTS), k)), cues, np.zeros(k))


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

    def passed(self, codebook: Codebook) -> Any:
        """Return how many steps of validity each thread passed (n): all of them if it is valid."""
        every = len(codebook.steps)
        return np.array(
            [every if label.valid else codebook.failed_step(label.reason) for label in self.labels], dtype=int
        )


def train(
    examples: Examples, rules: Rules, *, settings: dict[str, Any] | None = None, seed: int = SEED
) -> Model:
    """Fit every head; `settings` of an earlier model spare the cross-validation within."""
    if not len(examples):
        return rules_model(rules)
    with threadpool_limits(1):
        weighting = Weighting.fit(examples.features.counts, FOUND)
        rows = Rows.of(examples.features, weighting)
        chosen: dict[str, Any] = {}
        steps = []
        for name, task in _tasks(examples, rules):
            known = _known(settings or {}, name)
            head, choice = _fit(rows, examples, task, known, seed)
            chosen |= {f"{name}_{field}": value for field, value in asdict(choice).items()}
            steps.append(head)
    *valid, cause = steps
    fixes = fix_shares(examples.labels, rules.codebook)
    return Model(weighting, _odds(valid), cause, fixes, chosen)


@dataclass(frozen=True, eq=False)
class Task:
    """What one head learns: the class (n) of each row asked (indices), and the cues' opinion (cues × k)."""

    classes: Any
    rows: Any
    cues: Floats


def _tasks(examples: Examples, rules: Rules) -> Iterator[tuple[str, Task]]:
    """Yield the task of each step of validity, and last that of the root cause, each with its name."""
    passed = examples.passed(rules.codebook)
    for number, weights in enumerate(rules.valid_weights.T):
        opinion = np.outer(weights, (-0.5, 0.5))
        yield f"valid_{number + 1}", Task(passed > number, np.flatnonzero(passed >= number), opinion)
    _, causes = examples.targets(rules.codebook)
    yield "cause", Task(causes, np.flatnonzero(causes >= 0), rules.cause_weights)


def _odds(steps: Sequence[Head]) -> Head:
    """Return heads of two classes each as one head: for each, the log-odds of the second class."""
    text, facts, cues, intercept = (
        np.stack([getattr(head, part)[..., 1] - getattr(head, part)[..., 0] for head in steps], axis=-1)
        for part in ("text", "facts", "cues", "intercept")
    )
    return Head(text, facts, cues, intercept)


def _known(settings: dict[str, Any], name: str) -> Choice | None:
    fields = [f"{name}_{field}" for field in ("penalty", "trust", "temperature", "shares")]
    return Choice(*(settings[field] for field in fields)) if fields[0] in settings else None


def _fit(rows: Rows, examples: Examples, task: Task, known: Choice | None, seed: int) -> tuple[Head, Choice]:
    """Fit one head; without any row it keeps to the cues."""
    if not len(task.rows):
        return _rules_head(task.cues, rows.sums.shape[0]), known or Choice()
    own, labels = rows.take(task.rows), task.classes[task.rows].astype(int)
    prior = examples.features.cues[task.rows] @ task.cues
    choice = known or _choose(own, labels, prior, examples.groups[task.rows], seed)
    space = Space.fit(own, labels, seed, choice.shares)
    fitted = PriorLogistic(prior.shape[1], choice.penalty).fit(
        space.coordinates, labels, choice.trust * prior
    )
    text, facts, cues = rows.parted(space.weights(fitted.weights_ / choice.temperature))
    cues = cues + choice.trust * task.cues / choice.temperature
    head = Head(text.astype(np.float32), facts, cues, fitted.intercept_ / choice.temperature)
    return head, replace(choice, shares=space.shares.tolist())


def _choose(rows: Rows, labels: Any, prior: Floats, groups: Any, seed: int) -> Choice:
    """Return the trust, the penalty and the temperature by the loss on rows left out.

    Where several do about as well the cues keep their trust, and the weights stay small.
    """
    tried_on = sample(len(rows), TRIED, seed)
    rows, labels, prior, groups = rows.take(tried_on), labels[tried_on], prior[tried_on], groups[tried_on]
    folds = inner_folds(labels, groups, seed)
    if not folds:
        return Choice()
    spaces = [Space.fit(rows.take(known), labels[known], seed) for known, _ in folds]
    places = [space.locate(rows.take(unseen)) for space, (_, unseen) in zip(spaces, folds, strict=True)]

    def tried(penalty: float, trust: float) -> tuple[Floats, Choice]:
        scores = np.zeros_like(prior)
        for space, place, (known, unseen) in zip(spaces, places, folds, strict=True):
            model = PriorLogistic(prior.shape[1], penalty).fit(
                space.coordinates, labels[known], trust * prior[known]
            )
            scores[unseen] = model.decision_function(place, trust * prior[unseen])
        temperature = _temperature(scores, labels)
        return _log_losses(scores / temperature, labels), Choice(penalty, trust, temperature)

    trust = _most_cautious([tried(FIRST_PENALTY, trust) for trust in TRUSTS]).trust
    return _most_cautious([tried(penalty, trust) for penalty in PENALTIES])


def _most_cautious(trials: Sequence[tuple[Floats, Choice]]) -> Choice:
    """Return the first choice whose losses (n) are within one standard error of the best one's."""
    best = min((losses for losses, _ in trials), key=np.mean)
    worse = [losses - best for losses, _ in trials]
    return next(
        choice
        for more, (_, choice) in zip(worse, trials, strict=True)
        if more.mean() <= more.std() / np.sqrt(len(more))
    )


def inner_folds(labels: Any, groups: Any, seed: int) -> list[tuple[Any, Any]]:
    """Return the folds within a training set, by group; none where groups or labels of a kind are too few."""
    if len(labels) < 4 * INNER_FOLDS or len(set(groups)) < 2 * INNER_FOLDS:
        return []
    kinds = np.unique(labels, return_counts=True)[1]
    if max(kinds) < INNER_FOLDS or are_few(labels):
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
    """Return what to divide log-odds by; few rows leave it near 1."""
    found = minimize_scalar(
        lambda log: _log_losses(scores / np.exp(log), labels).sum() + (log / HEAT) ** 2 / 2,
        bounds=(-0.7, 1.4),
        method="bounded",
    )
    return float(np.exp(found.x))


def _log_losses(scores: Floats, labels: Any) -> Floats:
    return np.asarray(-log_softmax(scores, axis=1)[np.arange(len(labels)), labels])


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


def fix_probabilities(
    model: Model, rules: Rules, causes: Floats, cues: Floats
) -> tuple[tuple[str, ...], Floats]:
    """Return the fix patterns, and the probability of each (n × patterns) from causes and cues."""
    codes = rules.codebook.cause_codes
    pairs = [(code, fix, share) for code in codes for fix, share in model.fixes.get(code, {}).items()]
    patterns = tuple(sorted({fix for _, fix, _ in pairs}))
    boosts = [[CUE_FIX * ((cue.target, cue.fix) == pair[:2]) for pair in pairs] for cue in rules.cues]
    odds = np.array([share for _, _, share in pairs]) * np.exp(
        cues @ np.array(boosts).reshape(len(rules.cues), len(pairs))
    )
    of_cause = np.array([[code == own for code in codes] for own, _, _ in pairs], dtype=float)
    of_fix = np.array([[fix == own for fix in patterns] for _, own, _ in pairs], dtype=float)
    of_cause, of_fix = of_cause.reshape(-1, len(codes)), of_fix.reshape(-1, len(patterns))
    shares = (causes @ of_cause.T) * odds / ((odds @ of_cause) @ of_cause.T)
    return patterns, shares @ of_fix
