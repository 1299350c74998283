"""The catalogue of repositories: listed by topic, pruned where nothing can be found, checked afterwards.

A list of more than 1,000 repositories is split by time of creation. With a token, 100 repositories a
request are asked how many closed issues they have, as long as that saves more searches than it costs.
After the searches, the names they were searched by are checked (by id with a token, else by listing
again), because GitHub drops a name that it does not know from a search without a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from pipeline.errors import Gone
from pipeline.sources.base import Entry, Lookup, Page, Payload, RepositoryRecord, Result
from pipeline.sources.github_answers import TooHeavy
from pipeline.sources.github_client import Client, Reply, is_search, is_thing
from pipeline.sources.github_planning import (
    CHECKING,
    FAMILIES,
    LISTING,
    PLANNING,
    Scope,
    Search,
    batches,
    created_range,
    halves,
)
from pipeline.sources.github_queries import REPOSITORIES
from pipeline.sources.github_records import pack, read_repository
from pipeline.sources.manners import from_text

PAGE_SIZE = 100
REACHABLE = 1000  # repositories of one list
TRIES = 3  # of a list that timed out
SPLITS = 8  # levels of splitting a list that gives less than it announces
WORTH_ASKING = 0.05  # share of repositories without closed issues from which asking saves searches


class HasRepositories(Protocol):
    """Who knows the catalogue."""

    def repositories(self) -> Sequence[RepositoryRecord]:
        """Return the catalogue."""


def listing_entry(topic: str, scope: Scope, later: bool = False) -> Entry:
    """Return the entry that lists the repositories of a topic.

    A `later` list comes after the searches were planned: what is new or renamed in it is searched.
    """
    parameters = {"topic": topic, "window": [], "scope": scope.document(), "splits": 0, "later": later}
    return Entry(
        "repositories", f"{topic}{' later' if later else ''}", parameters, CHECKING if later else LISTING
    )


def _part_of(entry: Entry, window: Sequence[datetime]) -> Entry:
    """Return the entry that lists those repositories of a list that were created in a window."""
    bounds = [time.isoformat() for time in window]
    parameters = entry.parameters | {"window": bounds, "splits": entry.parameters["splits"] + 1}
    return Entry(
        entry.kind,
        " ".join((entry.parameters["topic"], *bounds, str(entry.priority))),
        parameters,
        entry.priority,
    )


def fetch_repositories(client: Client, terms: tuple[str, ...], entry: Entry, lookup: Lookup) -> Page:
    """Ask for one page of a list of repositories."""
    cursor = entry.cursor or {"page": 1, "seen": []}
    reply = _ask(client, entry, cursor["page"])
    topic, scope = entry.parameters["topic"], Scope.read(entry.parameters["scope"])
    records = [record for item in reply.value["items"] if (record := read_repository(item, topic))]
    known = {record.external_id: record for record in lookup.repositories()}
    merged = tuple(_merged(known.get(record.external_id), record) for record in records)
    fresh = [record for record in merged if _is_news(known.get(record.external_id), record)]
    seen = list(dict.fromkeys([*cursor["seen"], *(int(record.external_id) for record in records)]))
    result, more = _settle(client, entry, cursor["page"], reply, seen)
    whole = replace(scope, updated_since=None)
    searches = searches_of(fresh, terms, whole, client.now) if entry.parameters["later"] else []
    payload = Payload("repositories", reply.request, reply.answer.body)
    return Page((result,), (payload,), repositories=merged, found=(*more, *searches))


def _ask(client: Client, entry: Entry, page: int) -> Reply:
    window = [from_text(time) for time in entry.parameters["window"]]
    created = created_range(window[0], window[1], client.now) if window else ""
    query = f"topic:{entry.parameters['topic']} {created}".strip()
    parameters = {"q": query, "sort": "stars", "order": "desc", "per_page": str(PAGE_SIZE), "page": str(page)}
    for _ in range(TRIES):
        reply = client.get("/search/repositories", parameters, is_search, "search")
        if not reply.value.get("incomplete_results"):
            break
    return reply


def _settle(
    client: Client, entry: Entry, page: int, reply: Reply, seen: list[int]
) -> tuple[Result, list[Entry]]:
    """Return what becomes of a list after a page, and the lists it is split into."""
    total = reply.value["total_count"]
    incomplete = bool(reply.value.get("incomplete_results"))
    if total > REACHABLE or incomplete:
        pieces = -(-total // (REACHABLE // 2)) if total > REACHABLE else 2
        return _split(client, entry, pieces, "timed out" if incomplete else f"{total} repositories")
    items = len(reply.value["items"])
    if len(seen) < total and page * PAGE_SIZE < total and items:
        return Result(entry, "pending", {"page": page + 1, "seen": seen}), []
    if len(seen) >= total:
        return Result(entry), []
    return _split(client, entry, 2, f"{total} repositories announced, {len(seen)} given")


def _split(client: Client, entry: Entry, pieces: int, why: str) -> tuple[Result, list[Entry]]:
    parameters = entry.parameters
    first, last = [from_text(time) for time in parameters["window"]] or (None, None)
    windows = halves(first, last, client.now, pieces) if parameters["splits"] < SPLITS else []
    if not windows:
        return Result(entry, "truncated", note=why), []
    return Result(entry, note=f"{why}, split"), [_part_of(entry, window) for window in windows]


def _is_news(known: RepositoryRecord | None, listed: RepositoryRecord) -> bool:
    return known is None or known.full_name != listed.full_name or bool(known.facts.get("gone"))


def _merged(known: RepositoryRecord | None, listed: RepositoryRecord) -> RepositoryRecord:
    """Return a listed repository with what is known of it besides; a list shows all its topics."""
    facts = {key: value for key, value in (known.facts if known else {}).items() if key != "gone"}
    return replace(listed, facts=facts | {key: value for key, value in listed.facts.items() if value})


def relevant(lookup: HasRepositories, topics: Iterable[str]) -> list[RepositoryRecord]:
    """Return the repositories of the catalogue that are there and have a topic of the study."""
    wanted = set(topics)
    return [
        record
        for record in lookup.repositories()
        if wanted & set(record.topics) and not record.facts.get("gone")
    ]


def searches_of(
    repositories: Sequence[RepositoryRecord], terms: tuple[str, ...], scope: Scope, now: datetime
) -> list[Entry]:
    """Return the searches of both families over repositories; none for issues where there are none closed."""
    return [search.entry() for search in planned(repositories, terms, scope, now)]


def planned(
    repositories: Sequence[RepositoryRecord], terms: tuple[str, ...], scope: Scope, now: datetime
) -> list[Search]:
    """Return the searches of both families over repositories."""
    found: list[Search] = []
    for family in FAMILIES:
        pairs = [
            (record.external_id, record.full_name)
            for record in repositories
            if family != "issue" or record.facts.get("closed_issues") != 0
        ]
        found += batches(pairs, family, terms, scope, now)
    return found


def plan(client: Client, topics: Iterable[str], terms: tuple[str, ...], entry: Entry, lookup: Lookup) -> Page:
    """Turn the catalogue into searches; with a token, count closed issues first as long as that pays."""
    repositories = relevant(lookup, topics)
    offset, asks = entry.parameters["offset"], entry.parameters["asks"] and client.has_token
    chunk = _with_nodes(repositories)[offset : offset + PAGE_SIZE]
    if asks and chunk:
        bodies, records = ask_repositories(client, chunk)
        empty = sum(record.facts.get("closed_issues") == 0 for record in records)
        following = _plan_entry(entry, offset + PAGE_SIZE, empty >= WORTH_ASKING * len(chunk))
        payload = pack("repositories", "POST /graphql Repositories", bodies, offset=offset)
        return Page((Result(entry),), (payload,), repositories=tuple(records), found=(following,))
    scope = Scope.read(entry.parameters["scope"])
    found = searches_of(repositories, terms, scope, client.now)
    if client.has_token:
        found += _checks(scope, _with_nodes(repositories))
    else:
        found += [listing_entry(topic, scope, later=True) for topic in topics]
    return Page((Result(entry),), found=tuple(found))


def plan_entry(scope: Scope) -> Entry:
    """Return the entry that plans the searches once the catalogue is listed."""
    return Entry("plan", "0", {"offset": 0, "asks": True, "scope": scope.document()}, PLANNING)


def _plan_entry(entry: Entry, offset: int, asks: bool) -> Entry:
    return Entry("plan", str(offset), entry.parameters | {"offset": offset, "asks": asks}, PLANNING)


def _checks(scope: Scope, repositories: Sequence[RepositoryRecord]) -> list[Entry]:
    """Return the entries that check repositories, a hundred at a time, by name."""
    entries = []
    for start in range(0, len(repositories), PAGE_SIZE):
        ids = [record.external_id for record in repositories[start : start + PAGE_SIZE]]
        entries.append(Entry("check", str(start), {"ids": ids, "scope": scope.document()}, CHECKING))
    return entries


def check(client: Client, terms: tuple[str, ...], entry: Entry, lookup: Lookup) -> Page:
    """Search those repositories again that were renamed meanwhile, and mark those that are gone."""
    catalogue = {record.external_id: record for record in lookup.repositories()}
    chunk = [catalogue[key] for key in entry.parameters["ids"]]
    bodies, records = ask_repositories(client, chunk)
    names = {record.external_id: record.full_name for record in chunk}
    changed = [record for record in records if record not in chunk]
    renamed = [record for record in records if record.full_name != names[record.external_id]]
    searches = searches_of(renamed, terms, Scope.read(entry.parameters["scope"]), client.now)
    payload = pack(
        "repositories", "POST /graphql Repositories", bodies, names=[record.full_name for record in chunk]
    )
    return Page(
        (Result(entry, note=dropped(chunk, records)),),
        (payload,),
        repositories=tuple(changed),
        found=tuple(searches),
    )


def dropped(asked: Sequence[RepositoryRecord], answered: Sequence[RepositoryRecord]) -> str | None:
    """Return a note on the repositories that were renamed or are gone, None if there are none."""
    names = {record.external_id: record.full_name for record in asked}
    gone = [record.full_name for record in answered if record.facts.get("gone")]
    renamed = [
        f"{names[record.external_id]} is now {record.full_name}"
        for record in answered
        if record.full_name != names[record.external_id]
    ]
    return "; ".join([*renamed, *(f"{name} is gone" for name in gone)]) or None


def ask_repositories(
    client: Client, repositories: Sequence[RepositoryRecord]
) -> tuple[list[bytes], list[RepositoryRecord]]:
    """Return the answers and the repositories as they are now; one that is gone keeps name and facts."""
    try:
        ids = [record.facts["node"] for record in repositories]
        reply = client.graphql(REPOSITORIES, {"ids": ids}, divisible=len(ids) > 1)
    except TooHeavy:
        middle = len(repositories) // 2
        parts = [ask_repositories(client, part) for part in (repositories[:middle], repositories[middle:])]
        return [body for bodies, _ in parts for body in bodies], [one for _, some in parts for one in some]
    return [reply.answer.body], as_they_are(repositories, reply.value["data"]["nodes"])


def as_they_are(repositories: Sequence[RepositoryRecord], nodes: Sequence[Any]) -> list[RepositoryRecord]:
    """Return repositories with what their GraphQL nodes say; a node that is missing is gone."""
    found = []
    for known, node in zip(repositories, nodes, strict=True):
        record = read_repository(node, known_id=known.external_id)
        if record is None:
            found.append(replace(known, facts=known.facts | {"gone": True}))
        else:
            topics = record.topics if len(record.topics) < 20 else known.topics
            found.append(replace(record, topics=topics, facts=known.facts | record.facts))
    return found


def _with_nodes(repositories: Sequence[RepositoryRecord]) -> list[RepositoryRecord]:
    return [record for record in repositories if record.facts.get("node")]


def check_unsearchable(client: Client, entry: Entry, lookup: Lookup) -> Page:
    """Find out why a repository cannot be searched: it has another name now, or is gone."""
    search = Search.read(entry.parameters)
    key, name = search.repositories[0]
    known = next((record for record in lookup.repositories() if record.external_id == key), None)
    try:
        reply = client.get(f"/repos/{name}", {}, is_thing)  # a former name redirects
        record = read_repository(reply.value)
        if record is None or record.external_id != key:
            raise Gone(f"github: {name} is another repository now")
    except Gone as error:
        gone = [replace(known, facts=known.facts | {"gone": True})] if known else []
        return Page((Result(entry, "gone", note=f"{error.availability}: {error}"),), repositories=tuple(gone))
    payload = Payload("repositories", reply.request, reply.answer.body)
    if record.full_name == name:
        result = Result(entry, "truncated", note=f"{name} is there but cannot be searched")
        return Page((result,), (payload,))
    again = replace(search, repositories=((key, record.full_name),)).entry()
    merged = _merged(known, record)
    return Page(
        (Result(entry, note=f"{name} is now {record.full_name}"),),
        (payload,),
        repositories=(merged,),
        found=(again,),
    )
