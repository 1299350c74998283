"""How many labels active order saves: `python tests/bench/active_order.py DATABASE [SEEDS] [STUDY]`.

DATABASE holds a study with final labels. For each seed its labelled threads are parted into two
halves by group; each half in turn is labelled batch by batch from the same random start, once in
random order and once always taking the threads that the model of the labels so far is least certain
of, and the default model is trained again after each batch and scored on the other half. Printed are
the means over the seeds, and how many labels random order needs to get where active order is, with
the 95 % interval of 1,000 resamples of the seeds. A negative number is labels lost; more labels than
the last row has cannot be told, so that row's number less a row's own is the most a row can save.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import average_precision_score, f1_score

from db.engine import open_database
from labeling.active import uncertainty
from pipeline.evaluate import averaged_classes
from pipeline.model import Examples, Model, train
from pipeline.proposing import read_labelled
from pipeline.rules import Rules
from pipeline.study import load_study

START, STEPS, RESAMPLES = 20, 5, 1_000
INTERVAL = [0.025, 0.975]
METRICS = ("validity AP", "cause macro-F1")
Order = Callable[[Model, Examples, np.random.Generator], Any]  # to rows, the next first


def main(database_url: str, seeds: int, study_file: Path | None) -> None:
    """Print the learning curves and the labels saved."""
    study = load_study(study_file)
    database = open_database(database_url)
    examples = read_labelled(database, study).examples
    database.close()
    rules = Rules(study.codebook)
    sizes = _sizes(len(examples) // 2)
    curves = np.array([_curves(examples, rules, sizes, seed) for seed in range(seeds)])
    print(f"{len(examples)} labels, {seeds} seeds x 2 halves, the first {START} labels random")
    for number, metric in enumerate(METRICS):
        if not np.isnan(curves[..., number]).all():
            _report(metric, sizes, curves[..., number])


def _sizes(pool: int) -> list[int]:
    """Return how many labels there are after each batch, up to all of a half that may be somewhat smaller."""
    return [int(size) for size in np.linspace(START, 0.9 * pool, STEPS)]


def _curves(examples: Examples, rules: Rules, sizes: list[int], seed: int) -> Any:
    """Return the scores (order × size × metric) of one seed, the mean over both halves."""
    sides = _halves(examples.groups, np.random.default_rng(seed))
    first, second = (examples.take(np.flatnonzero(sides == side)) for side in (0, 1))
    trials = (Trial(first, second, rules, sizes, seed), Trial(second, first, rules, sizes, seed))
    return np.mean([trial.scores() for trial in trials], axis=0)


def _halves(groups: Any, random: np.random.Generator) -> Any:
    """Return 0 or 1 for each row: whole groups, dealt at random, always to the smaller half."""
    names, members = np.unique(groups, return_inverse=True)
    sizes, counts, side = np.bincount(members), [0, 0], np.zeros(len(names), dtype=int)
    for name in random.permutation(len(names)):
        side[name] = int(counts[1] < counts[0])
        counts[side[name]] += sizes[name]
    return side[members]


@dataclass(frozen=True, eq=False)
class Trial:
    """One half that is labelled batch by batch, and the other half that every model is scored on."""

    pool: Examples
    held_out: Examples
    rules: Rules
    sizes: list[int]
    seed: int

    def scores(self) -> list[list[tuple[float, float]]]:
        """Return the scores of each order after each batch, from the same random start."""
        start = np.random.default_rng(self.seed).permutation(len(self.pool))[:START]
        model = train(self.pool.take(start), self.rules)
        first = _scores(model, self.held_out, self.rules)
        return [[first, *self._further(order, start, model)] for order in ORDERS]

    def _further(self, order: Order, known: Any, model: Model) -> Iterator[tuple[float, float]]:
        for size in self.sizes[1:]:
            free = np.setdiff1d(np.arange(len(self.pool)), known)
            chosen = order(model, self.pool.take(free), np.random.default_rng(self.seed + size))
            known = np.append(known, free[chosen[: size - len(known)]])
            model = train(self.pool.take(known), self.rules)
            yield _scores(model, self.held_out, self.rules)


def _at_random(model: Model, free: Examples, random: np.random.Generator) -> Any:
    return random.permutation(len(free))


def _uncertain_first(model: Model, free: Examples, random: np.random.Generator) -> Any:
    valid, causes = model.predict(free.features)
    found = [uncertainty(float(one), map(float, row)) for one, row in zip(valid, causes, strict=True)]
    return np.argsort(np.negative(found), kind="stable")


ORDERS = (_at_random, _uncertain_first)


def _scores(model: Model, examples: Examples, rules: Rules) -> tuple[float, float]:
    valid, causes = examples.targets(rules.codebook)
    probability, chances = model.predict(examples.features)
    rows = np.flatnonzero(causes >= 0)
    counted = averaged_classes(causes[rows], rules.codebook)
    precision = average_precision_score(valid, probability) if 0 < valid.sum() < len(valid) else np.nan
    found = chances[rows].argmax(axis=1)
    return precision, f1_score(causes[rows], found, labels=counted, average="macro", zero_division=0)


def _report(metric: str, sizes: list[int], curves: Any) -> None:
    """Print one metric: curves are seed × order × size."""
    random = np.random.default_rng(0)
    seeds = random.integers(len(curves), size=(RESAMPLES, len(curves)))
    means, whole = curves[seeds].mean(axis=1), curves.mean(axis=0)
    low, high = np.quantile(means[:, 0, -1] - means[:, 0, 0], INTERVAL)
    print(f"\n{metric}: random order gains {whole[0, -1] - whole[0, 0]:+.3f} [{low:+.3f}, {high:+.3f}]")
    if low <= 0:
        print("that may be nothing, so there are no labels to be saved")
    print("labels   random  active  difference          95 %  labels saved          95 %")
    for at, size in enumerate(sizes):
        first, second = whole[:, at]
        less, more = np.quantile(means[:, 1, at] - means[:, 0, at], INTERVAL)
        line = f"{size:>6}  {first:7.3f} {second:7.3f}     {second - first:+7.3f}  {less:+.3f} {more:+.3f}"
        if low > 0:
            least, most = np.quantile([_saved(sizes, one, at) for one in means], INTERVAL)
            line += f" {_saved(sizes, whole, at):+13.0f}   {least:+5.0f} {most:+5.0f}"
        print(line)


def _saved(sizes: list[int], curves: Any, at: int) -> float:
    """Return how many more labels random order needs for the score of active order than for its own.

    Random order's curve is made to rise first: more labels make a model worse by chance alone.
    """
    rising = IsotonicRegression().fit_transform(sizes, curves[0]) + 1e-9 * np.arange(len(sizes))
    own, other = np.interp(curves[:, at], rising, sizes)
    return float(other - own)


if __name__ == "__main__":
    words = sys.argv[1:]
    main(words[0], int(words[1]) if len(words) > 1 else 10, Path(words[2]) if len(words) > 2 else None)
