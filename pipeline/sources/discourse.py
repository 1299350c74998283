"""PyTorch Forums, or any other Discourse forum, by its JSON pages.

A crawl lists the solved topics, oldest first (a bump moves no row of that order), and fetches each one
with its raw text. A later crawl reads the same list, which costs a thirtieth of the topics, and fetches
what is new, bumped or newly solved, and what should stand in the list and does not: that was deleted.
Search is not used: its pages are capped, and robots.txt of a default installation forbids it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from pipeline.errors import Malformed, Refused
from pipeline.links import read_source_link
from pipeline.payloads import TooMuch, read_json
from pipeline.records import ThreadRecord
from pipeline.sources.base import Entry, Lookup, Page, Payload, Result, Window
from pipeline.sources.discourse_client import Client, Fetched
from pipeline.sources.discourse_records import Row, lost_thread, missing_posts, to_rows, to_thread
from pipeline.sources.manners import from_text
from pipeline.study import SourceSettings, Study
from pipeline.transport import Transport

PER_PAGE = 100  # asked for; many forums give 30 whatever is asked
CHUNK = 20  # posts a request, as the forum's own pages ask
MOST_POSTS = 1000  # of one topic; beyond, it is marked as truncated
MOST_REDIRECTS = 3


class Discourse:
    """The source of one forum. Every `fetch_page` is one request (and one a redirect)."""

    thread_kinds = frozenset(("topic",))

    def __init__(self, settings: SourceSettings, study: Study, transport: Transport) -> None:
        self.name = settings.name
        self._settings = settings
        self._client = Client(settings, study, transport)

    def seed(self, window: Window) -> Sequence[Entry]:
        """Return the list of solved topics; an incremental crawl compares it with what is stored."""
        parameters = {
            "since": window.since.isoformat() if window.since else None,
            "until": window.until.isoformat() if window.until else None,
            "compare": window.updated_since is not None,
            "limit": window.limit,
        }
        return [Entry("list", "solved", parameters)]

    def batch_size(self, kind: str) -> int:
        """Return 1: a request is for one page of a list, or for one topic."""
        return 1

    def fetch_page(self, entries: Sequence[Entry], lookup: Lookup) -> Page:
        """Ask for the next page of the list, or for the next part of a topic."""
        entry = entries[0]
        if entry.kind == "list":
            return self._fetch_list(entry, lookup)
        try:
            return self._fetch_topic(entry, lookup)
        except TooMuch as error:
            # Asking again would bring the same: one hostile topic must not end the crawl.
            return Page((Result(entry, "truncated", note=f"left out: {error}"),))

    def to_threads(self, payload: Payload) -> Sequence[ThreadRecord]:
        """Return the topic of a payload: one answer, or the list of its parts. Other kinds hold none."""
        if payload.kind == "absence":
            return []
        value = read_json(payload.body)
        parts = [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, dict)]
        if parts and "topic_list" in parts[0]:
            return []
        if not parts or not isinstance(parts[0].get("id"), int) or "post_stream" not in parts[0]:
            raise Malformed(f"{self.name}: {payload.request}: no topic")
        return [to_thread(parts, self._settings)]

    def listed_entry(self, url: str) -> Entry | None:
        """Return the entry for a topic's URL; one without an id is resolved by its slug."""
        link = read_source_link(url, self._settings)
        if link is None:
            return None
        if link.external_id:
            return Entry("topic", link.external_id, {"id": link.external_id})
        return Entry("topic", f"slug:{link.slug}", {"slug": link.slug})

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    # The list.

    def _fetch_list(self, entry: Entry, lookup: Lookup) -> Page:
        """Read the next page of the list; find the topics to fetch, and those that it should hold."""
        cursor = entry.cursor or {"page": 0, "found": 0, "previous": [], "reached": None}
        fetched = self._client.get("/latest.json", list_query(cursor["page"]))
        if fetched.value is None:
            raise Refused(
                f"{self.name}: /latest.json: HTTP {fetched.status}: {self._settings.url} is no forum"
                " that anybody may read; check its `url` in the study"
            )
        rows, has_more = to_rows(fetched.value)
        listing = _Listing(entry.parameters, cursor, rows, has_more)
        solved = self._solved(rows)
        found = [_topic(row) for row in solved if listing.is_within(row)]
        if entry.parameters["compare"]:
            found = _changes(listing, solved, lookup)
        note = None if len(solved) == len(rows) else "the forum ignores solved=yes; rows are sorted out here"
        payloads = (Payload("list", fetched.request, fetched.body),) if found else ()
        return Page((listing.go_on(entry, len(found), note),), payloads, found=tuple(found))

    def _solved(self, rows: Sequence[Row]) -> list[Row]:
        """Return the solved rows; Refused if the forum does not say which ones are."""
        if rows and all(row.is_solved is None for row in rows):
            raise Refused(
                f"{self.name}: the list of {self._settings.url} does not say which topics are solved;"
                " a forum without accepted answers is no source"
            )
        return [row for row in rows if row.is_solved]

    # A topic.

    def _fetch_topic(self, entry: Entry, lookup: Lookup) -> Page:
        cursor = entry.cursor or {}
        if "parts" not in cursor:
            return self._fetch_first_part(entry, lookup)
        ids = cursor["missing"][:CHUNK]
        fetched = self._client.get(
            f"/t/{cursor['id']}/posts.json",
            {"post_ids[]": [str(id) for id in ids], "include_raw": "true"},
        )
        if fetched.value is None:
            return self._lose(entry, cursor["id"], fetched, lookup)
        parts = [*cursor["parts"], fetched.body.decode("utf-8", "replace")]
        return self._part(entry, cursor["id"], parts, cursor["missing"][CHUNK:], fetched)

    def _fetch_first_part(self, entry: Entry, lookup: Lookup) -> Page:
        """Ask for a topic by its id, or by its slug, and follow the forum to where it stands today."""
        number = entry.parameters.get("id")
        path = f"/t/{number or entry.parameters['slug']}.json"
        fetched = self._client.get(path, {"include_raw": "true"})
        for _ in range(MOST_REDIRECTS):
            target = self._target(path, fetched)
            if target is None:
                break
            path = target
            fetched = self._client.get(path, {"include_raw": "true"})
        if fetched.location is not None and urlsplit(fetched.location).path.endswith("/login"):
            fetched = replace(fetched, availability="private")
        if fetched.value is None:
            return self._lose(entry, number, fetched, lookup)
        topic = fetched.value
        if not isinstance(topic.get("id"), int) or "post_stream" not in topic:
            raise Malformed(f"{self.name}: {path}: the answer is no topic")
        if number is not None and str(topic["id"]) != number:
            return self._lose(entry, number, replace(fetched, availability="moved"), lookup)
        part = fetched.body.decode("utf-8", "replace")
        return self._part(entry, str(topic["id"]), [part], missing_posts(topic), fetched)

    def _target(self, path: str, fetched: Fetched) -> str | None:
        """Return the path of a topic that a redirect leads to, or None if it leads out of the forum."""
        if fetched.location is None:
            return None
        link = read_source_link(urljoin(self._settings.url + path, fetched.location), self._settings)
        if link is None or link.external_id is None:
            return None
        target = urlsplit(link.url).path.removeprefix(urlsplit(self._settings.site).path.rstrip("/"))
        return f"{target}.json" if f"{target}.json" != path else None

    def _part(
        self, entry: Entry, number: str, parts: list[str], missing: list[int], fetched: Fetched
    ) -> Page:
        """Return a page that asks for the rest of the posts, or the whole topic if none is missing."""
        is_cut = len(parts) * CHUNK >= MOST_POSTS and bool(missing)
        if missing and not is_cut:
            cursor = {"id": number, "parts": parts, "missing": missing}
            return Page((Result(entry, "pending", cursor),))
        body = parts[0] if len(parts) == 1 else f"[{','.join(parts)}]"
        payload = Payload("topic", fetched.request, body.encode())
        thread = self._with_row(self.to_threads(payload)[0], entry)
        note = f"more than {MOST_POSTS} posts" if is_cut else None
        result = Result(entry, "truncated" if is_cut else "done", {"id": number}, note)
        return Page((result,), (payload,), ((thread, 0),))

    def _with_row(self, thread: ThreadRecord, entry: Entry) -> ThreadRecord:
        """Return the thread with what only the list says: when it was bumped, and that it is solved."""
        bumped = from_text(entry.parameters.get("bumped_at"))
        accepted = thread.accepted or bool(entry.parameters.get("solved"))
        return replace(thread, updated_at=bumped or thread.updated_at, accepted=accepted)

    def _lose(self, entry: Entry, number: str | None, fetched: Fetched, lookup: Lookup) -> Page:
        """Settle a topic that is not to be had; if it was stored, say so of the thread."""
        note = f"{fetched.availability}: the forum answers HTTP {fetched.status}"
        result = Result(entry, "gone", note=note)
        if number is None or not lookup.known([number]):
            return Page((result,))
        payload = Payload("absence", fetched.request, fetched.body)
        return Page((result,), (payload,), ((lost_thread(number, fetched.availability, self._settings), 0),))


