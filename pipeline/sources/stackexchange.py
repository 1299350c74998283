"""Stack Overflow, or any other Stack Exchange site, by its API 2.3.

A first crawl sends six searches (`q`, `title` and `body`, for each search term) and unites them: what
`q` finds is documented nowhere. Each page is asked for from the creation date of the last question of
the page before, one second earlier: so no window grows beyond a page, the API's wall at page 25 is
never met, and a question deleted meanwhile shifts none past a page border. A title or body search of
more than a page is first compared with `q` by two numbers: if `q` has all of its hits, it is done.

A later crawl lists what was active since, newest first; the answer also says how many questions with an
accepted answer there are. If anything was active, the stored questions are looked at again by id; if the
number is not what the last crawl saw and the new questions add, the searches are sent again as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pipeline.errors import Malformed
from pipeline.links import read_source_link
from pipeline.payloads import read_json
from pipeline.records import ThreadRecord
from pipeline.sources.base import Entry, Lookup, Page, Payload, Result, Window
from pipeline.sources.stackexchange_client import Fetched
from pipeline.sources.stackexchange_latest import fetch_latest, fetch_recheck
from pipeline.sources.stackexchange_questions import fetch_questions
from pipeline.sources.stackexchange_records import is_question, to_thread
from pipeline.sources.stackexchange_site import (
    IDS,
    LAST_PAGE,
    OLDEST_FIRST,
    Site,
    earlier,
    is_within,
    later,
    question_entry,
    search_entries,
)
from pipeline.study import SourceSettings, Study
from pipeline.transport import Transport


class StackExchange:
    """The source of one Stack Exchange site. Every `fetch_page` is one request."""

    thread_kinds = frozenset(("question",))

    def __init__(
        self, settings: SourceSettings, study: Study, transport: Transport, key: str | None = None
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._site = Site(settings, study, transport, key)

    def seed(self, window: Window) -> Sequence[Entry]:
        """Return the searches of a first crawl, and the list that a later one begins and ends with."""
        bounds = {"since": _seconds(window.since), "until": _seconds(window.until)}
        latest = Entry(
            "latest", "latest", {**bounds, "active_since": _seconds(window.updated_since)}, priority=9
        )
        return (
            [latest]
            if window.updated_since is not None
            else [*search_entries(self._site.study, bounds), latest]
        )

    def batch_size(self, kind: str) -> int:
        """Return how many entries of `kind` one request takes."""
        return IDS if kind == "question" else 1

    def fetch_page(self, entries: Sequence[Entry], lookup: Lookup) -> Page:
        """Ask what `entries` say; before the first page of a crawl, for the site and the filter."""
        prepared = self._site.prepare(_filter_of(entries[0]), lookup)
        if prepared is not None:
            kept = tuple(Result(entry, "pending", entry.cursor) for entry in entries)
            return Page(kept, memory=prepared)
        return FETCHERS[entries[0].kind](self._site, entries, lookup)

    def to_threads(self, payload: Payload) -> Sequence[ThreadRecord]:
        """Return the questions of a payload (`items`, or a bare list of them)."""
        value = read_json(payload.body)
        items = value.get("items") if isinstance(value, dict) else value
        if not isinstance(items, list):
            raise Malformed(f"{self.name}: {payload.request}: no items")
        questions = [item for item in items if isinstance(item, dict) and is_question(item)]
        return [to_thread(question, self._settings) for question in questions]

    def listed_entry(self, url: str) -> Entry | None:
        """Return the entry for a question's URL, or for a short link to one of its answers."""
        link = read_source_link(url, self._settings)
        if link is None:
            return None
        if link.external_id:
            return question_entry(link.external_id)
        return Entry("question", f"answer:{link.answer}", {"answer": link.answer})

    def close(self) -> None:
        """Close the connection."""
        self._site.client.close()


def _fetch_search(site: Site, entries: Sequence[Entry], lookup: Lookup) -> Page:
    """Ask for the next page of a search, or whether it has any use."""
    entry = entries[0]
    parameters, cursor = entry.parameters, entry.cursor
    if cursor is not None and "check" in cursor:
        return _compare_with_q(site, entry, cursor, lookup)
    query = {parameters["field"]: parameters["term"]}
    fetched, result = _next_page(site, entry, lookup, query)
    if cursor is None and result.cursor is not None and parameters["field"] != "q":
        result = replace(result, cursor={**result.cursor, "check": None})
    questions = [item for item in fetched.items if is_question(item) and is_within(item, parameters)]
    return site.page(fetched, result, questions)


def _compare_with_q(site: Site, entry: Entry, cursor: dict[str, Any], lookup: Lookup) -> Page:
    """Count the hits of a search, then those that `q` has too: as many mean that it is done."""
    parameters = entry.parameters
    query = {parameters["field"]: parameters["term"]}
    if cursor["check"] is None:
        fetched = site.count(lookup, parameters, **query)
        result = Result(entry, "pending", {**cursor, "check": fetched.total})
    else:
        fetched = site.count(lookup, parameters, q=parameters["term"], **query)
        if fetched.total == cursor["check"]:
            result = Result(entry, note=f"q has found all of its {fetched.total} hits")
        else:
            result = Result(entry, "pending", {"from": cursor["from"], "page": cursor["page"]})
    return Page((result,), memory=fetched.memory)


def _next_page(site: Site, entry: Entry, lookup: Lookup, query: dict[str, str]) -> tuple[Fetched, Result]:
    """Ask for the next page of a search, oldest question first, and say how to go on."""
    parameters = entry.parameters
    cursor = entry.cursor or {"from": earlier(parameters["since"]), "page": 1}
    bounds = {"fromdate": cursor["from"], "todate": later(parameters["until"])}
    fetched = site.search(lookup, bounds, page=cursor["page"], **OLDEST_FIRST, **query)
    return fetched, _go_on(entry, cursor, fetched)


def _go_on(entry: Entry, cursor: dict[str, Any], fetched: Fetched) -> Result:
    if not fetched.has_more:
        return Result(entry)
    dates = [item["creation_date"] for item in fetched.items if isinstance(item.get("creation_date"), int)]
    is_ordered = bool(dates) and dates == sorted(dates)
    if is_ordered and (cursor["from"] is None or dates[-1] - 1 > cursor["from"]):
        return Result(entry, "pending", {"from": dates[-1] - 1, "page": 1})
    if cursor["page"] >= LAST_PAGE:
        why = "within two seconds" if is_ordered else "and the order asked for is not kept"
        return Result(entry, "truncated", note=f"more than {LAST_PAGE} pages {why}")
    return Result(entry, "pending", {"from": cursor["from"], "page": cursor["page"] + 1})


def _filter_of(entry: Entry) -> str:
    """Return the name of the filter that the next request for an entry needs."""
    cursor = entry.cursor or {}
    counts = "check" in cursor or (entry.kind == "latest" and not cursor)
    return "totalled" if counts else "nested"


def _seconds(when: datetime | None) -> int | None:
    if when is not None and not isinstance(when, datetime):
        raise TypeError("a window is bounded by times, not dates")
    return int(when.timestamp()) if when else None


FETCHERS = {
    "search": _fetch_search,
    "latest": fetch_latest,
    "question": fetch_questions,
    "recheck": fetch_recheck,
}
