"""What a text must hold for a pattern to hit, so that most patterns need not be tried on most texts.

A pattern asks for some strings whatever it leaves open, and where a text lacks a run of three
characters of such a string the pattern cannot hit (R. Cox, Regular Expression Matching with a Trigram
Index, 2012). The strings are read off the tree that `re` makes of a pattern, with its own parser, which
is not public; what is not understood there asks for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from re import _parser  # type: ignore[attr-defined]
from typing import Any

KEPT = 40  # characters of the longest word whose runs are kept in memory
FOLDS = str.maketrans("İıſK", "iisk")  # what matches a-z where case is ignored, besides A-Z
Runs = frozenset[str]  # one to three characters each, in lower case


def runs_of(text: str) -> Runs:
    """Return the runs of up to three characters that a text holds, the longer ones between white space."""
    folded = text.translate(FOLDS).lower()
    words = set(folded.split())
    return frozenset(folded).union(*((_kept_runs if len(word) <= KEPT else _runs)(word) for word in words))


def _runs(word: str) -> Runs:
    return frozenset(word[start : start + n] for n in (2, 3) for start in range(len(word) - n + 1))


_kept_runs = lru_cache(2**13)(_runs)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a text must hold for a pattern to hit: all of `runs`, and of each of `choices` one."""

    runs: Runs
    choices: tuple[tuple[Needs, ...], ...]

    @classmethod
    def of(cls, pattern: re.Pattern[str]) -> Needs:
        """Return the needs of a pattern, whether or not it minds case."""
        return cls._of(_parser.parse(pattern.pattern, pattern.flags))

    @classmethod
    def _of(cls, tree: Iterable[Any]) -> Needs:
        """Return the needs of (operation, argument) in a row."""
        parts = list(_flat(tree))
        literals = "".join(argument if kind == "text" else " " for kind, argument in parts)
        branches = (argument for kind, argument in parts if kind == "branches")
        choices = tuple(tuple(map(cls._of, one)) for one in branches)
        return cls(frozenset().union(*map(_needed_runs, literals.split())), choices)

    def met_by(self, held: Runs) -> bool:
        """Say whether a text that holds these runs may be hit."""
        if not self.runs <= held:
            return False
        return all(any(one.met_by(held) for one in choice) for choice in self.choices)


def _needed_runs(text: str) -> Runs:
    return frozenset(run for run in _runs(text) if len(run) == 3) or frozenset((text,))


def _flat(tree: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Yield what must be met in turn: ("text", a character), ("branches", trees) or ("other", None)."""
    for operation, argument in tree:
        name = str(operation)
        if name == "LITERAL" and chr(argument).isascii():
            yield "text", chr(argument).lower()
        elif name == "BRANCH":
            yield "branches", argument[1]
        elif name == "SUBPATTERN":
            yield from _flat(argument[-1])
        else:
            yield "other", None
            if name in ("MAX_REPEAT", "MIN_REPEAT") and argument[0] > 0:
                yield from _flat(argument[-1])
                yield "other", None
