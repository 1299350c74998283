"""A table as a value: what every count returns and every renderer takes."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

MISSING = "-"


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole, printed as the paper prints it: 93 of 183 is `50.82%`, and of nothing a dash."""

    count: int
    of: int

    @property
    def percent(self) -> Decimal | None:
        """The share in percent to two decimals, halves rounded up; None where the whole is empty."""
        if self.of == 0:
            return None
        return (Decimal(100 * self.count) / self.of).quantize(Decimal("0.01"), ROUND_HALF_UP)

    def __str__(self) -> str:
        return MISSING if self.percent is None else f"{self.percent}%"


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval of shares (0 to 1), printed in percent: `[46.03, 55.60]`."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{100 * self.low:.2f}, {100 * self.high:.2f}]"


Cell = str | int | float | Share | Interval | None


@dataclass(frozen=True)
class Table:
    """Rows under columns; `name` is the file stem, `notes` stand below.

    Where `grouped`, renderings for readers print a repeated first cell once, as the paper does.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    grouped: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.name}: a row of {len(row)} cells under {len(self.columns)} columns"
                )

    def column(self, name: str) -> tuple[Cell, ...]:
        """Return the cells under one column; ValueError if there is none of that name."""
        position = self.columns.index(name)
        return tuple(row[position] for row in self.rows)


def cell_text(cell: Cell) -> str:
    """Return a cell as a person reads it: a missing one is a dash, a fraction has four decimals."""
    if cell is None:
        return MISSING
    return f"{cell:z.4f}" if isinstance(cell, float) else str(cell)