class _Listing:
    """One page of the list: where it stands in the crawl's bounds, and how to go on."""

    def __init__(
        self, parameters: dict[str, Any], cursor: dict[str, Any], rows: Sequence[Row], has_more: bool
    ) -> None:
        self.since = from_text(parameters["since"])
        self.until = from_text(parameters["until"])
        self.limit = parameters["limit"]
        self.cursor = cursor
        self.ids = [str(row.id) for row in rows]
        self.unsolved = {str(row.id) for row in rows if not row.is_solved}
        self.has_more = has_more
        dates = [row.created_at for row in rows if row.created_at and not row.is_pinned]
        self.is_ordered = dates == sorted(dates)
        self.reached = max(dates, default=None)

    def is_within(self, row: Row) -> bool:
        """Say whether a topic was created within the bounds."""
        after = self.since is None or (row.created_at is not None and row.created_at >= self.since)
        return after and (self.until is None or (row.created_at is not None and row.created_at <= self.until))

    @property
    def is_past(self) -> bool:
        """Whether all that follows was created after the bounds."""
        return bool(self.until and self.is_ordered and self.reached and self.reached > self.until)

    @property
    def span(self) -> tuple[datetime | None, datetime | None]:
        """The creation times that this page covers, up to the next page's."""
        if not self.is_ordered:
            return self.since, self.until
        low = from_text(self.cursor["reached"]) or self.since
        high = self.reached if self.has_more and not self.is_past else self.until
        return low, high

    def go_on(self, entry: Entry, found: int, note: str | None) -> Result:
        """Return how the list goes on after this page."""
        total = self.cursor["found"] + found
        note = note or self.cursor.get("note")
        if self.has_more and self.ids == self.cursor["previous"]:
            return Result(entry, "truncated", note="the forum gives the same page of its list again")
        is_enough = self.limit is not None and total >= self.limit
        if not self.has_more or self.is_past or is_enough:
            return Result(entry, note=note)
        reached = self.reached.isoformat() if self.reached else self.cursor["reached"]
        place = {"page": self.cursor["page"] + 1, "previous": self.ids, "reached": reached}
        return Result(entry, "pending", {**place, "found": total, "note": note}, note)


