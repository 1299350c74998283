"""What a robots.txt allows (RFC 9309): the longest rule that matches wins, `*` and `$` are wildcards.

The standard library's parser takes the first rule that matches and knows no wildcards, so it would
read the file that Discourse serves otherwise than its author meant it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Robots:
    """The rules for one agent: (is allowed, path pattern); `crawl_delay` is in seconds, 0 for none."""

    rules: tuple[tuple[bool, str], ...] = ()
    crawl_delay: float = 0.0

    def allows(self, path: str) -> bool:
        """Say whether `path` (with its query) may be fetched; what no rule names is allowed."""
        matching = [
            (len(pattern), is_allowed) for is_allowed, pattern in self.rules if _matches(pattern, path)
        ]
        return max(matching, default=(0, True))[1]


def read_robots(text: str, agent: str) -> Robots:
    """Return the rules for `agent`: those of the groups that name it, or else of the groups for `*`."""
    own: list[tuple[str, str]] = []
    common: list[tuple[str, str]] = []
    has_own = False
    for names, lines in _groups(text):
        if any(name and name in agent.lower() for name in names):
            has_own = True
            own += lines
        elif "*" in names:
            common += lines
    return _to_robots(own if has_own else common)


def _groups(text: str) -> Iterator[tuple[list[str], list[tuple[str, str]]]]:
    """Yield (agents, lines) of each group; agents in lower case."""
    names: list[str] = []
    lines: list[tuple[str, str]] = []
    for field, value in _fields(text):
        if field == "user-agent":
            if lines:
                yield names, lines
                names, lines = [], []
            names.append(value.lower())
        elif names:
            lines.append((field, value))
    yield names, lines


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for line in text.removeprefix("\ufeff").splitlines():
        field, colon, value = line.partition("#")[0].partition(":")
        if colon and field.strip().lower() in ("user-agent", "allow", "disallow", "crawl-delay"):
            yield field.strip().lower(), value.strip()


def _to_robots(lines: list[tuple[str, str]]) -> Robots:
    rules = tuple((field == "allow", value) for field, value in lines if field != "crawl-delay" and value)
    delays = [
        value for field, value in lines if field == "crawl-delay" and re.fullmatch(r"\d{1,4}(\.\d+)?", value)
    ]
    return Robots(rules, float(delays[0]) if delays else 0.0)


def _matches(pattern: str, path: str) -> bool:
    """Match by pieces, so that a file full of wildcards costs no more than its length."""
    is_anchored = pattern.endswith("$")
    first, *others = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    position = len(first)
    for piece in others[:-1] if is_anchored else others:
        position = path.find(piece, position)
        if position < 0:
            return False
        position += len(piece)
    if not is_anchored:
        return True
    return path.endswith(others[-1]) and len(path) - len(others[-1]) >= position if others else path == first
