"""Table 2 by probing."""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import pytest

from db.engine import Database
from flows.cli import run
from pipeline.float_types import TYPES
from pipeline.numerics import NumPy
from pipeline.published import load_published
from pipeline.ranges import describe, invalid_ranges, regions

KINDS = {kind.name: kind for kind in TYPES}


@pytest.mark.parametrize(
    ("function", "kind", "value", "both"),
    [
        ("exp", "float16", "x > 11.09", "x > 11.09"),
        ("exp", "float32", "x > 88.72", "x > 88.72"),
        ("exp", "float64", "x > 709.8", "x > 709.8"),
        ("expm1", "float32", "x > 88.72", "x > 88.72"),
        ("log", "float32", "x ≤ 0", "x < 2.939e-39"),
        ("log1p", "float64", "x ≤ -1", "x ≤ -1"),
        ("sqrt", "float64", "x < 0", "x ≤ 0"),
        ("acos", "float32", "x < -1; x > 1", "x ≤ -1; x ≥ 1"),
        ("lgamma", "float16", "x = 0, -1, -2, …; x ≥ 8184", "x = 0, -1, -2, …; x ≥ 8184"),
    ],
)
def test_ranges_are_where_the_arithmetic_puts_them(function: str, kind: str, value: str, both: str) -> None:
    """Known limits of each type are found by probing alone."""
    assert describe(regions(function, KINDS[kind])) == value
    assert describe(regions(function, KINDS[kind], with_derivative=True)) == both


def test_the_limit_of_exp_is_exact_to_the_last_bit() -> None:
    """The first number whose exp overflows float32 and its neighbour, whose exp does not."""
    (region,) = regions("exp", KINDS["float32"])
    with np.errstate(over="ignore"):
        assert np.isinf(np.exp(np.float32(region.low)))
    assert region.below is not None and np.isfinite(np.exp(np.float32(region.below)))
    assert np.nextafter(np.float32(region.below), np.float32(math.inf)) == np.float32(region.low)


def test_bfloat16_rounds_to_nearest_even() -> None:
    """Ties go to the even number, and what is too large becomes infinite."""
    kind = KINDS["bfloat16"]
    values = np.array([1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, -0.0], dtype=np.float32)
    assert kind.rounded(values).tolist() == [1.0, 1 + 2**-6, math.inf, -0.0]


def test_every_number_of_a_narrow_type_is_probed() -> None:
    """All finite numbers of float16, in order, the two zeros once."""
    numbers = KINDS["float16"].numbers(KINDS["float16"].grid())
    assert len(numbers) == 2 * 0x7BFF + 1
    assert (np.diff(numbers.astype(np.float64)) > 0).all()


def test_table_2_has_every_function_and_type_beside_the_papers_range() -> None:
    """Eight functions, four types, the printed range in every row."""
    table = invalid_ranges(load_published("wang2022"))
    assert len(table.rows) == 8 * 4
    assert table.rows[6] == ("exp", "float32", "x > 88.72", "x > 88.72", "x > 88")


def test_another_library_stands_beside_in_rows_of_its_own() -> None:
    """Each row names its library; those of NumPy are what they are without another."""
    published = load_published("wang2022")
    alone, beside = invalid_ranges(published), invalid_ranges(published, [NumPy("Another NumPy")])
    assert beside.column("Probed with") == ("NumPy", "Another NumPy") * 32
    for position, own in enumerate(("NumPy", "Another NumPy")):
        rows = beside.rows[position::2]
        assert tuple((*row[:2], *row[3:]) for row in rows) == alone.rows
        assert {row[2] for row in rows} == {own}
    assert beside.notes[1].startswith("Another NumPy: ") and beside.notes[:1] == alone.notes


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed")
def test_a_library_that_is_not_installed_is_one_line(
    labelled: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and which extra to install."""
    assert run(["--database", "sqlite:///study.db", "tables", "--probe", "torch"]) == 2
    assert capsys.readouterr().err == "nanmine: --probe torch needs the extra nanmine[torch]\n"
