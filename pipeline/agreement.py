"""Agreement between annotators: Cohen's kappa, Krippendorff's alpha, Gwet's AC1, Fleiss' kappa, percent.

Ratings are rows, one an item, with one label for each rater and None where a rater gave none. All
coefficients are nominal. Each is linear in what single items contribute, so one function gives the
value (every item once) and its bootstrap replicates (items drawn again). What cannot be computed is
None with a reason, never 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rating = Sequence[str | None]
Floats = NDArray[np.float64]

REPLICATES = 2000
RARE = 10  # a category with fewer positives is too rare for a coefficient of its own to mean much


@dataclass(frozen=True, slots=True)
class Statistic:
    """One coefficient over `n` items with its bootstrap interval; `reason` says why `value` is None."""

    name: str
    value: float | None
    n: int
    reason: str | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class CategoryAgreement:
    """Agreement on one category: both, either, positive agreement 2a/(2a+b+c), kappa against the rest."""

    category: str
    both: int
    either: int
    positive: float | None
    kappa: Statistic
    rare: bool


class Ratings:
    """Ratings coded as numbers: `counts[i, k]` raters gave item i category k."""

    def __init__(self, rows: Sequence[Rating], categories: Sequence[str] | None = None) -> None:
        found = {label for row in rows for label in row if label is not None}
        self.categories = list(categories) if categories is not None else sorted(found)
        unknown = found - set(self.categories)
        if unknown:
            raise ValueError(f"label {sorted(unknown)[0]!r} is not one of the categories")
        numbers = {category: number for number, category in enumerate(self.categories)}
        width = max((len(row) for row in rows), default=0)
        codes = [[-1 if label is None else numbers[label] for label in row] for row in rows]
        self.codes = np.array(codes, dtype=np.int64).reshape(len(rows), width)
        self.counts = (self.codes[:, :, None] == np.arange(len(self.categories))).sum(axis=1).astype(float)
        self.raters = self.counts.sum(axis=1)

    @property
    def n(self) -> int:
        """The number of items that at least two raters labelled: those that agreement is about."""
        return int((self.raters >= 2).sum())

    @property
    def used(self) -> int:
        """The number of categories that stand on these items."""
        return int((self.counts[self.raters >= 2].sum(axis=0) > 0).sum())


def percent_agreement(ratings: Ratings, weights: Floats) -> Floats:
    """Return the share of agreeing pairs of raters, averaged over items; one value a row of weights."""
    paired = (ratings.raters >= 2).astype(float)
    return np.asarray(_ratio(weights @ (_agreeing_pairs(ratings) * paired), weights @ paired))


def cohen_kappa(ratings: Ratings, weights: Floats) -> Floats:
    """Return Cohen's kappa of two fixed raters; observed and expected rest on the same items."""
    size = len(ratings.categories)
    both = np.asarray((ratings.codes >= 0).all(axis=1))
    first, second = np.where(both[:, None], ratings.codes, 0).T
    cells = np.zeros((len(both), size * size))
    cells[np.arange(len(both)), first * size + second] = both
    table = (weights @ cells).reshape(-1, size, size)
    total = table.sum(axis=(1, 2))
    observed = _ratio(np.trace(table, axis1=1, axis2=2), total)
    expected = _ratio((table.sum(axis=1) * table.sum(axis=2)).sum(axis=1), total**2)
    return _chance_corrected(observed, expected)


def krippendorff_alpha(ratings: Ratings, weights: Floats) -> Floats:
    """Return nominal alpha; items with one label drop out, missing labels are no category."""
    paired = ratings.raters >= 2
    counts = np.where(paired[:, None], ratings.counts, 0.0)
    others = np.where(paired, ratings.raters - 1, 1.0)
    disagreeing = (counts * (counts.sum(axis=1, keepdims=True) - counts)).sum(axis=1) / others
    values = weights @ counts
    total = values.sum(axis=1)
    observed = _ratio(weights @ disagreeing, total)
    expected = _ratio(total**2 - (values**2).sum(axis=1), total * (total - 1))
    return 1 - _ratio(observed, expected)


def gwet_ac1(ratings: Ratings, weights: Floats) -> Floats:
    """Return Gwet's AC1; the number of categories is that of `ratings.categories`."""
    shares = _prevalence(ratings, weights)
    size = len(ratings.categories)
    expected = (shares * (1 - shares)).sum(axis=1) / (size - 1 if size > 1 else np.nan)
    return _chance_corrected(percent_agreement(ratings, weights), expected)


