"""Table 2, recomputed: where a function or its derivative stops being finite, by probing.

For each floating-point type the function and its derivative, as automatic differentiation
evaluates it, are computed at 65,000 numbers spread over the type's whole range; every change from
finite to not finite is then bisected down to two neighbouring numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pipeline.float_types import FLOAT32, TYPES, Array, FloatType
from pipeline.numerics import NUMPY, Library
from pipeline.published import Published
from pipeline.table import Cell, Table


@dataclass(frozen=True, slots=True)
class Region:
    """A run of numbers at which something is not finite, with the finite neighbours on either side.

    A side on which the run goes on to the end of the type has no neighbour.
    """

    low: float
    high: float
    below: float | None
    above: float | None


def is_finite(
    function: str, kind: FloatType, keys: Array, library: Library, *, with_derivative: bool
) -> Array:
    """Say at which keys the value (and the derivative, if asked) is finite."""
    import numpy as np

    x = kind.numbers(keys)
    with np.errstate(all="ignore"):
        finite = np.isfinite(library.value(function, kind, x))
        if with_derivative:
            finite &= np.isfinite(library.derivative(function, kind, x))
    return finite


@cache
def regions(
    function: str, kind: FloatType, library: Library = NUMPY, *, with_derivative: bool = False
) -> tuple[Region, ...]:
    """Return where the value (or, if asked, the value or the derivative) is not finite, in order."""
    import numpy as np

    def finite(keys: Array) -> Array:
        return is_finite(function, kind, keys, library, with_derivative=with_derivative)

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
        value = np.isfinite(NUMPY.value(entry["function"], FLOAT32, numbers))
        both = value & np.isfinite(NUMPY.derivative(entry["function"], FLOAT32, numbers))
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


def invalid_ranges(published: Published, others: Sequence[Library] = ()) -> Table:
    """Table 2: for each function and type where value and derivative stop being finite.

    With `others`, each row says which library it was probed with.
    """
    rows: list[tuple[Cell, ...]] = []
    for entry in published.table2:
        for kind in TYPES:
            for library in (NUMPY, *others):
                value = describe(regions(entry["function"], kind, library))
                both = describe(regions(entry["function"], kind, library, with_derivative=True))
                probed = (library.name,) if others else ()
                rows.append((entry["function"], kind.name, *probed, value, both, entry["printed"]))
    columns = (
        "Math Function",
        "Type",
        *(("Probed with",) if others else ()),
        "Value not finite",
        "Value or derivative not finite",
        published.citation,
    )
    notes = (
        "Found by probing with NumPy and SciPy; div is 1/x. Derivatives as a backward pass computes them.",
        *(f"{library.name}: its own kernels on the CPU, and its backward pass." for library in others),
    )
    return Table("table2", "Where functions stop being finite", columns, tuple(rows), notes, grouped=True)
