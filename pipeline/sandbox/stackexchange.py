"""The sandbox's Stack Exchange API 2.3: one site, as strict as the live one or stricter.

Answers are always gzip. A parameter that the method does not document is refused, so that a crawler
that passes here asks for nothing the live service would silently ignore.
"""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pipeline.sandbox.filters import Filter, find_filter, make_filter
from pipeline.sandbox.limits import Quota, RateWindows
from pipeline.sandbox.questions import to_answer, to_question
from pipeline.sandbox.server import Request, Response
from pipeline.sandbox.stackexchange_query import (
    ERRORS,
    SEARCH_TESTS,
    ApiError,
    ids_of,
    in_order,
    list_of,
    page_of,
)
from pipeline.sandbox.world import World, WorldPost, WorldThread
from pipeline.transport import Clock

DAY = timedelta(hours=24)
LAST_KEYLESS_PAGE = 25
COMMON = frozenset(("filter", "key", "access_token"))
PAGED = COMMON | {"site", "page", "pagesize"}
SORTED = PAGED | {"order", "sort", "min", "max", "fromdate", "todate"}
SEARCH = SORTED | {"q", "title", "body", "tagged", "nottagged", "accepted", "closed", "answers", "views"}
SITES = (("stackoverflow", "Stack Overflow"), ("serverfault", "Server Fault"), ("superuser", "Super User"))
TOO_MANY = (
    "<!DOCTYPE html>\n<html><head><title>Too Many Requests - Stack Exchange</title></head>"
    "<body><h1>Too Many Requests</h1><p>This IP address has performed an unusual high number of requests.</p>"
    "</body></html>"
)


@dataclass(frozen=True, slots=True)
class Items:
    """What a method found: all of it, made only for the page that is asked for."""

    kind: str
    found: Sequence[Any]
    make: Callable[[Any, bool], dict[str, Any]]
    paged: bool = True


