"""What a crawl of GitHub asks for, as queries that GitHub takes: scopes, searches, batches, windows. Pure.

A search names at most five repositories (GitHub takes five AND, OR, NOT; the keywords use one) and has
256 characters at the most. It means the same in GitHub's old dialect and in the advanced one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.sources.base import Entry
from pipeline.sources.manners import from_text

FAMILIES = ("issue", "pull-request")
OPERATORS = 5  # AND, OR, NOT in one query
CHARACTERS = 256  # in one query
FIRST_DAY = datetime(2007, 10, 1, tzinfo=UTC)  # GitHub holds nothing older
SECOND = timedelta(seconds=1)

# Priorities: what is asked first. With --limit, threads come before further searches.
LISTING, PLANNING, SEARCHING, CHECKING, FETCHING, FETCHING_EARLY = 0, 10, 40, 45, 50, 30

Repositories = tuple[tuple[str, str], ...]  # (id, full name)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a crawl asks for, as every entry carries it; `limited` says that not all threads are wanted."""

    since: datetime | None = None
    until: datetime | None = None
    updated_since: datetime | None = None
    limited: bool = False

    def document(self) -> dict[str, Any]:
        """Return it as an entry's parameters keep it."""
        times = {"since": self.since, "until": self.until, "updated_since": self.updated_since}
        return {name: iso(time) for name, time in times.items() if time} | {"limited": self.limited}

    @classmethod
    def read(cls, document: dict[str, Any]) -> Scope:
        """Return what `document` made."""
        times = {name: from_text(document.get(name)) for name in ("since", "until", "updated_since")}
        return cls(**times, limited=bool(document.get("limited")))


@dataclass(frozen=True, slots=True)
class Search:
    """One search: a family, the repositories (none: everywhere), a scope. `splits` counts its divisions."""

    family: str
    repositories: Repositories
    terms: tuple[str, ...]
    scope: Scope
    splits: int = 0

    def text(self, now: datetime) -> str:
        """Return the query as GitHub reads it; it means the same in the old dialect and the advanced one."""
        parts = [_any_of(self.terms), f"is:{self.family}", "is:closed", "comments:>0"]
        parts.append(_any_of([f"repo:{name}" for _, name in self.repositories]))
        if self.scope.since or self.scope.until:
            parts.append("created:" + _range(self.scope.since, self.scope.until, now))
        if self.scope.updated_since:
            parts.append(f"updated:>={iso(self.scope.updated_since)}")
        return " ".join(part for part in parts if part)

    def entry(self) -> Entry:
        """Return the entry that walks this search from its beginning."""
        parameters = {
            "family": self.family,
            "repositories": [list(pair) for pair in self.repositories],
            "terms": list(self.terms),
            "scope": self.scope.document(),
            "splits": self.splits,
        }
        bounds = [
            iso(time) if time else ""
            for time in (self.scope.since, self.scope.until, self.scope.updated_since)
        ]
        names = ",".join(f"{key}={name}" for key, name in self.repositories)
        return Entry("search", " ".join((self.family, *self.terms, names, *bounds)), parameters, SEARCHING)

    @classmethod
    def read(cls, parameters: dict[str, Any]) -> Search:
        """Return the search that an entry's parameters describe."""
        pairs = tuple((str(key), str(name)) for key, name in parameters["repositories"])
        scope = Scope.read(parameters["scope"])
        return cls(parameters["family"], pairs, tuple(parameters["terms"]), scope, parameters["splits"])

    def parts(self, start: datetime | None, now: datetime) -> list[Search]:
        """Return this search from `start` on in parts: its repositories, else two halves of its time.

        Nothing for a single repository within one second.
        """
        scope = replace(self.scope, since=start or self.scope.since)
        if len(self.repositories) > 1:
            pairs = [(pair,) for pair in self.repositories]
            return [replace(self, repositories=pair, scope=scope, splits=self.splits + 1) for pair in pairs]
        windows = halves(scope.since, scope.until, now)
        scopes = [replace(scope, since=first, until=last) for first, last in windows]
        return [replace(self, scope=scope, splits=self.splits + 1) for scope in scopes]


def batches(
    repositories: Sequence[tuple[str, str]], family: str, terms: Sequence[str], scope: Scope, now: datetime
) -> Iterator[Search]:
    """Yield the searches of one family over repositories, as few as the two limits allow."""
    for words in [tuple(terms[start : start + 3]) for start in range(0, max(len(terms), 1), 3)]:
        most = OPERATORS + 1 - max(len(words) - 1, 0)
        filled: list[Search] = []
        open_from = 0
        for pair in repositories:
            for index in range(open_from, len(filled)):
                fuller = replace(filled[index], repositories=(*filled[index].repositories, pair))
                if len(fuller.repositories) <= most and len(fuller.text(now)) <= CHARACTERS:
                    filled[index] = fuller
                    break
            else:
                filled.append(Search(family, (pair,), words, scope))
            while open_from < len(filled) and (
                len(filled[open_from].repositories) == most or len(filled) - open_from > 20
            ):
                open_from += 1
        yield from filled


def halves(
    since: datetime | None, until: datetime | None, now: datetime, pieces: int = 2
) -> list[tuple[datetime, datetime]]:
    """Return a window of time in pieces that share no second; nothing for a single second."""
    first, last = since or FIRST_DAY, until or last_day(now)
    seconds = int((last - first).total_seconds())
    if seconds < 1:
        return []
    pieces = min(pieces, seconds + 1)
    starts = [first + timedelta(seconds=(seconds + 1) * piece // pieces) for piece in range(pieces)]
    ends = [start - SECOND for start in starts[1:]] + [last]
    return list(zip(starts, ends, strict=True))


def last_day(now: datetime) -> datetime:
    """Return the last second of this year: an end for open windows that stays the same between runs."""
    return datetime(now.year, 12, 31, 23, 59, 59, tzinfo=UTC)


def created_range(since: datetime | None, until: datetime | None, now: datetime) -> str:
    """Return the `created:` qualifier of a window, or nothing for one without ends."""
    return f"created:{_range(since, until, now)}" if since or until else ""


def _range(since: datetime | None, until: datetime | None, now: datetime) -> str:
    first, last = since or FIRST_DAY, until or last_day(now)
    start = f"{first:%Y-%m-%d}" if f"{first:%H%M%S}" == "000000" else iso(first)
    end = f"{last:%Y-%m-%d}" if f"{last:%H%M%S}" == "235959" else iso(last)
    return f"{start}..{end}"


def iso(time: datetime) -> str:
    """Return a time as GitHub writes it."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _any_of(words: Sequence[str]) -> str:
    quoted = [f'"{word}"' if " " in word else word for word in words]
    return f"({' OR '.join(quoted)})" if len(quoted) > 1 else "".join(quoted)
