"""A crawl over a world that was crawled before: what is new, changed, renamed or gone since.

Searching again with `updated:>=` would cost as many requests as the first time, because a search names
five repositories however it is bounded in time; and one search of everything that changed on GitHub
cannot be shown to be complete. With a token, GraphQL answers many small questions in one request
instead: how many repositories a topic has, what the catalogue's repositories are called now, which
threads of five repositories changed, and when the stored threads changed last. Twenty such parts make
one request, so R repositories and N threads cost about (2 + R/100 + 2R/5 + N/100) / 20 requests in a
world without changes, where the first crawl cost R/100 + 2R/5 + N/50 and more. GraphQL does not say
when a search timed out; a full crawl (other bounds) does.

The number of a topic's repositories, and that each known one still has it, shows that there is no new
one. If it differs, the topic is listed again, and what is new is searched without a bound in time.

Without a token, both families are searched everywhere with `updated:>=`, and what lies outside the
catalogue is left aside, unless that finds more than searching the catalogue costs. Deleted threads are
noticed only with a token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pipeline.sources.base import Entry, Lookup, Page, Payload, RepositoryRecord, Result
from pipeline.sources.github_answers import TooHeavy, forbidden
from pipeline.sources.github_catalogue import (
    as_they_are,
    dropped,
    listing_entry,
    planned,
    relevant,
    searches_of,
)
from pipeline.sources.github_client import Client
from pipeline.sources.github_planning import (
    FAMILIES,
    FETCHING,
    FETCHING_EARLY,
    SEARCHING,
    Scope,
    Search,
)
from pipeline.sources.github_queries import refresh
from pipeline.sources.github_records import gone_thread, libraries_of
from pipeline.sources.github_threads import Catalogue
from pipeline.sources.manners import from_text
from pipeline.study import SourceSettings

PARTS = 20  # questions in one request
CHUNK = 100  # ids in one question


def start(
    client: Client, topics: Iterable[str], terms: tuple[str, ...], entry: Entry, lookup: Lookup
) -> Page:
    """Return the questions that show what changed since the last crawl."""
    scope = Scope.read(entry.parameters["scope"])
    repositories = relevant(lookup, topics)
    if not client.has_token:
        found = [listing_entry(topic, scope, later=True) for topic in topics]
        found += [Search(family, (), terms, scope).entry() for family in FAMILIES]
        return Page((Result(entry),), found=tuple(found))
    parts = [_part("topic", topic, {"topic": topic}, scope) for topic in topics]
    nodes = [
        [record.external_id, record.facts["node"]] for record in repositories if record.facts.get("node")
    ]
    parts += [_part("repositories", str(n), {"ids": some}, scope) for n, some in enumerate(_chunks(nodes))]
    for n, search in enumerate(planned(repositories, terms, scope, client.now)):
        parts.append(_part("search", str(n), {"search": search.entry().parameters}, scope))
    threads = [
        [record.external_id, node]
        for record in lookup.repositories()
        for node in (lookup.memory(f"threads:{record.external_id}") or {}).get("nodes", {})
    ]
    parts += [_part("threads", str(n), {"ids": some}, scope) for n, some in enumerate(_chunks(threads))]
    return Page((Result(entry),), found=tuple(parts))


def _part(kind: str, name: str, parameters: dict[str, Any], scope: Scope) -> Entry:
    whole = {"part": kind, "scope": scope.document()} | parameters
    return Entry("refresh", f"{kind} {name}", whole, SEARCHING)


def _chunks(items: list[list[str]]) -> list[list[list[str]]]:
    return [items[first : first + CHUNK] for first in range(0, len(items), CHUNK)]


class Snapshot:
    """What is stored while one page is read: asked for once, with what the page has changed since.

    `hidden` are the node ids that the page says exist and are not for us.
    """

    def __init__(self, lookup: Lookup, hidden: frozenset[str]) -> None:
        self.hidden = hidden
        self._lookup = lookup
        self._repositories = lookup.repositories()
        self.by_id = {record.external_id: record for record in self._repositories}
        self.catalogue = Catalogue(self._repositories)
        self.changed: dict[str, dict[str, Any]] = {}

    def repositories(self) -> Sequence[RepositoryRecord]:
        """Return the catalogue."""
        return self._repositories

    def known(self, external_ids: Sequence[str]) -> dict[str, datetime | None]:
        """Return the `updated_at` of those threads that are stored."""
        return self._lookup.known(external_ids)

    def news_in(self, nodes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the threads that are not stored as they are."""
        stored = self.known([_external_id(node) for node in nodes])
        return [
            node
            for node in nodes
            if node["updatedAt"] is None or stored.get(_external_id(node)) != from_text(node["updatedAt"])
        ]

    def forget(self, repository: str, node: str) -> tuple[int, str]:
        """Remember a thread no longer; return its number and kind."""
        nodes = self.remembered(repository)
        number, kind = nodes.pop(node, (0, "issue"))
        self.changed[f"threads:{repository}"] = {"nodes": nodes}
        return number, kind

    def remembered(self, repository: str) -> dict[str, Any]:
        """Return number and kind of the threads of a repository by node id."""
        name = f"threads:{repository}"
        return dict((self.changed.get(name) or self._lookup.memory(name) or {}).get("nodes", {}))


