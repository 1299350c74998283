"""The fields of every export as data: names, types and meanings, read from fields.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TYPES = ("string", "integer", "number", "boolean", "datetime", "strings", "json")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an export; `type` is one of TYPES."""

    name: str
    type: str
    description: str
    nullable: bool = False


@cache
def fields_of(kind: str) -> tuple[Field, ...]:
    """Return the fields of one export in order; KeyError for an unknown one."""
    text = Path(__file__).with_name("fields.toml").read_text(encoding="utf-8")
    return tuple(Field(**row) for row in tomllib.loads(text)[kind])
