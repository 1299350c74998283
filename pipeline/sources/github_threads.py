"""Fetching threads: fifty a request by GraphQL node id, or one by one by REST where there is no token.

A page that is too heavy for GitHub is halved, threads first, then comments. Comments beyond the first
page are asked for ten threads at a time, at their cursors.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import Gone, SourceError, Unreachable
from pipeline.payloads import TooMuch
from pipeline.records import ThreadRecord
from pipeline.sources.base import Entry, Lookup, Page, RepositoryRecord, Result
from pipeline.sources.github_answers import TooHeavy, forbidden
from pipeline.sources.github_client import Client, Reply, is_list, is_thing
from pipeline.sources.github_queries import THREADS, more_comments
from pipeline.sources.github_records import (
    Hit,
    from_node,
    gone_thread,
    pack,
    read_hit,
    read_repository,
    read_threads,
    text_of,
    whole_nodes,
)
from pipeline.study import SourceSettings

MOST = 50  # threads a request
COMMENTS = 50  # comments of each in the first request
OVERFLOWING = 10  # threads a request for further comments
PATIENCE = 5  # threads by which a halved page grows again with each success


@dataclass(slots=True)
class Load:
    """How much GitHub could work off lately: threads a request and comments a thread."""

    threads: int = MOST
    comments: int = COMMENTS

    def halve(self, asked: int) -> None:
        """Ask for half of what was too much; one thread with one comment is the least."""
        if asked > 1:
            self.threads = asked // 2
        else:
            self.comments = max(1, self.comments // 2)

    def grow(self) -> None:
        """Come back to full pages by and by."""
        self.threads, self.comments = min(MOST, self.threads + PATIENCE), COMMENTS


def fetch_threads(
    client: Client, settings: SourceSettings, load: Load, entries: Sequence[Entry], lookup: Lookup
) -> Page:
    """Fetch as many of the threads as one request carries, with all their comments."""
    while True:
        asked = entries[: load.threads]
        try:
            replies = _ask(client, [entry.key for entry in asked], load)
            break
        except TooMuch as error:
            if len(asked) == 1:
                return Page((Result(asked[0], "truncated", note=str(error)),))
            load.halve(len(asked))
        except TooHeavy:
            load.halve(len(asked))
        except Unreachable as error:
            error.about = len(asked)
            raise
    load.grow()
    found = {entry.key: entry.parameters["found_by"] for entry in asked}
    payload = pack(
        "threads", "POST /graphql Threads", [reply.answer.body for reply in replies], found_by=found
    )
    nodes = whole_nodes([reply.value for reply in replies])
    catalogue = Catalogue(lookup.repositories())
    hidden = forbidden(replies[0].value.get("errors"))
    settled = [
        _settle(entry, nodes[entry.key], catalogue, settings, lookup)
        if entry.key in nodes
        else _settle_absent(entry, ("nodes", at) in hidden, settings, lookup)
        for at, entry in enumerate(asked)
    ]
    present = [nodes[entry.key] for entry in asked if entry.key in nodes]
    threads = [
        (catalogue.id_of(node["repository"]), node["id"], node["number"], _kind(node)) for node in present
    ]
    return Page(
        results=tuple(result for result, _ in settled),
        payloads=(payload,),
        threads=tuple((thread, 0) for _, threads in settled for thread in threads),
        repositories=catalogue.changed(present),
        memory=remember(threads, lookup),
    )


class Catalogue:
    """The known repositories by node id: GraphQL's number for one is missing above 2^31."""

    def __init__(self, repositories: Sequence[RepositoryRecord]) -> None:
        self._by_node = {record.facts.get("node"): record for record in repositories}

    def id_of(self, repository: dict[str, Any]) -> str:
        """Return the id of a GraphQL repository."""
        known = self._by_node.get(repository["id"])
        return known.external_id if known else str(repository["databaseId"] or repository["id"])

    def changed(self, nodes: Sequence[dict[str, Any]]) -> tuple[RepositoryRecord, ...]:
        """Return the known repositories of threads whose name or topics are others now."""
        found = {}
        for node in nodes:
            known = self._by_node.get(node["repository"]["id"])
            record = known and read_repository(node["repository"], known_id=known.external_id)
            if not known or not record or len(record.topics) == 20:  # the most that were asked for
                continue
            if (known.full_name, known.topics) != (record.full_name, record.topics):
                found[known.external_id] = replace(record, facts=known.facts | record.facts)
        return tuple(found.values())


