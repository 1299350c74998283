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

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pipeline.errors import Malformed
from pipeline.links import read_source_link
from pipeline.payloads import read_json
from pipeline.records import ThreadRecord
from pipeline.sources.base import Entry, Lookup, Page, Payload, Result, Window
from pipeline.sources.manners import from_seconds
from pipeline.sources.stackexchange_client import Client, Fetched
from pipeline.sources.stackexchange_records import gone_thread, is_complete, is_question, to_thread
from pipeline.study import SourceSettings, Study
from pipeline.text import to_text
from pipeline.transport import Transport

FIELDS = ("q", "title", "body")
IDS = 100  # a request, by the API
LAST_PAGE = 25  # without a key the API gives no page beyond
LARGEST_ID = 2**31 - 1  # beyond, the API refuses the whole request
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
OLDEST_FIRST = {"sort": "creation", "order": "asc"}


class StackExchange:
    """The source of one Stack Exchange site. Every `fetch_page` is one request."""

    def __init__(
        self, settings: SourceSettings, study: Study, transport: Transport, key: str | None = None
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._study = study
        self._clock = transport.clock
        self._client = Client(settings, study, transport, key)
        self._is_open = False
        self._filters: dict[str, str] = {}
        self._fetchers = {
            "search": self._fetch_search,
            "latest": self._fetch_latest,
            "question": self._fetch_questions,
            "recheck": self._fetch_nothing,
        }

    def seed(self, window: Window) -> Sequence[Entry]:
        """Return the searches of a first crawl, and the list that a later one begins and ends with."""
        bounds = {"since": _seconds(window.since), "until": _seconds(window.until)}
        latest = Entry(
            "latest", "latest", {**bounds, "active_since": _seconds(window.updated_since)}, priority=9
        )
        return [latest] if window.updated_since is not None else [*self._searches(bounds), latest]

    def batch_size(self, kind: str) -> int:
        """Return how many entries of `kind` one request takes."""
        return IDS if kind == "question" else 1

    def fetch_page(self, entries: Sequence[Entry], lookup: Lookup) -> Page:
        """Ask what `entries` say; before the first page of a crawl, for the site and the filter."""
        prepared = self._prepare(_filter_of(entries[0]), lookup)
        if prepared is not None:
            kept = tuple(Result(entry, "pending", entry.cursor) for entry in entries)
            return Page(kept, memory=prepared)
        return self._fetchers[entries[0].kind](entries, lookup)

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
            return _question(link.external_id)
        return Entry("question", f"answer:{link.answer}", {"answer": link.answer})

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    # What is asked once and remembered.

    def _prepare(self, needed: str, lookup: Lookup) -> dict[str, dict[str, Any]] | None:
        """Open the site and find the filter: from memory, or return what one request brought to remember."""
        if not self._is_open:
            site = self._remembered(lookup, "site")
            answer = self._client.open_site(site)
            self._is_open = True
            if site is None:
                return {"site": self._to_remember(answer)}
        if needed in self._filters:
            return None
        include = FILTERS[needed]
        name = f"filter {needed}"
        made = self._remembered(lookup, name)
        if made is not None and made["include"] == list(include):
            self._filters[needed] = str(made["id"])
            return None
        self._filters[needed] = self._client.create_filter(include)
        return {name: self._to_remember({"id": self._filters[needed], "include": list(include)})}

    def _remembered(self, lookup: Lookup, name: str) -> dict[str, Any] | None:
        memory = lookup.memory(name)
        return memory if memory and memory["url"] == self._settings.url else None

    def _to_remember(self, value: dict[str, Any]) -> dict[str, Any]:
        return {**value, "url": self._settings.url}

    # The searches of a first crawl.

    def _searches(self, bounds: dict[str, Any]) -> list[Entry]:
        return [
            Entry("search", f"{field}:{term}", {"field": field, "term": term, **bounds})
            for field in FIELDS
            for term in self._study.search_terms
        ]

    def _fetch_search(self, entries: Sequence[Entry], lookup: Lookup) -> Page:
        entry = entries[0]
        parameters, cursor = entry.parameters, entry.cursor
        if cursor is not None and "check" in cursor:
            return self._compare_with_q(entry, cursor, lookup)
        query = {parameters["field"]: parameters["term"]}
        fetched, result = self._next_page(entry, lookup, query)
        if cursor is None and result.cursor is not None and parameters["field"] != "q":
            result = replace(result, cursor={**result.cursor, "check": None})
        questions = [item for item in fetched.items if is_question(item) and _is_within(item, parameters)]
        return self._page(fetched, result, questions)

    def _compare_with_q(self, entry: Entry, cursor: dict[str, Any], lookup: Lookup) -> Page:
        """Count the hits of a search, then those that `q` has too: as many mean that it is done."""
        parameters = entry.parameters
        query = {parameters["field"]: parameters["term"]}
        if cursor["check"] is None:
            fetched = self._count(lookup, parameters, **query)
            result = Result(entry, "pending", {**cursor, "check": fetched.total})
        else:
            fetched = self._count(lookup, parameters, q=parameters["term"], **query)
            if fetched.total == cursor["check"]:
                result = Result(entry, note=f"q has found all of its {fetched.total} hits")
            else:
                result = Result(entry, "pending", {"from": cursor["from"], "page": cursor["page"]})
        return Page((result,), memory=fetched.memory)

    def _next_page(self, entry: Entry, lookup: Lookup, query: dict[str, str]) -> tuple[Fetched, Result]:
        """Ask for the next page of a search, oldest question first, and say how to go on."""
        parameters = entry.parameters
        cursor = entry.cursor or {"from": _earlier(parameters["since"]), "page": 1}
        bounds = {"fromdate": cursor["from"], "todate": _later(parameters["until"])}
        fetched = self._search(lookup, bounds, page=cursor["page"], **OLDEST_FIRST, **query)
        return fetched, self._go_on(entry, cursor, fetched)

    def _go_on(self, entry: Entry, cursor: dict[str, Any], fetched: Fetched) -> Result:
        if not fetched.has_more:
            return Result(entry)
        dates = [
            item["creation_date"] for item in fetched.items if isinstance(item.get("creation_date"), int)
        ]
        is_ordered = bool(dates) and dates == sorted(dates)
        if is_ordered and (cursor["from"] is None or dates[-1] - 1 > cursor["from"]):
            return Result(entry, "pending", {"from": dates[-1] - 1, "page": 1})
        if cursor["page"] >= LAST_PAGE:
            why = "within two seconds" if is_ordered else "and the order asked for is not kept"
            return Result(entry, "truncated", note=f"more than {LAST_PAGE} pages {why}")
        return Result(entry, "pending", {"from": cursor["from"], "page": cursor["page"] + 1})

    # What changed since the last crawl.

    def _fetch_latest(self, entries: Sequence[Entry], lookup: Lookup) -> Page:
        """List what was active since, and compare the number of all questions; a first crawl only counts."""
        entry = entries[0]
        parameters, since = entry.parameters, entry.parameters["active_since"]
        if since is None:
            fetched = self._count(lookup, parameters)
            baseline = self._baseline(parameters, fetched.total, self._now())
            return Page((Result(entry),), memory={**fetched.memory, **baseline})
        cursor = entry.cursor or {"page": 1, "newcomers": []}
        bounds = {"fromdate": _earlier(parameters["since"]), "todate": _later(parameters["until"])}
        wanted = {"page": cursor["page"], "sort": "activity", "order": "desc"}
        fetched = self._search(lookup, bounds, filter=self._filters[_filter_of(entry)], **wanted)
        cursor = {"total": fetched.total, "at": self._now(), **cursor}
        active = [item for item in fetched.items if is_question(item) and _activity(item) >= since]
        seen = self._remembered(lookup, "baseline") or {"at": 0}
        cursor["newcomers"] = sorted({*cursor["newcomers"], *_ids_created_after(seen["at"], active)})
        known = lookup.known([str(item["question_id"]) for item in active])
        news = [item for item in active if _is_within(item, parameters) and self._is_news(item, known)]
        found = (_recheck(parameters),) if news else ()
        if fetched.has_more and len(active) == len(fetched.items) and cursor["page"] < LAST_PAGE:
            result = Result(entry, "pending", {**cursor, "page": cursor["page"] + 1})
            return self._page(fetched, result, news, found)
        return self._compare_with_baseline(
            entry, cursor, self._page(fetched, Result(entry), news, found), lookup
        )

    def _compare_with_baseline(
        self, entry: Entry, cursor: dict[str, Any], page: Page, lookup: Lookup
    ) -> Page:
        """Return the page; if the number of questions is not as expected, with all of the searches again."""
        parameters = entry.parameters
        seen = self._remembered(lookup, "baseline")
        memory = {**page.memory, **self._baseline(parameters, cursor["total"], cursor["at"])}
        if seen is None or seen["query"] != self._counted(parameters):
            return replace(page, memory=memory)
        expected = seen["total"] + len(cursor["newcomers"])
        if cursor["total"] == expected and cursor["page"] < LAST_PAGE:
            return replace(page, memory=memory)
        bounds = {name: parameters[name] for name in ("since", "until")}
        note = f"{cursor['total']} questions where {expected} were expected: all are looked at again"
        again = (*page.found, _recheck(parameters), *self._searches(bounds))
        return replace(page, results=(Result(entry, note=note),), found=again, memory=memory)

    def _fetch_nothing(self, entries: Sequence[Entry], lookup: Lookup) -> Page:
        """Have every stored question looked at again by its id: no list shows what was deleted."""
        bounds = entries[0].parameters
        stored = lookup.stored(from_seconds(bounds["since"]), from_seconds(bounds["until"]))
        return Page((Result(entries[0]),), found=tuple(_question(number) for number in stored))

    def _baseline(self, parameters: dict[str, Any], total: int, at: int) -> dict[str, dict[str, Any]]:
        """Return what the next crawl compares with: how many questions there were, and when."""
        value = {"query": self._counted(parameters), "at": at, "total": total}
        return {"baseline": self._to_remember(value)}

    def _now(self) -> int:
        return int(self._clock.now().timestamp())

    def _counted(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return {"since": parameters["since"], "until": parameters["until"], **self._wanted()}

    def _is_news(self, question: dict[str, Any], known: dict[str, datetime | None]) -> bool:
        number = str(question["question_id"])
        if number in known:
            return known[number] != from_seconds(question.get("last_activity_date"))
        thread = to_thread(question, self._settings)
        texts = [thread.title, *(to_text(post.body, post.body_format).plain for post in thread.posts)]
        return any(next(self._study.keywords.find(text), None) is not None for text in texts)

    # Questions by id, and the answers that a page did not nest.

    def _fetch_questions(self, entries: Sequence[Entry], lookup: Lookup) -> Page:
        """Take the entries that are least far: first those that lack an id, then a question, then answers."""
        without_id = [entry for entry in entries if "id" not in _state(entry)]
        if without_id:
            return self._fetch_ids(without_id, lookup)
        without_question = [entry for entry in entries if "question" not in _state(entry)]
        if without_question:
            return self._fetch_by_id(without_question, lookup)
        return self._fetch_answers(entries, lookup)

    def _fetch_ids(self, entries: Sequence[Entry], lookup: Lookup) -> Page:
        """Ask which questions the answers of short links belong to."""
        entries, results = _refuse_large(entries, "answer")
        if not entries:
            return Page(tuple(results))
        fetched = self._fetch(
            "answers/{ids}", lookup, ids=[_state(entry)["answer"] for entry in entries], **OLDEST_FIRST
        )
        questions = {str(item.get("answer_id")): item.get("question_id") for item in fetched.items}
        for entry in entries:
            question = questions.get(_state(entry)["answer"])
            if question is None:
                results.append(Result(entry, "gone", note="gone: the site has no such answer"))
            else:
                results.append(Result(entry, "pending", {"id": str(question)}))
        return Page(tuple(results), memory=fetched.memory)

    def _fetch_by_id(self, entries: Sequence[Entry], lookup: Lookup) -> Page:
        entries, results = _refuse_large(entries, "id")
        if not entries:
            return Page(tuple(results))
        ids = list(dict.fromkeys(_state(entry)["id"] for entry in entries))
        fetched = self._fetch("questions/{ids}", lookup, ids=ids, **OLDEST_FIRST)
        found = {str(item["question_id"]): item for item in fetched.items if is_question(item)}
        known = lookup.known([number for number in ids if number not in found])
        threads: dict[str, ThreadRecord] = {}
        for entry in entries:
            number = _state(entry)["id"]
            if number not in found:
                results.append(Result(entry, "gone", note="gone: the site has no such question"))
                if number in known:
                    threads[number] = gone_thread(number, self._settings)
            elif is_complete(found[number]):
                results.append(Result(entry, cursor={"id": number}))
                threads[number] = to_thread(found[number], self._settings)
            else:
                results.append(Result(entry, "pending", {"id": number, "question": found[number]}))
        return _with_payload(fetched, results, list(threads.values()))

    def _fetch_answers(self, entries: Sequence[Entry], lookup: Lookup) -> Page:
        """Ask for the answers of as many questions as one page of answers holds."""
        chosen = _that_fit_a_page(entries)
        state = _state(chosen[0])
        page = state.get("page", 1)
        ids = [_state(entry)["id"] for entry in chosen]
        fetched = self._fetch("questions/{ids}/answers", lookup, ids=ids, page=page, **OLDEST_FIRST)
        results, payloads, threads = [], [], []
        for entry in chosen:
            question = dict(_state(entry)["question"])
            answers = _united(question, state.get("answers", []), fetched)
            if fetched.has_more and (len(chosen) == 1 or len(answers) < (question.get("answer_count") or 0)):
                results.append(Result(entry, "pending", _alone(entry, chosen, answers, page)))
                continue
            question["answers"] = answers
            payloads.append(Payload("question", fetched.request, json.dumps({"items": [question]}).encode()))
            threads.append((to_thread(question, self._settings), len(payloads) - 1))
            results.append(Result(entry, cursor={"id": _state(entry)["id"]}))
        return Page(tuple(results), tuple(payloads), tuple(threads), memory=fetched.memory)

    # What all of them share.

    def _wanted(self) -> dict[str, Any]:
        """Return what every search asks for: an accepted answer, and one of the study's tags at least."""
        return {"tagged": ";".join(sorted(self._settings.tags)), "accepted": "True"}

    def _search(self, lookup: Lookup, bounds: dict[str, int | None], **parameters: Any) -> Fetched:
        dates = {name: date for name, date in bounds.items() if date is not None}
        return self._fetch("search/advanced", lookup, **dates, **self._wanted(), **parameters)

    def _count(self, lookup: Lookup, parameters: dict[str, Any], **query: str) -> Fetched:
        """Ask how many questions a search would give; only the `total` of the answer is of use."""
        bounds = {"fromdate": _earlier(parameters["since"]), "todate": _later(parameters["until"])}
        return self._search(lookup, bounds, filter=self._filters["totalled"], pagesize=1, **query)

    def _fetch(self, method: str, lookup: Lookup, **parameters: Any) -> Fetched:
        return self._client.fetch(method, lookup, **{"filter": self._filters.get("nested"), **parameters})

    def _page(
        self,
        fetched: Fetched,
        result: Result,
        questions: Sequence[dict[str, Any]],
        found: tuple[Entry, ...] = (),
    ) -> Page:
        """Return the complete questions of a list as threads, and the others as entries that ask further."""
        threads = [to_thread(item, self._settings) for item in questions if is_complete(item)]
        short = tuple(
            _question(str(item["question_id"]), item) for item in questions if not is_complete(item)
        )
        return _with_payload(fetched, [result], threads, (*short, *found))


def _with_payload(
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


def _question(number: str, question: dict[str, Any] | None = None) -> Entry:
    """Return the entry for a question by its id, or for the answers that `question` lacks."""
    cursor = {"question": question} if question else None
    return Entry("question", number, {"id": number}, priority=2, cursor=cursor)


def _recheck(parameters: dict[str, Any]) -> Entry:
    bounds = {name: parameters[name] for name in ("since", "until")}
    return Entry("recheck", "recheck", bounds, priority=1)


def _filter_of(entry: Entry) -> str:
    """Return the name of the filter that the next request for an entry needs."""
    cursor = entry.cursor or {}
    counts = "check" in cursor or (entry.kind == "latest" and not cursor)
    return "totalled" if counts else "nested"


def _activity(question: dict[str, Any]) -> int:
    moment = question.get("last_activity_date")
    return moment if isinstance(moment, int) else 0


def _ids_created_after(moment: int, questions: Sequence[dict[str, Any]]) -> list[int]:
    """Return the ids of the questions that a count at `moment` cannot have counted."""
    return [item["question_id"] for item in questions if (item.get("creation_date") or 0) > moment]


def _state(entry: Entry) -> dict[str, Any]:
    return {**entry.parameters, **(entry.cursor or {})}


def _refuse_large(entries: Sequence[Entry], name: str) -> tuple[list[Entry], list[Result]]:
    """Settle the entries whose id the API would refuse together with all others of the request."""
    large = [entry for entry in entries if int(_state(entry)[name]) > LARGEST_ID]
    results = [Result(entry, "gone", note="gone: no id is that large") for entry in large]
    return [entry for entry in entries if entry not in large], results


def _that_fit_a_page(entries: Sequence[Entry]) -> list[Entry]:
    """Return the first entries whose answers fit one page together, or the first one alone."""
    chosen, answers = [entries[0]], _count_of(entries[0])
    if "answers" in _state(entries[0]):
        return chosen
    for entry in entries[1:]:
        answers += _count_of(entry)
        if answers > IDS or "answers" in _state(entry):
            break
        chosen.append(entry)
    return chosen


def _count_of(entry: Entry) -> int:
    count = _state(entry)["question"].get("answer_count")
    return max(1, count) if isinstance(count, int) else 1


def _united(
    question: dict[str, Any], earlier: list[dict[str, Any]], fetched: Fetched
) -> list[dict[str, Any]]:
    """Return the answers of a question: those nested in it, of earlier pages, and of this page."""
    nested = [answer for answer in question.get("answers") or () if isinstance(answer, dict)]
    asked = [item for item in fetched.items if item.get("question_id") == question["question_id"]]
    return list({answer.get("answer_id"): answer for answer in (*nested, *earlier, *asked)}.values())


def _alone(entry: Entry, chosen: list[Entry], answers: list[dict[str, Any]], page: int) -> dict[str, Any]:
    """Return the cursor of a question whose answers need pages of their own."""
    state = _state(entry)
    if len(chosen) > 1:
        return {**(entry.cursor or {}), "question": state["question"], "answers": [], "page": 1}
    return {**(entry.cursor or {}), "question": state["question"], "answers": answers, "page": page + 1}


def _is_within(question: dict[str, Any], bounds: dict[str, Any]) -> bool:
    created = question.get("creation_date")
    since, until = bounds["since"], bounds["until"]
    return (
        isinstance(created, int)
        and (since is None or created >= since)
        and (until is None or created <= until)
    )


def _seconds(when: datetime | None) -> int | None:
    if when is not None and not isinstance(when, datetime):
        raise TypeError("a window is bounded by times, not dates")
    return int(when.timestamp()) if when else None


def _earlier(second: int | None) -> int | None:
    # Whether the API's bounds are inclusive is documented nowhere: ask for a second more, sort out here.
    return None if second is None else max(0, second - 1)


def _later(second: int | None) -> int | None:
    return None if second is None else second + 1
