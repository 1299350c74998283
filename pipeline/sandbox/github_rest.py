"""The routes of the sandboxed GitHub's REST API."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from pipeline.sandbox import github_render as render
from pipeline.sandbox.github_answers import (
    PageOf,
    Refused,
    check_parameters,
    invalid,
    json_answer,
    link,
    moved,
)
from pipeline.sandbox.github_language import BadQuery, Query, parse
from pipeline.sandbox.github_search import (
    DEEPEST,
    NoScope,
    Unmodelled,
    find_repositories,
    find_threads,
    sort_repositories,
    sort_threads,
)
from pipeline.sandbox.github_store import PROTECTED, GitHubStore
from pipeline.sandbox.server import Request, Response
from pipeline.sandbox.world import WorldRepository, WorldThread

NEW_VERSION = "2026-03-10"  # drops some old fields
PAGING = {"page", "per_page"}
SEARCH = PAGING | {"q", "sort", "order"}
MUST_SAY_KIND = "Query must include 'is:issue' or 'is:pull-request'."
UNSEARCHABLE = (
    "The listed users and repositories cannot be searched either because the resources do not exist or you do"
    " not have permission to view them."
)

_ROUTE = re.compile(
    r"/(?:repos/(?P<name>[^/]+/[^/]+)|repositories/(?P<id>\d+))"
    r"(?P<rest>/issues/(?P<number>\d+)(?P<comments>/comments)?)?"
)


Found = TypeVar("Found", WorldThread, WorldRepository)


@dataclass
class Incomplete:
    """A search that times out: the next `times` queries that contain `text` give every second hit only."""

    text: str = ""
    times: int = 1


@dataclass
class Rest:
    """Answers the REST routes; `advanced` makes the advanced search dialect the default."""

    store: GitHubStore
    strict: bool = True
    advanced: bool = False
    incomplete: list[Incomplete] = field(default_factory=list)
    api: str = ""

    def answer(self, request: Request, version: str) -> Response:
        """Return the answer to a GET; `version` is the one of the API. Raises Refused."""
        if request.method not in ("GET", "HEAD"):
            raise Refused(404, "Not Found")
        try:
            if request.path == "/search/issues":
                return self._search_threads(request, version)
            if request.path == "/search/repositories":
                return self._search_repositories(request, version)
            return self._thing(request, version)
        except Unmodelled as unknown:
            raise Refused(400, f"The sandbox does not model {unknown}.") from None
        except BadQuery as bad:
            raise invalid(str(bad)) from None
        except NoScope:
            raise invalid(UNSEARCHABLE) from None

    def _search_threads(self, request: Request, version: str) -> Response:
        check_parameters(request, SEARCH | {"advanced_search"}, self.strict)
        query = parse(_query(request), self.advanced or request.one("advanced_search") == "true")
        if query.kind is None:
            raise Refused(422, MUST_SAY_KIND)
        found = find_threads(self.store, query, self.strict)
        found = sort_threads(found, *_order(request, query), PageOf.asked(request).number)
        return self._hits(request, found, lambda thread: self._thread(thread, version))

    def _search_repositories(self, request: Request, version: str) -> Response:
        check_parameters(request, SEARCH, self.strict)
        query = parse(_query(request), advanced=False)
        found = find_repositories(self.store, query, self.strict)
        found = sort_repositories(found, *_order(request, query), PageOf.asked(request).number)
        return self._hits(request, found, lambda repository: self._repository(repository, version))

    def _hits(
        self, request: Request, found: list[Found], written: Callable[[Found], dict[str, Any]]
    ) -> Response:
        page, incomplete = PageOf.asked(request), self._times_out(request.one("q"))
        found = found[::2] if incomplete else found
        body = {
            "total_count": len(found),
            "incomplete_results": incomplete,
            "items": [{**written(hit), "score": 1.0} for hit in found[:DEEPEST][page.start : page.end]],
            "search_type": "lexical",
        }
        last = page.last(min(len(found), DEEPEST))
        return json_answer(body, headers=link(self.api + request.path, request.query, page.number, last))

    def _times_out(self, text: str) -> bool:
        for scripted in self.incomplete:
            if scripted.times > 0 and scripted.text in text:
                scripted.times -= 1
                return True
        return False

    def _thing(self, request: Request, version: str) -> Response:
        """Answer for a repository, a thread or its comments."""
        route = _ROUTE.fullmatch(request.path)
        if route is None:
            raise Refused(404, "Not Found")
        repository = self._found(route, request)
        if not route["number"]:
            check_parameters(request, set(), self.strict)
            return json_answer(self._repository(repository, version))
        thread = self._found_thread(repository, int(route["number"][:18]), route["comments"] or "")
        if route["comments"]:
            return self._comments(request, repository, thread)
        check_parameters(request, set(), self.strict)
        return json_answer(self._thread(thread, version))

    def _found(self, route: re.Match[str], request: Request) -> WorldRepository:
        if route["id"]:
            repository = self.store.repositories.get(int(route["id"][:18]))
        else:
            repository = self.store.named(route["name"])
            former = self.store.former.get(route["name"].casefold())
            if repository is None and former is not None and former not in self.store.hidden:
                raise moved(f"{self.api}/repositories/{former}{route['rest'] or ''}")
        if repository is None or repository.id in self.store.hidden:
            raise Refused(404, "Not Found")
        if repository.id in self.store.protected:
            raise Refused(403, PROTECTED)
        return repository

    def _found_thread(self, repository: WorldRepository, number: int, rest: str) -> WorldThread:
        key = self.store.numbers.get((repository.id, number))
        if key is not None:
            return self.store.threads[key]
        successor = self.store.threads.get(self.store.moved.get((repository.id, number), -1))
        if successor is not None:
            home = self.store.repository_of(successor)
            raise moved(f"{self.api}/repositories/{home.id}/issues/{successor.number}{rest}")
        if self.store.gone.get((repository.id, number)) == 410:
            raise Refused(410, "This issue was deleted")
        raise Refused(404, "Not Found")

    def _comments(self, request: Request, repository: WorldRepository, thread: WorldThread) -> Response:
        check_parameters(request, PAGING | {"since"}, self.strict)
        page = PageOf.asked(request)
        posts = sorted(thread.posts[1:], key=lambda post: post.id)
        if request.one("since"):
            since = _since(request.one("since"))
            posts = [post for post in posts if post.created_at >= since]
        body = [render.comment(post, thread, self.api) for post in posts[page.start : page.end]]
        address = f"{self.api}/repositories/{repository.id}/issues/{thread.number}/comments"
        return json_answer(body, headers=link(address, request.query, page.number, page.last(len(posts))))

    def _repository(self, repository: WorldRepository, version: str) -> dict[str, Any]:
        threads = (self.store.threads[key] for key in self.store.threads_of[repository.id])
        body = render.repository(repository, self.api, sum(thread.closed_at is None for thread in threads))
        if version == NEW_VERSION:
            del body["has_downloads"]
        return body

    def _thread(self, thread: WorldThread, version: str) -> dict[str, Any]:
        body = render.thread(thread, self.api)
        if version == NEW_VERSION:
            del body["assignee"]
        return body


def _query(request: Request) -> str:
    """Return the text of a search. Raises Refused if it is blank, or the page is beyond the last one."""
    text = request.one("q").strip()
    if not text:
        raise invalid(code="missing")
    if PageOf.asked(request).start >= DEEPEST:
        raise Refused(422, f"Only the first {DEEPEST} search results are available")
    return text


def _order(request: Request, query: Query) -> tuple[str, bool]:
    """Return by what to sort ("" is best match) and whether the greatest comes first."""
    sort, _, direction = (query.sort or "").partition("-")
    if request.one("sort"):
        sort, direction = request.one("sort"), request.one("order")
    return sort, direction != "asc"


def _since(text: str) -> datetime:
    try:
        since = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(422, "Validation Failed", errors=[{"field": "since", "code": "invalid"}]) from None
    return since if since.tzinfo else since.replace(tzinfo=UTC)
