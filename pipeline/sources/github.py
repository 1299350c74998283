"""GitHub: closed issues and pull requests with a reply and a keyword, in repositories of the study's topics.

A crawl lists the repositories of each topic (`github_catalogue`), searches them in batches
(`github_search`) and fetches the threads found (`github_threads`). A crawl that repeats one asks only
what changed (`github_refresh`). Everything is asked through `github_client` and read by
`github_records`; with no token, by REST alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.links import read_source_link
from pipeline.records import ThreadRecord
from pipeline.sources.base import Entry, Lookup, Page, Payload, Result, Window
from pipeline.sources.github_catalogue import (
    check,
    check_unsearchable,
    fetch_repositories,
    listing_entry,
    plan,
    plan_entry,
    relevant,
)
from pipeline.sources.github_client import Client
from pipeline.sources.github_planning import LISTING, Scope
from pipeline.sources.github_records import read_threads
from pipeline.sources.github_refresh import PARTS, Refresher, start
from pipeline.sources.github_search import fetch_search
from pipeline.sources.github_threads import MOST, Load, fetch_issue, fetch_listed, fetch_threads
from pipeline.sources.manners import user_agent
from pipeline.study import SourceSettings, Study
from pipeline.transport import Transport

BATCHES = {"thread": MOST, "refresh": PARTS}


class GitHub:
    """The GitHub source; see `pipeline.sources.base.Source`."""

    thread_kinds = frozenset(("thread", "issue", "listed"))

    def __init__(
        self, settings: SourceSettings, study: Study, transport: Transport, tokens: tuple[str, ...] = ()
    ) -> None:
        self.name = settings.name
        self.client = Client(settings.url, tokens, user_agent(study), transport)
        self._settings = settings
        self._topics = tuple(settings.topics)
        self._terms = study.search_terms
        self._load = Load()
        self._refresher = Refresher(self.client, settings, study.search_terms)

    def seed(self, window: Window) -> Sequence[Entry]:
        """Return the first entry of a crawl; asks the service nothing."""
        scope = Scope(window.since, window.until, window.updated_since, window.limit is not None)
        return (Entry("start", "", {"scope": scope.document()}, LISTING),)

    def batch_size(self, kind: str) -> int:
        """Return how many entries of `kind` one page takes at the most."""
        return BATCHES.get(kind, 1)

    def fetch_page(self, entries: Sequence[Entry], lookup: Lookup) -> Page:
        """Ask GitHub for what the entries say, and return what it gave."""
        entry, client = entries[0], self.client
        match entry.kind:
            case "start":
                return self._start(entry, lookup)
            case "repositories":
                return fetch_repositories(client, self._terms, entry, lookup)
            case "plan":
                return plan(client, self._topics, self._terms, entry, lookup)
            case "search":
                return fetch_search(client, entry, lookup)
            case "repository":
                return check_unsearchable(client, entry, lookup)
            case "check":
                return check(client, self._terms, entry, lookup)
            case "refresh":
                return self._refresher.fetch(entries, lookup)
            case "thread":
                return fetch_threads(client, self._settings, self._load, entries, lookup)
            case "issue":
                return fetch_issue(client, self._settings, entry, lookup)
            case "listed":
                return fetch_listed(client, self._settings, entry, lookup)
        raise ValueError(f"{self.name}: no such kind of entry: {entry.kind}")

    def to_threads(self, payload: Payload) -> Sequence[ThreadRecord]:
        """Return the threads that a stored payload holds."""
        return read_threads(payload, self._settings)

    def listed_entry(self, url: str) -> Entry | None:
        """Return the entry that fetches the issue or pull request at `url`, or None if it is neither."""
        link = read_source_link(url, self._settings)
        if link is None or link.external_id is None:
            return None
        name, _, number = link.external_id.partition("#")
        kind = "pull" if "/pull/" in link.url else "issue"
        return Entry("listed", link.external_id, {"name": name, "number": int(number), "kind": kind})

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def _start(self, entry: Entry, lookup: Lookup) -> Page:
        scope = Scope.read(entry.parameters["scope"])
        if scope.updated_since and relevant(lookup, self._topics):
            return start(self.client, self._topics, self._terms, entry, lookup)
        scope = Scope(scope.since, scope.until, None, scope.limited)
        found = [listing_entry(topic, scope) for topic in self._topics]
        return Page((Result(entry),), found=(*found, plan_entry(scope)))