def _ask(client: Client, ids: list[str], load: Load) -> list[Reply]:
    """Return the answers that hold the threads with all their comments."""
    divisible = len(ids) > 1 or load.comments > 1
    replies = [client.graphql(THREADS, {"ids": ids, "comments": load.comments}, divisible)]
    cursors = _cursors(replies[0].value["data"].get("nodes") or ())
    while cursors:
        following: dict[str, str] = {}
        keys = list(cursors)
        for start in range(0, len(keys), OVERFLOWING):
            some = keys[start : start + OVERFLOWING]
            variables = {f"id{n}": key for n, key in enumerate(some)}
            variables |= {f"after{n}": cursors[key] for n, key in enumerate(some)}
            replies.append(client.graphql(more_comments(len(some)), variables))
            following |= _cursors(replies[-1].value["data"].values())
        cursors = {key: after for key, after in following.items() if cursors.get(key) != after}
    return replies


def _cursors(nodes: Any) -> dict[str, str]:
    """Return where the comments go on, by node id, for the nodes that have more."""
    cursors = {}
    for node in nodes:
        comments = node.get("comments") if node else None
        if comments and comments["pageInfo"]["hasNextPage"] and comments["pageInfo"]["endCursor"]:
            cursors[node["id"]] = comments["pageInfo"]["endCursor"]
    return cursors


def _settle(
    entry: Entry,
    node: dict[str, Any],
    catalogue: Catalogue,
    settings: SourceSettings,
    lookup: Lookup,
) -> tuple[Result, list[ThreadRecord]]:
    """Return what became of an entry whose thread is there, at home or moved elsewhere."""
    expected = _expected(entry)
    thread = from_node(node, settings)
    missing = node["comments"]["totalCount"] - len(thread.posts) + 1
    note = f"{missing} of its comments were announced and not given" if missing > 0 else None
    at_home = catalogue.id_of(node["repository"]) == entry.parameters["repository"]
    if at_home or thread.external_id.lower() == expected.lower():
        return Result(entry, note=note), [thread]
    old = _farewell(entry, expected, "moved", settings, lookup)
    return Result(entry, note=f"moved: {thread.url}"), [*old, thread]


def _settle_absent(
    entry: Entry, is_hidden: bool, settings: SourceSettings, lookup: Lookup
) -> tuple[Result, list[ThreadRecord]]:
    """Return what became of an entry whose thread did not come: it is there and not for us, or gone."""
    note = "private: GitHub forbids this thread" if is_hidden else "gone: GitHub has no such thread any more"
    availability = note.partition(":")[0]
    return Result(entry, "gone", note=note), _farewell(
        entry, _expected(entry), availability, settings, lookup
    )


def _expected(entry: Entry) -> str:
    return f"{entry.parameters['name']}#{entry.parameters['number']}"


def _farewell(
    entry: Entry, external_id: str, availability: str, settings: SourceSettings, lookup: Lookup
) -> list[ThreadRecord]:
    """Return the record that a stored thread is no longer there; nothing for one that never was."""
    if external_id not in lookup.known([external_id]):
        return []
    return [gone_thread(external_id, entry.parameters["kind"], availability, settings)]


def remember(threads: Sequence[tuple[str, str, int, str]], lookup: Lookup) -> dict[str, dict[str, Any]]:
    """Return what to remember of threads (repository, node id, number, kind) for a later check."""
    changed: dict[str, dict[str, Any]] = defaultdict(dict)
    for repository, node, number, kind in threads:
        changed[repository][node] = [number, kind]
    memory = {}
    for key, nodes in changed.items():
        before = (lookup.memory(f"threads:{key}") or {}).get("nodes", {})
        if any(before.get(node) != value for node, value in nodes.items()):
            memory[f"threads:{key}"] = {"nodes": before | nodes}
    return memory


def _kind(node: dict[str, Any]) -> str:
    return "pull" if node["kind"] == "PullRequest" else "issue"


