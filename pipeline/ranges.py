"""Table 2, recomputed: where a function or its derivative stops being finite, by probing.

For each floating-point type the function and its derivative, as automatic differentiation
evaluates it, are computed at 65,000 numbers spread over the type's whole range; every change from
finite to not finite is then bisected down to two neighbouring numbers. bfloat16 is float32 rounded
to its upper sixteen bits after every operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pipeline.published import Published
from pipeline.table import Cell, Table

Array = Any  # a numpy array; numpy itself is imported where it is used
Rounding = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class FloatType:
    """A floating-point type: its width, its largest finite number as bits, and what numpy computes it in."""

    name: str
    bits: int
    largest: int
    computed_in: str

    def numbers(self, keys: Array) -> Array:
        """Return the numbers at `keys`, which count the type's finite numbers in order, 0 at zero."""
        import numpy as np

        unsigned = np.abs(keys).astype(np.uint64) | np.where(
            keys < 0, np.uint64(1) << np.uint64(self.bits - 1), np.uint64(0)
        )
        width = np.dtype(self.computed_in).itemsize * 8
        return (unsigned << np.uint64(width - self.bits)).astype(f"u{width // 8}").view(self.computed_in)

    def rounded(self, values: Array) -> Array:
        """Return `values` rounded to this type, to nearest, ties to even."""
        import numpy as np

        if self.name != "bfloat16":
            return values.astype(self.computed_in)
        bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
        kept = ((bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) & np.uint64(0xFFFF0000)).astype(
            np.uint32
        )
        return np.where(np.isfinite(values), kept.view(np.float32), values)

    def grid(self) -> Array:
        """Return the keys to probe: every number of a 16-bit type, every 2^k-th of a wider one."""
        import numpy as np

        positive = np.arange(0, self.largest + 1, 1 << (self.bits - 16), dtype=np.int64)
        return np.unique(np.concatenate([-positive, positive, [-self.largest, self.largest]]))


TYPES = (
    FloatType("float16", 16, 0x7BFF, "float16"),
    FloatType("bfloat16", 16, 0x7F7F, "float32"),
    FloatType("float32", 32, 0x7F7FFFFF, "float32"),
    FloatType("float64", 64, 0x7FEFFFFFFFFFFFFF, "float64"),
)


FLOAT32 = TYPES[2]


@dataclass(frozen=True, slots=True)
class Region:
    """A run of numbers at which something is not finite, with the finite neighbours on either side.

    A side on which the run goes on to the end of the type has no neighbour.
    """

    low: float
    high: float
    below: float | None
    above: float | None


def value_of(function: str, x: Array, rounded: Rounding) -> Array:
    """Return `function` at x; `div` divides 1 by x."""
    import numpy as np

    if function == "lgamma":
        from scipy.special import gammaln

        # SciPy says +inf for lgamma of every pole; below 0 its loops are exact only in float64.
        return rounded(gammaln(x.astype(np.float64)))
    if function == "div":
        return rounded(1 / x)
    return rounded(getattr(np, {"acos": "arccos"}.get(function, function))(x))


def derivative_of(function: str, x: Array, rounded: Rounding) -> Array:
    """Return the derivative of `function` at x, operation by operation as a backward pass does it."""
    import numpy as np

    if function == "lgamma":
        from scipy.special import psi

        return rounded(psi(x.astype(np.float64)))
    if function == "div":
        return rounded(rounded(1 / x) / x)
    if function in ("exp", "expm1"):
        return rounded(np.exp(x))
    if function == "log":
        return rounded(1 / x)
    if function == "log1p":
        return rounded(1 / rounded(1 + x))
    if function == "sqrt":
        return rounded(1 / rounded(2 * rounded(np.sqrt(x))))
    if function == "acos":
        return rounded(1 / rounded(np.sqrt(rounded(1 - rounded(x * x)))))
    raise ValueError(f"function {function!r} has no derivative here")


def is_finite(function: str, kind: FloatType, keys: Array, *, with_derivative: bool) -> Array:
    """Say at which keys the value (and the derivative, if asked) is finite."""
    import numpy as np

    x = kind.numbers(keys)
    with np.errstate(all="ignore"):
        finite = np.isfinite(value_of(function, x, kind.rounded))
        if with_derivative:
            finite &= np.isfinite(derivative_of(function, x, kind.rounded))
    return finite


@cache
def regions(function: str, kind: FloatType, *, with_derivative: bool = False) -> tuple[Region, ...]:
    """Return where the value (or, if asked, the value or the derivative) is not finite, in order."""
    import numpy as np

    def finite(keys: Array) -> Array:
        return is_finite(function, kind, keys, with_derivative=with_derivative)

    keys = kind.grid()
    status = finite(keys)
    changes = np.flatnonzero(status[1:] != status[:-1])
    left, right = _bisect(finite, keys[changes], keys[changes + 1])
    starts = [int(key) for key in right[~status[changes + 1]]]
    ends = [int(key) for key in left[~status[changes]]]
    starts = starts if status[0] else [-kind.largest, *starts]
    ends = ends if status[-1] else [*ends, kind.largest]
    return tuple(_region(kind, start, end) for start, end in zip(starts, ends, strict=True))