class Refresher:
    """Asks the questions of a refresh, as many at once as GitHub works off."""

    def __init__(self, client: Client, settings: SourceSettings, terms: tuple[str, ...]) -> None:
        self._client = client
        self._settings = settings
        self._terms = terms
        self._most = PARTS

    def fetch(self, entries: Sequence[Entry], lookup: Lookup) -> Page:
        """Ask as many of the questions as one request carries."""
        while True:
            asked = entries[: self._most]
            variables = {
                name: value for n, entry in enumerate(asked) for name, value in self._variables(n, entry)
            }
            document = refresh([entry.parameters["part"] for entry in asked])
            try:
                reply = self._client.graphql(document, variables, divisible=len(asked) > 1)
                break
            except TooHeavy:
                self._most = len(asked) // 2
        payload = Payload("refresh", reply.request, reply.answer.body)
        stored = Snapshot(lookup, _hidden_nodes(asked, forbidden(reply.value.get("errors"))))
        answers = [reply.value["data"].get(f"part{n}") for n in range(len(asked))]
        pages = [self._read(entry, answer, stored) for entry, answer in zip(asked, answers, strict=True)]
        return Page(
            results=tuple(result for page in pages for result in page.results),
            payloads=(payload,),
            threads=tuple(pair for page in pages for pair in page.threads),
            repositories=tuple(record for page in pages for record in page.repositories),
            found=tuple(entry for page in pages for entry in page.found),
            memory=stored.changed,
        )

    def _variables(self, n: int, entry: Entry) -> list[tuple[str, Any]]:
        parameters = entry.parameters
        if parameters["part"] == "topic":
            return [(f"q{n}", f"topic:{parameters['topic']}")]
        if parameters["part"] == "search":
            return [(f"q{n}", Search.read(parameters["search"]).text(self._client.now))]
        return [(f"ids{n}", [node for _, node in parameters["ids"]])]

    def _read(self, entry: Entry, answer: Any, stored: Snapshot) -> Page:
        readers = {
            "topic": self._read_topic,
            "search": self._read_search,
            "repositories": self._read_repositories,
            "threads": self._read_threads,
        }
        return readers[entry.parameters["part"]](entry, answer, stored)

    def _read_topic(self, entry: Entry, answer: Any, stored: Snapshot) -> Page:
        """List a topic again if it has another number of repositories than the catalogue."""
        topic = entry.parameters["topic"]
        known = relevant(stored, [topic])
        if answer is not None and answer["repositoryCount"] == len(known):
            return Page((Result(entry),))
        listing = listing_entry(topic, Scope.read(entry.parameters["scope"]), later=True)
        return Page((Result(entry, note="the number of repositories differs"),), found=(listing,))

    def _read_repositories(self, entry: Entry, answer: Any, stored: Snapshot) -> Page:
        """Keep what changed; a renamed repository, or one with its first closed issues, is searched whole."""
        asked = [stored.by_id[key] for key, _ in entry.parameters["ids"]]
        records = as_they_are(asked, answer)
        changed = [after for before, after in zip(asked, records, strict=True) if after != before]
        scope = replace(Scope.read(entry.parameters["scope"]), updated_since=None)
        again = [
            after for before, after in zip(asked, records, strict=True) if _must_be_searched(before, after)
        ]
        searches = searches_of(again, self._terms, scope, self._client.now)
        missing = set(self._settings.topics)
        lost = {topic for before, after in zip(asked, records, strict=True) for topic in _lost(before, after)}
        listings = [
            listing_entry(topic, Scope.read(entry.parameters["scope"]), later=True)
            for topic in sorted(lost & missing)
        ]
        result = Result(entry, note=dropped(asked, records))
        regrouped = [
            after for before, after in zip(asked, records, strict=True) if self._is_regrouped(before, after)
        ]
        threads = [found for record in regrouped for found in self._thread_entries(record, entry, stored)]
        return Page((result,), repositories=tuple(changed), found=(*searches, *listings, *threads))

    def _is_regrouped(self, before: RepositoryRecord, after: RepositoryRecord) -> bool:
        """Say whether the threads of a repository are about other libraries of the study now."""
        settings = self._settings
        return libraries_of(before.topics, settings) != libraries_of(after.topics, settings)

    def _thread_entries(self, record: RepositoryRecord, entry: Entry, stored: Snapshot) -> list[Entry]:
        """Return the entries that fetch the stored threads of a repository again."""
        repository = {"id": record.facts["node"], "databaseId": None, "nameWithOwner": record.full_name}
        nodes = [
            {
                "id": node,
                "number": number,
                "kind": "PullRequest" if kind == "pull" else "",
                "repository": repository,
            }
            for node, (number, kind) in stored.remembered(record.external_id).items()
        ]
        return [self._thread_entry(node, entry, stored) for node in nodes]

    def _read_search(self, entry: Entry, answer: Any, stored: Snapshot) -> Page:
        """Fetch the threads that changed; search properly where there are more than were given."""
        search = Search.read(entry.parameters["search"])
        if answer is None or answer["issueCount"] > len(answer["nodes"]):
            return Page((Result(entry, note="many changed"),), found=(search.entry(),))
        nodes = [node for node in answer["nodes"] if node and "number" in node]
        found = [self._thread_entry(node, entry, stored) for node in stored.news_in(nodes)]
        return Page((Result(entry),), found=tuple(found))

    def _read_threads(self, entry: Entry, answer: Any, stored: Snapshot) -> Page:
        """Fetch the stored threads that changed, and take leave of those that are gone."""
        present = [node for node in answer if node and "number" in node]
        found = [self._thread_entry(node, entry, stored) for node in stored.news_in(present)]
        there = {node["id"] for node in present}
        gone = [
            gone_thread(
                f"{stored.by_id[key].full_name}#{number}",
                kind,
                "private" if node in stored.hidden else "gone",
                self._settings,
            )
            for key, node in entry.parameters["ids"]
            if node not in there
            for number, kind in [stored.forget(key, node)]
        ]
        known = stored.known([record.external_id for record in gone])
        threads = tuple((record, 0) for record in gone if record.external_id in known)
        return Page((Result(entry),), threads=threads, found=tuple(found))

    def _thread_entry(self, node: dict[str, Any], entry: Entry, stored: Snapshot) -> Entry:
        limited = entry.parameters["scope"]["limited"]
        parameters = {
            "repository": stored.catalogue.id_of(node["repository"]),
            "name": node["repository"]["nameWithOwner"],
            "number": node["number"],
            "kind": "pull" if node["kind"] == "PullRequest" else "issue",
            "found_by": f"POST /graphql Refresh {entry.key}",
        }
        return Entry("thread", node["id"], parameters, FETCHING_EARLY if limited else FETCHING)


def _hidden_nodes(asked: Sequence[Entry], forbidden: frozenset[tuple[Any, ...]]) -> frozenset[str]:
    return frozenset(
        node
        for n, entry in enumerate(asked)
        for at, (_, node) in enumerate(entry.parameters.get("ids", ()))
        if (f"part{n}", at) in forbidden
    )


def _external_id(node: dict[str, Any]) -> str:
    return f"{node['repository']['nameWithOwner']}#{node['number']}"


def _must_be_searched(before: RepositoryRecord, after: RepositoryRecord) -> bool:
    if after.facts.get("gone"):
        return False
    first_issue = before.facts.get("closed_issues") == 0 and after.facts.get("closed_issues") != 0
    return after.full_name != before.full_name or first_issue


def _lost(before: RepositoryRecord, after: RepositoryRecord) -> set[str]:
    """Return the topics that a repository no longer counts for."""
    return set(before.topics) - (set() if after.facts.get("gone") else set(after.topics))
