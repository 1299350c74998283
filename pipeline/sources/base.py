"""The one small protocol that every source follows, and the values it speaks in.

A crawl is a frontier of entries. A source seeds it, and turns entries into pages; whoever drives it
(`pipeline.crawl`) commits each page, with the entries it finished and the entries it found, before
it asks for the next one. So a source keeps no state of its own, and a killed crawl goes on at the
entry that was in flight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from pipeline.records import ThreadRecord


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece of crawl work: `kind` and `key` name it, `parameters` say what to ask.

    Entries are taken by `priority` (lowest first), then in the order they were added. An entry
    that is added again within one crawl is ignored. `id` and `failures` are the frontier's.
    """

    kind: str
    key: str
    parameters: dict[str, Any] = field(default_factory=dict)
    priority: int = 0
    cursor: dict[str, Any] | None = None
    id: int | None = None
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Payload:
    """One answer as it came; `request` says what was asked and holds no secret."""

    kind: str
    request: str
    body: bytes


@dataclass(frozen=True, slots=True)
class RepositoryRecord:
    """One repository of the catalogue, with its topics as listed."""

    external_id: str
    full_name: str
    topics: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one entry of a page.

    `state` is `done`, `gone` or `truncated`, or `pending` with the `cursor` to go on from.
    """

    entry: Entry
    state: str = "done"
    cursor: dict[str, Any] | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """What one step of a crawl brought; committed whole or not at all.

    `threads` pair a thread with the payload (an index into `payloads`) it was read from. `hits` are
    threads that were seen but not fetched (for the funnel). `memory` is what to remember across runs.
    """

    results: tuple[Result, ...]
    payloads: tuple[Payload, ...] = ()
    threads: tuple[tuple[ThreadRecord, int], ...] = ()
    repositories: tuple[RepositoryRecord, ...] = ()
    found: tuple[Entry, ...] = ()
    memory: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Window:
    """What a crawl is asked for: threads created in [since, until], changed after `updated_since`.

    Any bound may be None. `updated_since` is set by the driver on an incremental crawl: the start
    of the last finished crawl with the same bounds, minus an overlap. `limit` bounds the threads.
    """

    since: datetime | None = None
    until: datetime | None = None
    updated_since: datetime | None = None
    limit: int | None = None


class Lookup(Protocol):
    """What a source may ask about what is already stored (read-only)."""

    def memory(self, name: str) -> dict[str, Any] | None:
        """Return what the source remembers under `name`."""

    def known(self, external_ids: Sequence[str]) -> dict[str, datetime | None]:
        """Return the `updated_at` of those threads of this source that are stored, by external id."""

    def stored(self, since: datetime | None, until: datetime | None, accepted: bool = False) -> Sequence[str]:
        """Return the external ids of this source's present threads created in [since, until], oldest first.

        With `accepted`, only those with an accepted answer. A source asks for what a list should
        still show, and so notices what was deleted.
        """

    def repositories(self) -> Sequence[RepositoryRecord]:
        """Return the catalogue of this source."""


class Source(Protocol):
    """One service to crawl; holds a connection and nothing that must survive it.

    Entries of `thread_kinds` fetch threads and find no other entries: one that fails can wait.
    """

    name: str
    thread_kinds: frozenset[str]

    def seed(self, window: Window) -> Sequence[Entry]:
        """Return the first entries of a crawl; asks the service nothing."""

    def batch_size(self, kind: str) -> int:
        """Return how many entries of `kind` one `fetch_page` takes at the most."""

    def fetch_page(self, entries: Sequence[Entry], lookup: Lookup) -> Page:
        """Ask the service for what `entries` (all of one kind) say and return what it gave.

        The page may settle fewer entries than it was given; the rest stay pending. Raises
        SourceError or StoppedEarly, and then nothing of the page is kept.
        """

    def to_threads(self, payload: Payload) -> Sequence[ThreadRecord]:
        """Return the threads that a stored payload holds (pure; asks nothing)."""

    def listed_entry(self, url: str) -> Entry | None:
        """Return the entry that fetches exactly the thread at `url`, or None if it is not of this source."""

    def close(self) -> None:
        """Close the connection."""