def _bisect(finite: Callable[[Array], Array], left: Array, right: Array) -> tuple[Array, Array]:
    """Move each pair of keys of unlike status together until they are neighbours."""
    import numpy as np

    at_left = finite(left) if len(left) else left.astype(bool)
    while len(left) and (right - left > 1).any():
        middle = left + (right - left) // 2
        same = finite(middle) == at_left
        left, right = np.where(same, middle, left), np.where(same, right, middle)
    return left, right


def _region(kind: FloatType, start: int, end: int) -> Region:
    import numpy as np

    low, high, below, above = (
        float(number)
        for number in kind.numbers(
            np.array([start, end, max(start - 1, -kind.largest), min(end + 1, kind.largest)])
        )
    )
    return Region(
        low, high, None if start == -kind.largest else below, None if end == kind.largest else above
    )


def describe(found: Sequence[Region]) -> str:
    """Return regions as a person writes them: `x > 88.72`, `x ≤ 0`, `x = 0`, `0, -1, -2, …`."""
    points = [region.low for region in found if region.low == region.high]
    poles = len(points) > 4 and all(point <= 0 and point.is_integer() for point in points)
    texts = ["x = 0, -1, -2, …"] if poles else []
    texts += [_describe(region) for region in found if not poles or region.above is None]
    return "; ".join(texts) or "nowhere"


def _describe(region: Region) -> str:
    if region.low == region.high:
        return f"x = {_number(region.low)}"
    upper = "" if region.above is None else _bound("≤", "<", region.high, region.above)
    lower = "" if region.below is None else _bound("≥", ">", region.low, region.below)
    return " and ".join(f"x {bound}" for bound in (lower, upper) if bound) or "every x"


def _bound(closed: str, opened: str, bad: float, good: float) -> str:
    """Return the bound with the shorter number: the last bad one, or the first good one."""
    if _exact(bad) and not (_exact(good) and len(_number(good)) < len(_number(bad))):
        return f"{closed} {_number(bad)}"
    return f"{opened} {_number(good)}"


def _exact(number: float) -> bool:
    return float(_number(number)) == number


def _number(number: float) -> str:
    return f"{number + 0.0:.4g}"


def counterexamples(entry: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return what speaks against a printed range in float32, each None where nothing does.

    First the number in it closest to zero at which value and derivative are finite, then the number
    outside it closest to zero at which the value is not.
    """
    import numpy as np

    limits = [edge for region in regions(entry["function"], FLOAT32) for edge in (region.below, region.above)]
    edges = np.array([edge for edge in limits if edge is not None], dtype=np.float32)
    numbers = np.unique(np.concatenate([FLOAT32.numbers(FLOAT32.grid()), edges]))
    numbers = numbers[np.argsort(np.abs(numbers), kind="stable")]
    printed = _printed_invalid(entry, numbers)
    with np.errstate(all="ignore"):
        value = np.isfinite(value_of(entry["function"], numbers, FLOAT32.rounded))
        both = value & np.isfinite(derivative_of(entry["function"], numbers, FLOAT32.rounded))
    return _first(numbers[printed & both]), _first(numbers[~printed & ~value])


def _first(numbers: Array) -> float | None:
    return float(numbers[0]) if len(numbers) else None


def _printed_invalid(entry: Mapping[str, Any], x: Array) -> Array:
    import numpy as np

    if "above" in entry:
        return x > entry["above"]
    if "up_to" in entry:
        return x <= entry["up_to"]
    if "at" in entry:
        return np.isin(x, entry["at"])
    return (x <= 0) & (x == np.floor(x))  # the poles


def invalid_ranges(published: Published) -> Table:
    """Table 2: for each function and type where value and derivative stop being finite."""
    rows: list[tuple[Cell, ...]] = []
    for entry in published.table2:
        for kind in TYPES:
            value = describe(regions(entry["function"], kind))
            both = describe(regions(entry["function"], kind, with_derivative=True))
            rows.append((entry["function"], kind.name, value, both, entry["printed"]))
    columns = (
        "Math Function",
        "Type",
        "Value not finite",
        "Value or derivative not finite",
        published.citation,
    )
    notes = (
        "Found by probing with NumPy and SciPy; div is 1/x. Derivatives as a backward pass computes them.",
    )
    return Table("table2", "Where functions stop being finite", columns, tuple(rows), notes, grouped=True)