def fleiss_kappa(ratings: Ratings, weights: Floats) -> Floats:
    """Return Fleiss' kappa, for any number of raters a item (Scott's pi for two)."""
    expected = (_prevalence(ratings, weights) ** 2).sum(axis=1)
    return _chance_corrected(percent_agreement(ratings, weights), expected)


COEFFICIENTS: dict[str, Callable[[Ratings, Floats], Floats]] = {
    "percent": percent_agreement,
    "cohen_kappa": cohen_kappa,
    "krippendorff_alpha": krippendorff_alpha,
    "gwet_ac1": gwet_ac1,
    "fleiss_kappa": fleiss_kappa,
}


def _agreeing_pairs(ratings: Ratings) -> Floats:
    pairs = np.maximum(ratings.raters * (ratings.raters - 1), 1.0)
    return np.asarray((ratings.counts * (ratings.counts - 1)).sum(axis=1) / pairs)


def _prevalence(ratings: Ratings, weights: Floats) -> Floats:
    rated = ratings.raters >= 1
    shares = ratings.counts / np.maximum(ratings.raters, 1.0)[:, None]
    return np.asarray(_ratio(weights @ shares, (weights @ rated.astype(float))[:, None]))


def _ratio(above: Any, below: Any) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(np.asarray(below) == 0, np.nan, above / below), dtype=float)


def _chance_corrected(observed: Floats, expected: Floats) -> Floats:
    return np.where(np.isclose(expected, 1.0, atol=1e-12), np.nan, _ratio(observed - expected, 1 - expected))


def statistic(
    name: str,
    rows: Sequence[Rating],
    categories: Sequence[str] | None = None,
    *,
    strata: Sequence[str] | None = None,
    seed: int = 0,
    replicates: int = 0,
) -> Statistic:
    """Return one of COEFFICIENTS over the rows, with a 95 % percentile interval if replicates are asked for.

    `strata` names the stratum of each row: items are drawn again within their stratum.
    """
    ratings = Ratings(rows, categories)
    reason = _why_undefined(name, ratings)
    if reason:
        return Statistic(name, None, ratings.n, reason)
    coefficient = COEFFICIENTS[name]
    value = float(coefficient(ratings, np.ones((1, len(rows))))[0])
    if np.isnan(value):
        return Statistic(name, None, ratings.n, "chance agreement is certain")
    if not replicates:
        return Statistic(name, value, ratings.n)
    drawn = coefficient(ratings, resampled(strata or [""] * len(rows), seed, replicates))
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < replicates / 2:
        return Statistic(name, value, ratings.n, "no interval: most resamples are undefined")
    low, high = np.percentile(defined, (2.5, 97.5))
    return Statistic(name, value, ratings.n, None, float(low), float(high))


def _why_undefined(name: str, ratings: Ratings) -> str | None:
    if ratings.n == 0:
        return "no item has two labels"
    if name == "cohen_kappa" and ratings.codes.shape[1] != 2:
        return f"{ratings.codes.shape[1]} raters: Cohen's kappa is for two"
    if name != "percent" and ratings.used < 2:
        return "one category only"
    return None


def resampled(strata: Sequence[str], seed: int, replicates: int) -> Floats:
    """Return how often each item is drawn in each replicate: items are drawn within their stratum."""
    generator = np.random.default_rng(seed)
    weights = np.zeros((replicates, len(strata)))
    names = np.array(strata)
    for name in sorted(set(strata)):
        members = np.flatnonzero(names == name)
        shares = np.full(len(members), 1 / len(members))
        weights[:, members] = generator.multinomial(len(members), shares, size=replicates)
    return weights


def category_agreement(rows: Sequence[Rating], categories: Sequence[str]) -> list[CategoryAgreement]:
    """Return the agreement of two raters on each category; rows with a missing label are left out."""
    complete = [(row[0], row[1]) for row in rows if len(row) == 2 and None not in row]
    return [_on_category(complete, category) for category in categories]


def _on_category(pairs: Sequence[tuple[str | None, str | None]], category: str) -> CategoryAgreement:
    both = sum(first == category == second for first, second in pairs)
    either = sum(category in pair for pair in pairs)
    marked = [tuple(str(label == category) for label in pair) for pair in pairs]
    positive = 2 * both / (both + either) if either else None
    return CategoryAgreement(
        category, both, either, positive, statistic("cohen_kappa", marked), either < RARE
    )
