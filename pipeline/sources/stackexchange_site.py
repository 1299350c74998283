"""One Stack Exchange site as its crawl sees it: the client, its filters, and what is remembered of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.records import ThreadRecord
from pipeline.sources.base import Entry, Lookup, Page, Payload, Result
from pipeline.sources.stackexchange_client import Client, Fetched
from pipeline.sources.stackexchange_records import is_complete, to_thread
from pipeline.study import SourceSettings, Study
from pipeline.transport import Transport

FIELDS = ("q", "title", "body")
IDS = 100  # a request, by the API
LAST_PAGE = 25  # without a key the API gives no page beyond
OLDEST_FIRST = {"sort": "creation", "order": "asc"}
INCLUDE = (
    "question.body",
    "question.body_markdown",
    "question.answers",
    "question.comments",
    "question.comment_count",
    "answer.body",
    "answer.body_markdown",
    "answer.comments",
    "answer.comment_count",
    "comment.body",
    "comment.body_markdown",
)
# Two filters, made once a database. A total costs the service as much as the items: it is asked for apart.
# The built-in filter `total` would hide the back-off that its answer asks for.
FILTERS = {"nested": INCLUDE, "totalled": (*INCLUDE, ".total")}


class Site:
    """A site: how it is asked, and what its answers become."""

    def __init__(self, settings: SourceSettings, study: Study, transport: Transport, key: str | None) -> None:
        self.settings = settings
        self.study = study
        self.client = Client(settings, study, transport, key)
        self._clock = transport.clock
        self._is_open = False
        self._filters: dict[str, str] = {}

    def now(self) -> int:
        """Return the time in Unix seconds."""
        return int(self._clock.now().timestamp())

    def prepare(self, needed: str, lookup: Lookup) -> dict[str, dict[str, Any]] | None:
        """Open the site and find the filter: from memory, or return what one request brought to remember."""
        if not self._is_open:
            site = self.remembered(lookup, "site")
            answer = self.client.open_site(site)
            self._is_open = True
            if site is None:
                return {"site": self.to_remember(answer)}
        if needed in self._filters:
            return None
        include = FILTERS[needed]
        name = f"filter {needed}"
        made = self.remembered(lookup, name)
        if made is not None and made["include"] == list(include):
            self._filters[needed] = str(made["id"])
            return None
        self._filters[needed] = self.client.create_filter(lookup, include)
        made = self.to_remember({"id": self._filters[needed], "include": list(include)})
        return {**self.client.memory, name: made}

    def remembered(self, lookup: Lookup, name: str) -> dict[str, Any] | None:
        """Return what is remembered under `name` of this very address, or None."""
        memory = lookup.memory(name)
        return memory if memory and memory["url"] == self.settings.url else None

    def to_remember(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return `value` with the address that it holds for."""
        return {**value, "url": self.settings.url}

    def wanted(self) -> dict[str, Any]:
        """Return what every search asks for: an accepted answer, and one of the study's tags at least."""
        return {"tagged": ";".join(sorted(self.settings.tags)), "accepted": "True"}

    def search(
        self, lookup: Lookup, bounds: dict[str, int | None], filter_name: str = "nested", **parameters: Any
    ) -> Fetched:
        """Return one page of a search within `bounds` (fromdate and todate in Unix seconds, or None)."""
        dates = {name: date for name, date in bounds.items() if date is not None}
        return self.fetch("search/advanced", lookup, filter_name, **dates, **self.wanted(), **parameters)

    def count(self, lookup: Lookup, parameters: dict[str, Any], **query: str) -> Fetched:
        """Ask how many questions a search would give; only the `total` of the answer is of use."""
        bounds = {"fromdate": earlier(parameters["since"]), "todate": later(parameters["until"])}
        return self.search(lookup, bounds, "totalled", pagesize=1, **query)

    def fetch(self, method: str, lookup: Lookup, filter_name: str = "nested", **parameters: Any) -> Fetched:
        """Return one page of a method; its filter must have been prepared."""
        return self.client.fetch(method, lookup, filter=self._filters[filter_name], **parameters)

    def page(
        self,
        fetched: Fetched,
        result: Result,
        questions: Sequence[dict[str, Any]],
        found: tuple[Entry, ...] = (),
    ) -> Page:
        """Return the complete questions of a list as threads, and the others as entries that ask further."""
        threads = [to_thread(item, self.settings) for item in questions if is_complete(item)]
        short = tuple(
            question_entry(str(item["question_id"]), item) for item in questions if not is_complete(item)
        )
        return with_payload(fetched, [result], threads, (*short, *found))


def with_payload(
    fetched: Fetched,
    results: Sequence[Result],
    threads: Sequence[ThreadRecord],
    found: tuple[Entry, ...] = (),
) -> Page:
    """Return a page; its payload is kept if it holds anything of use."""
    is_kept = bool(threads or found)
    return Page(
        tuple(results),
        (Payload("questions", fetched.request, fetched.body),) if is_kept else (),
        tuple((thread, 0) for thread in threads),
        found=found,
        memory=fetched.memory,
    )


def search_entries(study: Study, bounds: dict[str, Any]) -> list[Entry]:
    """Return the searches of a crawl, each field for each search term, in the order that they need."""
    return [
        Entry("search", f"{field}:{term}", {"field": field, "term": term, **bounds})
        for field in FIELDS
        for term in study.search_terms
    ]


def question_entry(number: str, question: dict[str, Any] | None = None) -> Entry:
    """Return the entry for a question by its id, or for the answers that `question` lacks."""
    cursor = {"question": question} if question else None
    return Entry("question", number, {"id": number}, priority=2, cursor=cursor)


def is_within(question: dict[str, Any], bounds: dict[str, Any]) -> bool:
    """Say whether a question was created within `since` and `until`, in Unix seconds or None."""
    created = question.get("creation_date")
    since, until = bounds["since"], bounds["until"]
    return (
        isinstance(created, int)
        and (since is None or created >= since)
        and (until is None or created <= until)
    )


def earlier(second: int | None) -> int | None:
    """Return a lower bound to ask with: a second more, as nothing says whether bounds are inclusive."""
    return None if second is None else max(0, second - 1)


def later(second: int | None) -> int | None:
    """Return an upper bound to ask with: a second more, for the same reason."""
    return None if second is None else second + 1