def fetch_issue(client: Client, settings: SourceSettings, entry: Entry, lookup: Lookup) -> Page:
    """Fetch the comments of one thread by REST; the thread itself was carried along."""
    parameters = entry.parameters
    hit = read_hit(parameters["item"])
    assert hit is not None
    try:
        return _whole(client, settings, entry, hit, lookup)
    except Gone as error:
        return _gone_page(entry, error, hit.external_id, settings, lookup)
    except TooMuch as error:
        return Page((Result(entry, "truncated", note=str(error)),))


def fetch_listed(client: Client, settings: SourceSettings, entry: Entry, lookup: Lookup) -> Page:
    """Fetch one thread by its address, wherever it is now."""
    name, number = entry.parameters["name"], entry.parameters["number"]
    try:
        reply = client.get(f"/repos/{name}/issues/{number}", {}, is_thing)
        hit = read_hit(reply.value)
        if hit is None:
            raise Gone(f"github: {name}#{number}: the answer is no issue")
        page = _whole(client, settings, entry, hit, lookup)
    except Gone as error:
        return _gone_page(entry, error, f"{name}#{number}", settings, lookup)
    except TooMuch as error:
        return Page((Result(entry, "truncated", note=str(error)),))
    thread = page.threads[0][0]
    if thread.external_id.lower() == f"{name}#{number}".lower():
        return page
    old = [(record, 0) for record in _farewell(entry, f"{name}#{number}", "moved", settings, lookup)]
    moved = Result(entry, cursor={"id": thread.external_id}, note=f"moved: {thread.url}")
    return Page((moved,), page.payloads, (*page.threads, *old), page.repositories, memory=page.memory)


def _whole(client: Client, settings: SourceSettings, entry: Entry, hit: Hit, lookup: Lookup) -> Page:
    """Return the page of one thread with all its comments and its repository's topics, by REST."""
    repository, fresh = _repository_of(client, hit, lookup)
    pages = _comment_pages(client, repository.external_id, hit)
    answers = [json.dumps(hit.item).encode(), *(page.answer.body for page in pages)]
    payload = pack(
        "thread",
        pages[0].request if pages else hit.external_id,
        answers,
        found_by=entry.parameters.get("found_by"),
        topics=list(repository.topics),
    )
    thread = read_threads(payload, settings)[0]
    missing = int(hit.item.get("comments") or 0) - len(thread.posts) + 1
    note = f"{missing} of its comments were announced and not given" if missing > 0 else None
    memory = remember([(repository.external_id, hit.node, hit.number, hit.kind)], lookup) if hit.node else {}
    return Page((Result(entry, note=note),), (payload,), ((thread, 0),), fresh, memory=memory)


def _repository_of(
    client: Client, hit: Hit, lookup: Lookup
) -> tuple[RepositoryRecord, tuple[RepositoryRecord, ...]]:
    """Return the repository of a thread, and again what of it is new to the catalogue."""
    catalogue = lookup.repositories()
    for known in catalogue:
        if known.full_name.lower() == hit.repository.lower():
            return known, ()
    record = read_repository(client.get(f"/repos/{hit.repository}", {}, is_thing).value)
    if record is None:
        raise SourceError(f"github: {hit.repository}: the answer is no repository")
    facts = [known.facts for known in catalogue if known.external_id == record.external_id]
    record = replace(record, facts=(facts[0] if facts else {}) | record.facts)
    return record, (record,)


def _comment_pages(client: Client, repository_id: str, hit: Hit) -> list[Reply]:
    pages: list[Reply] = []
    path = f"/repositories/{repository_id}/issues/{hit.number}/comments"
    if hit.item.get("comments") == 0:
        return []
    while not pages or (pages[-1].has_next and pages[-1].value):
        pages.append(client.get(path, {"per_page": "100", "page": str(len(pages) + 1)}, is_list))
    return pages


def _gone_page(entry: Entry, error: Gone, external_id: str, settings: SourceSettings, lookup: Lookup) -> Page:
    result = Result(entry, "gone", note=f"{error.availability}: {text_of(str(error))}")
    gone = _farewell(entry, external_id, error.availability, settings, lookup)
    body = pack("gone", entry.key, [], error=str(error))
    return Page((result,), (body,), tuple((record, 0) for record in gone))
