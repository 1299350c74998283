"""Exact intervals and tests for counts; every function is pure and takes plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from pipeline.table import Interval

PERMUTATIONS = 9_999
SEED = 20_220_731


@dataclass(frozen=True, slots=True)
class Association:
    """Cramér's V (0 to 1) of a two-row table of counts, and the p-value of a permutation test.

    Both are None where a row is empty or all counts stand in one column.
    """

    cramers_v: float | None
    p_value: float | None


def clopper_pearson(count: int, of: int, confidence: float = 0.95) -> Interval | None:
    """Return the exact interval of a binomial share; None where there is nothing to divide by."""
    from scipy.special import betaincinv

    if of == 0:
        return None
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(betaincinv(count, of - count + 1, tail))
    high = 1.0 if count == of else float(betaincinv(count + 1, of - count, 1 - tail))
    return Interval(low, high)


def association(first: Sequence[int], second: Sequence[int]) -> Association:
    """Test whether two rows of counts over the same columns differ more than chance would have it.

    The p-value comes from random tables with the same margins, from a fixed seed, so it is the
    same on every run; with 9,999 of them the smallest is 0.0001.
    """
    import numpy as np

    columns = np.array([[a, b] for a, b in zip(first, second, strict=True) if a + b > 0], dtype=np.int64)
    if len(columns) < 2 or min(columns.sum(axis=0)) == 0:
        return Association(None, None)
    totals, drawn = columns.sum(axis=1), int(columns[:, 0].sum())
    expected = totals * (drawn / totals.sum())
    # With both margins fixed, chi-square grows with this sum alone, whatever the second row.
    weight = 1 / totals
    observed = float((weight * (columns[:, 0] - expected) ** 2).sum())
    generator = np.random.Generator(np.random.PCG64(SEED))
    random = generator.multivariate_hypergeometric(totals, drawn, size=PERMUTATIONS, method="marginals")
    statistics = (weight * (random - expected) ** 2).sum(axis=1)
    at_least = int((statistics >= observed * (1 - 1e-12)).sum())
    whole = int(totals.sum())
    chi_square = observed * whole**2 / (drawn * (whole - drawn))
    return Association(sqrt(chi_square / whole), (1 + at_least) / (1 + PERMUTATIONS))


def false_discovery(p_values: Sequence[float]) -> list[float]:
    """Return the Benjamini-Hochberg adjusted p-values, in the order given."""
    order = sorted(range(len(p_values)), key=lambda position: p_values[position], reverse=True)
    adjusted, lowest = [1.0] * len(p_values), 1.0
    for behind, position in enumerate(order):
        lowest = min(lowest, p_values[position] * len(p_values) / (len(p_values) - behind))
        adjusted[position] = lowest
    return adjusted
