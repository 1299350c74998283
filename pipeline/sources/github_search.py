"""Finding threads by REST search, so that nothing is lost to its limits and what is lost is marked.

A search is sorted by creation and walked by it: each page is the first page of what was created at or
after the last hit. So no page lies beyond the 1,000 hits that GitHub gives, no window has to be split
for its size, and a hit that comes or goes meanwhile shifts nothing. Only more than 100 hits within one
second are walked by page number, and more than 1,000 of them are marked `truncated`. A search that
timed out (`incomplete_results`) is repeated twice, then split, by repository first and then in time,
then marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pipeline.sources.base import Entry, Lookup, Page, Payload, Result
from pipeline.sources.github_answers import NoSuchRepositories
from pipeline.sources.github_client import Client, Reply, is_search
from pipeline.sources.github_planning import (
    CHARACTERS,
    FETCHING,
    FETCHING_EARLY,
    SEARCHING,
    SECOND,
    Search,
    batches,
    iso,
)
from pipeline.sources.github_records import Hit, read_hit
from pipeline.sources.manners import from_text

PAGE_SIZE = 100
DEEPEST_PAGE = 10
TRIES = 3  # of a search that timed out
SPLITS = 2  # levels of splitting after that


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk stands: from which second on, at which page of it, and what was lost on the way."""

    since: datetime | None = None
    page: int = 0  # of the single second `since`; 0 when walking by creation
    lost: str = ""

    def document(self) -> dict[str, Any]:
        """Return it as an entry's cursor keeps it."""
        return {"since": iso(self.since) if self.since else None, "page": self.page, "lost": self.lost}

    @classmethod
    def read(cls, cursor: dict[str, Any] | None) -> Place:
        """Return what `document` made, or the beginning."""
        cursor = cursor or {}
        return cls(from_text(cursor.get("since")), cursor.get("page", 0), cursor.get("lost", ""))


@dataclass(frozen=True, slots=True)
class Found:
    """One page of hits; `total` is what GitHub counts from here on."""

    reply: Reply
    hits: tuple[Hit, ...]
    total: int
    incomplete: bool


def fetch_search(client: Client, entry: Entry, lookup: Lookup) -> Page:
    """Ask for one page of a search, and settle what is to be asked next."""
    search, place = Search.read(entry.parameters), Place.read(entry.cursor)
    asked = _at(search, place)
    if len(asked.text(client.now)) > CHARACTERS and len(search.repositories) > 1:
        return Page(
            (Result(entry, note="too long, split"),), found=_entries(search.parts(place.since, client.now))
        )
    try:
        found = _ask(client, asked, place.page or 1)
    except NoSuchRepositories:
        checks = tuple(repository_check(search, pair) for pair in search.repositories)
        return Page((Result(entry, note="none of its repositories can be searched"),), found=checks)
    if not search.repositories and found.total > PAGE_SIZE * len(
        narrower := _narrower(search, lookup, client.now)
    ):
        return Page((Result(entry, note=f"{found.total} changed everywhere"),), found=_entries(narrower))
    result, more = _settled(entry, search, place, found, client.now)
    threads = thread_entries(client, found, search, lookup)
    payload = Payload("search", found.reply.request, found.reply.answer.body)
    return Page((result,), (payload,), found=(*threads, *_entries(more)))


def _narrower(search: Search, lookup: Lookup, now: datetime) -> list[Search]:
    """Return the searches of the catalogue that a search everywhere stands for."""
    there = [known for known in lookup.repositories() if not known.facts.get("gone")]
    pairs = [(known.external_id, known.full_name) for known in there]
    return list(batches(pairs, search.family, search.terms, search.scope, now))


def repository_check(search: Search, pair: tuple[str, str]) -> Entry:
    """Return the entry that finds out why a repository cannot be searched."""
    parameters = replace(search, repositories=(pair,)).entry().parameters
    return Entry("repository", f"{search.family} {pair[0]}={pair[1]}", parameters, SEARCHING)


