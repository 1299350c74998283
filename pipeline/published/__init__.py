"""Published studies as data: what a paper prints, for comparison and audit."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db.errors import UsageError

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Published:
    """One published study: the tables of its TOML file as they stand."""

    name: str
    citation: str
    title: str
    authors: list[str]
    year: int
    doi: str
    valid: int
    categories: int
    table1: tuple[dict[str, Any], ...]
    strata: tuple[dict[str, Any], ...]
    discussion: dict[str, int]
    pools: tuple[dict[str, Any], ...]
    shares: tuple[dict[str, Any], ...]
    fixes: tuple[dict[str, Any], ...]
    table2: tuple[dict[str, Any], ...]

    @property
    def stratum_codes(self) -> tuple[str, ...]:
        """The codes of the strata, in the order of the paper."""
        return tuple(stratum["code"] for stratum in self.strata)

    @property
    def causes(self) -> tuple[str, ...]:
        """The codes of the causes, in the order of Table 1."""
        return tuple(row["cause"] for row in self.table1)

    def counts(self, stratum: str | None = None) -> tuple[int, ...]:
        """Return the printed counts by cause, of one stratum or summed over all."""
        if stratum is not None:
            return tuple(row["counts"][stratum] for row in self.table1)
        return tuple(sum(row["counts"].values()) for row in self.table1)

    def count_of(self, name: str) -> int:
        """Return how many valid threads a cause or a broad type has, from the cells of Table 1."""
        return sum(sum(row["counts"].values()) for row in self.table1 if name in (row["cause"], row["type"]))


def load_published(name: str) -> Published:
    """Read the published study called `name`; UsageError if there is none."""
    known = sorted(path.stem for path in FOLDER.glob("*.toml"))
    if name not in known:
        raise UsageError(f"published study {name!r} is not one of {', '.join(known)}")
    data = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    facts: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
    }
    return Published(**facts.pop("study"), **facts)