@dataclass
class StackExchangeService:
    """One Stack Exchange site over the world's questions; see the module.

    `backoff` maps a method (`search/advanced`) to the seconds that its answers ask for; a request of
    that method before they are over is a violation. `nested_answers` caps the answers nested in a
    question. `per_second` is the request rate of one client above which it gets the HTML page.
    """

    world: World
    clock: Clock
    quota_keyless: int = 300
    quota_keyed: int = 10_000
    backoff: dict[str, int] = field(default_factory=dict)
    nested_answers: int | None = None
    per_second: int | None = None
    name: str = "stackexchange"
    base_url: str = ""

    def __post_init__(self) -> None:
        self._indexed: World | None = None
        self._questions_now: tuple[WorldThread, ...] = ()
        self._quotas = RateWindows(self.clock)
        self._not_before: dict[str, datetime] = {}
        self._recent: dict[str, list[datetime]] = {}

    def answer(self, request: Request) -> Response:
        """Return what the live service would."""
        if self._is_too_fast(request.client):
            return too_many_requests()
        chosen = find_filter("default")
        try:
            quota = self._spend(request)
            method, handler, ids = self._route(request)
            chosen = self._filter(request)
            self._check_backoff(method)
            body = self._wrap(request, handler(request, ids), chosen, quota)
            self._ask_to_back_off(method, body)
        except ApiError as error:
            return to_error(error.id, error.message)
        return _packed(200, {name: value for name, value in body.items() if f".{name}" in chosen.fields})

    def _is_too_fast(self, client: str) -> bool:
        if self.per_second is None:
            return False
        now = self.clock.now()
        recent = [when for when in self._recent.get(client, []) if now - when < timedelta(seconds=1)]
        self._recent[client] = [*recent, now]
        return len(recent) >= self.per_second

    def _spend(self, request: Request) -> Quota:
        """Count the request against its quota; an empty quota is a ban until the 24 hours are over."""
        key = request.one("key")
        owner, most = ("key", key), self.quota_keyed
        if not key:
            owner, most = ("ip", request.client), self.quota_keyless
        fits = self._quotas.spend(owner, most, DAY)
        quota = self._quotas.look(owner, most, DAY)
        if not fits:
            left = math.ceil((quota.reset_at - self.clock.now()).total_seconds())
            raise ApiError(502, f"too many requests from this IP, more requests available in {left} seconds")
        return quota

    def _route(self, request: Request) -> tuple[str, Callable[[Request, list[int]], Items], list[int]]:
        if request.method == "GET":
            for pattern, method, handler, known in self._routes():
                found = re.fullmatch(pattern, request.path)
                if found:
                    self._check(request, known)
                    return method, handler, ids_of(found["ids"]) if "ids" in found.groupdict() else []
        raise ApiError(404, "no method found with this name")

    def _routes(self) -> Iterable[tuple[str, str, Callable[[Request, list[int]], Items], frozenset[str]]]:
        ids = r"(?P<ids>\d+(?:;\d+)*)"
        return (
            (r"/2\.3/sites/?", "sites", self._sites, COMMON | {"page", "pagesize"}),
            (r"/2\.3/filters/create/?", "filters/create", self._create_filter, COMMON | CREATE),
            (rf"/2\.3/errors/{ids}/?", "errors/{id}", self._simulate, COMMON),
            (r"/2\.3/search/advanced/?", "search/advanced", self._search, SEARCH),
            (r"/2\.3/questions/?", "questions", self._list, SORTED | {"tagged"}),
            (rf"/2\.3/questions/{ids}/?", "questions/{ids}", self._questions, SORTED),
            (rf"/2\.3/questions/{ids}/answers/?", "questions/{ids}/answers", self._answers, SORTED),
            (rf"/2\.3/answers/{ids}/?", "answers/{ids}", self._answers_by_id, SORTED),
        )

    def _check(self, request: Request, known: frozenset[str]) -> None:
        for name in request.query:
            if name not in known:
                raise ApiError(400, name)
        if "access_token" in request.query:
            if not request.one("key"):
                raise ApiError(405, "`key` is required when `access_token` is passed")
            raise ApiError(406, "`access_token` passed over HTTP, and so has been revoked")
        if "site" in known:
            site = request.one("site")
            if not site:
                raise ApiError(400, "site is required")
            if site != "stackoverflow":
                raise ApiError(400, f"No site found for name `{site}`")

    def _filter(self, request: Request) -> Filter:
        chosen = find_filter(request.one("filter", "default"))
        if chosen is None:
            raise ApiError(400, "filter")
        return chosen

    def _check_backoff(self, method: str) -> None:
        free_at = self._not_before.get(method)
        if free_at is not None and self.clock.now() < free_at:
            raise ApiError(502, "Violation of backoff parameter")

    def _ask_to_back_off(self, method: str, body: dict[str, Any]) -> None:
        seconds = self.backoff.get(method, 0)
        if seconds:
            body["backoff"] = seconds
            self._not_before[method] = self.clock.now() + timedelta(seconds=seconds)

    def _wrap(self, request: Request, items: Items, chosen: Filter, quota: Quota) -> dict[str, Any]:
        page, size = page_of(request, 1000 if items.kind == "site" else 100)
        if page > LAST_KEYLESS_PAGE and not request.one("key"):
            raise ApiError(403, f"page above {LAST_KEYLESS_PAGE} requires access token or app key")
        start = (page - 1) * size if items.paged else 0
        stop = start + size if items.paged else len(items.found)
        made = [items.make(thing, chosen.safe) for thing in items.found[start:stop]]
        return {
            "items": [chosen.apply(items.kind, thing) for thing in made],
            "has_more": stop < len(items.found),
            "quota_max": quota.limit,
            "quota_remaining": quota.remaining,
            "total": len(items.found),
            "page": page,
            "page_size": size,
            "type": items.kind,
        }

    # The methods.

    def _sites(self, request: Request, ids: list[int]) -> Items:
        return Items("site", SITES, lambda site, safe: _site(*site))

    def _create_filter(self, request: Request, ids: list[int]) -> Items:
        unsafe = request.one("unsafe", "false").lower()
        if unsafe not in ("true", "false"):
            raise ApiError(400, "unsafe")
        include, exclude = (list_of(request.one(name)) for name in ("include", "exclude"))
        try:
            made = make_filter(request.one("base", "default"), include, exclude, unsafe == "false")
        except ValueError as error:
            raise ApiError(400, str(error)) from None
        return Items("filter", [made], lambda it, safe: _described(it), paged=False)

    def _simulate(self, request: Request, ids: list[int]) -> Items:
        if len(ids) != 1 or ids[0] not in ERRORS:
            raise ApiError(400, "id")
        raise ApiError(ids[0], "simulated")

    def _search(self, request: Request, ids: list[int]) -> Items:
        tests = [make(request) for name, make in SEARCH_TESTS.items() if name in request.query]
        return self._found(request, (q for q in self._all() if all(test(q) for test in tests)))

    def _list(self, request: Request, ids: list[int]) -> Items:
        tags = list_of(request.one("tagged"))
        return self._found(request, (q for q in self._all() if tags <= set(q.tags)))

    def _questions(self, request: Request, ids: list[int]) -> Items:
        return self._found(request, (q for q in self._all() if q.id in ids))

    def _answers(self, request: Request, ids: list[int]) -> Items:
        return self._found_answers(request, lambda question, post: question.id in ids)

    def _answers_by_id(self, request: Request, ids: list[int]) -> Items:
        return self._found_answers(request, lambda question, post: post.id in ids)

    def _found_answers(self, request: Request, wanted: Callable[[WorldThread, WorldPost], bool]) -> Items:
        found = [(q, post) for q in self._all() for post in q.posts[1:] if wanted(q, post)]
        found.sort(
            key=lambda pair: (pair[1].created_at, pair[1].id), reverse=request.one("order", "desc") == "desc"
        )
        return Items("answer", found, lambda pair, safe: to_answer(pair[0], pair[1], safe))

    def _all(self) -> tuple[WorldThread, ...]:
        if self._indexed is not self.world:
            self._indexed, self._questions_now = self.world, self.world.threads_of("stackexchange")
        return self._questions_now

    def _found(self, request: Request, questions: Iterable[WorldThread]) -> Items:
        found = in_order(request, questions)
        return Items("question", found, lambda q, safe: to_question(q, safe, self.nested_answers))


CREATE = frozenset(("include", "exclude", "base", "unsafe"))


def to_error(id: int, message: str) -> Response:
    """Return an error as the API sends it: HTTP status 400 whatever the error, filters ignored."""
    return _packed(400, {"error_id": id, "error_message": message, "error_name": ERRORS[id]})


def too_many_requests() -> Response:
    """Return the HTML page that stands before the API."""
    return Response(429, TOO_MANY.encode(), {"Content-Type": "text/html; charset=utf-8"})


def _packed(status: int, body: dict[str, Any]) -> Response:
    headers = {"Content-Type": "application/json; charset=utf-8", "Content-Encoding": "gzip"}
    return Response(status, gzip.compress(json.dumps(body).encode(), 1, mtime=0), headers)


def _site(parameter: str, name: str) -> dict[str, Any]:
    return {
        "api_site_parameter": parameter,
        "name": name,
        "site_url": f"https://{parameter}.com",
        "site_type": "main_site",
        "site_state": "normal",
        "audience": "people who ask",
        "launch_date": 1221436800,
    }


def _described(made: Filter) -> dict[str, Any]:
    kind = "safe" if made.safe else "unsafe"
    return {"filter": made.id, "filter_type": kind, "included_fields": sorted(made.fields)}