def thread_entries(client: Client, found: Found, search: Search, lookup: Lookup) -> list[Entry]:
    """Return the entries that fetch the hits, except those that are stored as they are.

    A search everywhere keeps what lies in a repository of the catalogue.
    """
    if search.repositories:
        ids = {name.lower(): key for key, name in search.repositories}
        hits = list(found.hits)
    else:
        ids = {known.full_name.lower(): known.external_id for known in lookup.repositories()}
        hits = [hit for hit in found.hits if hit.repository.lower() in ids]
    stored = lookup.known([hit.external_id for hit in hits])
    fresh = [hit for hit in hits if hit.updated_at is None or stored.get(hit.external_id) != hit.updated_at]
    return [
        hit.entry(
            ids.get(hit.repository.lower()),
            found.reply.request,
            FETCHING_EARLY if search.scope.limited else FETCHING,
            whole=not client.has_token,
        )
        for hit in fresh
    ]


def _ask(client: Client, search: Search, page: int) -> Found:
    parameters = {
        "q": search.text(client.now),
        "sort": "created",
        "order": "asc",
        "per_page": str(PAGE_SIZE),
        "page": str(page),
        "advanced_search": "true",
    }
    for _ in range(TRIES):
        reply = client.get("/search/issues", parameters, is_search, "search")
        hits = tuple(hit for item in reply.value["items"] if (hit := read_hit(item)))
        incomplete = bool(reply.value.get("incomplete_results"))
        if not incomplete:
            break
    return Found(reply, hits, reply.value["total_count"], incomplete)


def _at(search: Search, place: Place) -> Search:
    """Return the search from where a walk stands; within one second, of that second only."""
    if place.since is None:
        return search
    until = place.since if place.page else search.scope.until
    return replace(search, scope=replace(search.scope, since=place.since, until=until))


def _settled(
    entry: Entry, search: Search, place: Place, found: Found, now: datetime
) -> tuple[Result, list[Search]]:
    """Return what becomes of the entry after a page, and the searches it is split into."""
    if found.incomplete:
        parts = search.parts(place.since, now) if search.splits < SPLITS and not place.page else []
        if parts:
            return Result(entry, note="timed out three times, split"), parts
        place = replace(place, lost="GitHub's search timed out three times")
    if found.total and not found.hits and not place.page:
        return Result(entry, "truncated", note=f"{found.total} threads were announced and none given"), []
    following = _following(place, found)
    if following is None and not place.lost:
        return Result(entry), []
    if following is None:
        return Result(entry, "truncated", note=place.lost), []
    over = (
        search.scope.until is not None
        and following.since is not None
        and following.since > search.scope.until
    )
    if over:
        return Result(entry, "truncated" if following.lost else "done", note=following.lost or None), []
    if following.since is None:  # the hits are out of order: smaller windows need no order
        parts = search.parts(place.since, now)
        if parts:
            return Result(entry, note="out of order, split"), parts
        return Result(entry, "truncated", note="out of order within one second"), []
    return Result(entry, "pending", following.document()), []


def _following(place: Place, found: Found) -> Place | None:
    """Return where to go on after a page, None at the end; without a time if the hits are in no order."""
    seen = max(place.page - 1, 0) * PAGE_SIZE + len(found.hits)
    if place.page and place.since:
        if seen < found.total and found.hits and place.page < DEEPEST_PAGE:
            return replace(place, page=place.page + 1)
        lost = f"{found.total - seen} threads of one second ({iso(place.since)}) are out of reach"
        return Place(place.since + SECOND, 0, lost if seen < found.total else place.lost)
    if seen >= found.total:
        return None
    times = [hit.created_at for hit in found.hits]
    known = [time for time in times if time is not None]
    if len(known) < len(times) or known != sorted(known):
        return replace(place, since=None)
    return replace(place, since=known[-1], page=0 if known[-1] > known[0] else 1)


def _entries(searches: Sequence[Search]) -> tuple[Entry, ...]:
    return tuple(search.entry() for search in searches)
