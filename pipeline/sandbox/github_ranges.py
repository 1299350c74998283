"""The ranges of GitHub's search language: `5`, `>0`, `2..9`, `2020-01-01..*`, `<=2020-07-31`."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pipeline.sandbox.github_language import BadQuery

_COMPARISON = re.compile(r"(>=|<=|>|<)?(.+)")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d))?")
_ENDLESS = (float("-inf"), float("inf"))


def range_of(text: str) -> tuple[float, float]:
    """Return both ends, inclusive, of a range of numbers, or of dates in seconds since 1970.

    A day without a time is all of its seconds. Raises BadQuery for anything else.
    """
    if ".." in text:
        first, last = text.split("..", 1)
        return _value(first)[0], _value(last)[1]
    sign, value = _COMPARISON.fullmatch(text).groups()  # type: ignore[union-attr]  # any text matches
    low, high = _value(value)
    return _SIGNS[sign](low, high)


def second(moment: datetime) -> float:
    """Return a moment in whole seconds since 1970, as the search compares it."""
    return float(int(moment.timestamp()))


_SIGNS: dict[str | None, Callable[[float, float], tuple[float, float]]] = {
    None: lambda low, high: (low, high),
    ">": lambda low, high: (high + 1, _ENDLESS[1]),
    ">=": lambda low, high: (low, _ENDLESS[1]),
    "<": lambda low, high: (_ENDLESS[0], low - 1),
    "<=": lambda low, high: (_ENDLESS[0], high),
}


def _value(text: str) -> tuple[float, float]:
    if text == "*":
        return _ENDLESS
    if text.isascii() and text.isdigit():
        return float(text), float(text)
    if not _MOMENT.fullmatch(text):
        raise BadQuery(f"The range {text!r} could not be understood.")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadQuery(f"The date {text!r} does not exist.") from None
    if len(text) == len("2020-01-01"):
        start = moment.replace(tzinfo=UTC)
        return second(start), second(start + timedelta(days=1)) - 1
    return second(moment), second(moment)