def _changes(listing: _Listing, solved: Sequence[Row], lookup: Lookup) -> list[Entry]:
    """Return the topics of a page that are new, bumped or newly solved, and those that it lacks."""
    expected = lookup.stored(*listing.span, accepted=True)
    known = lookup.known(listing.ids)
    present = set(expected)
    changed = [
        _topic(row)
        for row in solved
        if listing.is_within(row) and not (str(row.id) in present and _is_fresh(row, known.get(str(row.id))))
    ]
    if not listing.is_ordered:
        return changed
    shown = {*listing.ids, *listing.cursor["previous"]} - listing.unsolved
    return changed + [Entry("topic", id, {"id": id}, priority=1) for id in expected if id not in shown]


def _is_fresh(row: Row, updated_at: datetime | None) -> bool:
    return updated_at is not None and row.bumped_at is not None and updated_at >= row.bumped_at


def _topic(row: Row) -> Entry:
    bumped = row.bumped_at.isoformat() if row.bumped_at else None
    number = str(row.id)
    return Entry("topic", number, {"id": number, "bumped_at": bumped, "solved": True}, priority=1)


def list_query(page: int) -> dict[str, str]:
    """Return what page `page` (from 0) of the list of solved topics is asked with, oldest first."""
    return {
        "solved": "yes",
        "order": "created",
        "ascending": "true",
        "per_page": str(PER_PAGE),
        "page": str(page),
    }
