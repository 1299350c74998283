"""The sandbox's Discourse forum: lists, topics, posts, and the limits that stand before them.

What differs between revisions of the live program is an option: which of three shapes an accepted
answer has, whether `solved` and `per_page` are honoured, what search does past its last page.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from pipeline.sandbox.discourse_answers import (
    Refusal,
    invalid,
    middleware_limit,
    not_found,
    to_json,
)
from pipeline.sandbox.forum_search import FilterQuery, SearchQuery, first_hit, to_blurb
from pipeline.sandbox.questions import to_slug
from pipeline.sandbox.server import Request, Response
from pipeline.sandbox.topics import CHUNK, is_solved, numbered, to_list_row, to_posts, to_topic, to_users
from pipeline.sandbox.world import World, WorldThread
from pipeline.transport import Clock

ROBOTS = """\
User-agent: *
Disallow: /admin/
Disallow: /auth/
Disallow: /email/
Disallow: /session
Disallow: /user-api-key
Disallow: /u/
Disallow: /badges
Disallow: /my
Disallow: /search
Disallow: /tag/*/l
Disallow: /g
Disallow: /t/*/*.rss
Disallow: /c/*.rss
"""
CATEGORY = {"id": 1, "name": "Uncategorized", "slug": "uncategorized"}
SEARCH_PAGE = 50
LAST_SEARCH_PAGE = 10
ORDERS: dict[str, Callable[[WorldThread], Any]] = {
    "created": lambda topic: topic.created_at,
    "activity": lambda topic: topic.updated_at,
    "posts": lambda topic: len(topic.posts),
    "views": lambda topic: topic.id % 5000,
}


@dataclass
class DiscourseService:
    """One forum over the world's topics; see the module.

    `accepted` is the shape of the accepted answer: `dict` (topic-level `accepted_answer`), `list`
    (`accepted_answers`, 2026) or `post` (the flag on the post alone). `withheld` maps a topic id to
    403, 404 or 410. `pinned` topics head the default order of `/latest.json`. `search_overflow` says
    what page 11 of a search is: `error`, or `first` page again.
    """

    world: World
    clock: Clock
    accepted: str = "dict"
    honour_solved: bool = True
    honour_per_page: bool = False
    pinned: frozenset[int] = frozenset()
    withheld: dict[int, int] = field(default_factory=dict)
    robots: str = ROBOTS
    per_ten_seconds: int | None = 50
    per_minute: int | None = 200
    searches_per_minute: int | None = 15
    search_overflow: str = "error"
    search_overloaded: bool = False
    name: str = "discourse"
    base_url: str = ""

    def __post_init__(self) -> None:
        self._seen: dict[str, deque[datetime]] = defaultdict(deque)
        self._searches: dict[str, deque[datetime]] = defaultdict(deque)

    def answer(self, request: Request) -> Response:
        """Return what the live forum would."""
        limited = self._over_limit(request.client)
        if limited is not None:
            return limited
        try:
            return self._route(request)
        except Refusal as refusal:
            return refusal.response

    def _over_limit(self, client: str) -> Response | None:
        """Count a request (a refused one too) and refuse it over either window."""
        now, seen = self.clock.now(), self._seen[client]
        seen.append(now)
        _forget(seen, now - timedelta(seconds=60))
        for seconds, most in ((10, self.per_ten_seconds), (60, self.per_minute)):
            recent = [when for when in seen if when > now - timedelta(seconds=seconds)]
            if most is not None and len(recent) > most:
                wait = (recent[-most] + timedelta(seconds=seconds) - now).total_seconds()
                return middleware_limit(max(1, math.ceil(wait)), f"ip_{seconds}_secs_limit")
        return None

    def _route(self, request: Request) -> Response:
        if request.method != "GET":
            raise not_found()
        for pattern, handler, known in self._routes():
            found = re.fullmatch(pattern, request.path)
            if found:
                _check(request, known)
                return handler(request, found.groupdict())
        raise not_found()

    def _routes(self) -> Iterable[tuple[str, Callable[[Request, dict[str, str]], Response], frozenset[str]]]:
        slug, id = r"(?P<slug>[^/]*[^/\d][^/]*)", r"(?P<id>\d+)"
        return (
            (r"/robots\.txt", self._robots, frozenset()),
            (r"/latest\.json", self._latest, LIST),
            (rf"/c/{slug}/{id}(?:/l/latest)?\.json", self._category, LIST),
            (r"/categories\.json", self._categories, frozenset(("include_subcategories",))),
            (r"/filter\.json", self._filtered, frozenset(("q", "page", "per_page"))),
            (r"/search\.json", self._search, frozenset(("q", "page"))),
            (rf"/t/{id}/posts\.json", self._posts, frozenset(("post_ids[]", "include_raw"))),
            (rf"/t/{id}(?:/(?P<post>\d+))?\.json", self._topic, TOPIC),
            (rf"/t/{slug}/{id}(?:/(?P<post>\d+))?\.json", self._topic, TOPIC),
            (rf"/t/{slug}\.json", self._slug, TOPIC),
        )

    # Lists.

    def _robots(self, request: Request, parts: dict[str, str]) -> Response:
        return Response(200, self.robots.encode(), {"Content-Type": "text/plain; charset=utf-8"})

    def _latest(self, request: Request, parts: dict[str, str]) -> Response:
        topics = list(self.world.threads_of("discourse"))
        solved = request.one("solved")
        if self.honour_solved and solved in ("yes", "no"):
            topics = [topic for topic in topics if is_solved(topic) == (solved == "yes")]
        return self._list("/latest", request, self._ordered(request, topics))

    def _ordered(self, request: Request, topics: list[WorldThread]) -> list[WorldThread]:
        order, ascending = request.one("order", "default"), request.one("ascending") == "true"
        if order in ORDERS:
            return sorted(topics, key=lambda topic: (ORDERS[order](topic), topic.id), reverse=not ascending)
        if order != "default":
            raise invalid("order")
        bumped = sorted(topics, key=lambda topic: (topic.updated_at, topic.id), reverse=True)
        return sorted(bumped, key=lambda topic: topic.id not in self.pinned)

    def _list(self, path: str, request: Request, topics: list[WorldThread]) -> Response:
        page = _page(request)
        size = self._page_size(request)
        rows = topics[page * size : (page + 1) * size]
        listed: dict[str, Any] = {
            "can_create_topic": False,
            "per_page": size,
            "topics": [to_list_row(topic, topic.id in self.pinned) for topic in rows],
        }
        if len(topics) > (page + 1) * size:
            kept = {name: values[-1] for name, values in request.query.items() if name != "page"}
            listed["more_topics_url"] = f"{path}?{urlencode({**kept, 'page': page + 1})}"
        return to_json({"users": to_users(rows), "primary_groups": [], "topic_list": listed})

    def _page_size(self, request: Request) -> int:
        wanted = request.one("per_page", "30")
        if not wanted.isdigit() or not 1 <= int(wanted) <= 100:
            raise Refusal(
                400, "invalid_parameters", "You supplied invalid parameters to the request: per_page"
            )
        return int(wanted) if self.honour_per_page else 30

    def _category(self, request: Request, parts: dict[str, str]) -> Response:
        if int(parts["id"]) != CATEGORY["id"]:
            raise not_found()
        path = f"/c/{CATEGORY['slug']}/{CATEGORY['id']}/l/latest"
        if parts["slug"] != CATEGORY["slug"]:
            return self._redirect(f"{path}.json", request, frozenset(("page",)))
        topics = list(self.world.threads_of("discourse"))
        return self._list(path, request, self._ordered(request, topics))

    def _categories(self, request: Request, parts: dict[str, str]) -> Response:
        topics = self.world.threads_of("discourse")
        counts = {"topic_count": len(topics), "post_count": sum(len(topic.posts) for topic in topics)}
        category = {**CATEGORY, **counts, "read_restricted": False, "description": None}
        return to_json({"category_list": {"can_create_category": False, "categories": [category]}})

    def _filtered(self, request: Request, parts: dict[str, str]) -> Response:
        try:
            query = FilterQuery.parse(request.one("q"))
        except ValueError as error:
            raise invalid(str(error)) from None
        return self._list("/filter", request, query.select(self.world.threads_of("discourse")))

    # Search.

    def _search(self, request: Request, parts: dict[str, str]) -> Response:
        if self._searches_too_fast(request.client):
            message = "You've performed this action too many times, please try again later."
            return to_json({"message": message, "failed": "FAILED"}, 429)
        page = request.one("page", "1")
        if not page.isdigit() or int(page) < 1:
            raise invalid("page")
        if len(request.one("q").strip()) < 3:
            raise invalid("q")
        number = int(page)
        if number > LAST_SEARCH_PAGE:
            if self.search_overflow == "error":
                raise invalid("page")
            number = 1
        if self.search_overloaded:
            return to_json(
                {"posts": [], "grouped_search_result": {"error": "Search is overloaded, try later"}}
            )
        return self._found(request.one("q"), number)

    def _searches_too_fast(self, client: str) -> bool:
        now, seen = self.clock.now(), self._searches[client]
        seen.append(now)
        _forget(seen, now - timedelta(seconds=60))
        return self.searches_per_minute is not None and len(seen) > self.searches_per_minute

    def _found(self, text: str, page: int) -> Response:
        try:
            query = SearchQuery.parse(text)
        except ValueError as error:
            raise invalid(str(error)) from None
        topics = query.select(self.world.threads_of("discourse"))
        rows = topics[(page - 1) * SEARCH_PAGE : page * SEARCH_PAGE]
        hits = [(topic, first_hit(query, topic)) for topic in rows]
        more = len(topics) > page * SEARCH_PAGE
        body: dict[str, Any] = {
            "posts": [to_blurb(topic, number, post) for topic, (number, post) in hits],
            "users": [],
            "categories": [],
            "grouped_search_result": {
                "more_posts": None,
                "more_full_page_results": True if more else None,
                "term": text,
                "post_ids": [post.id for _, (_, post) in hits],
                "error": None,
            },
        }
        if rows:
            body["topics"] = [to_list_row(topic, False) for topic in rows]
        return to_json(body)

    # Topics.

    def _one(self, id: str) -> WorldThread:
        status = self.withheld.get(int(id))
        if status == 403:
            raise Refusal(403, "invalid_access", "You are not permitted to view the requested resource.")
        if status == 410:
            raise Refusal(410, "not_found", "The requested URL or resource has been deleted.")
        found = next((topic for topic in self.world.threads_of("discourse") if topic.id == int(id)), None)
        if found is None or status == 404:
            raise not_found()
        return found

    def _topic(self, request: Request, parts: dict[str, str]) -> Response:
        if "print" in request.query:
            raise Refusal(422, "rate_limit", "You've performed this action too many times.")
        topic = self._one(parts["id"])
        path = f"/t/{to_slug(topic.title)}/{topic.id}.json"
        if parts.get("slug", to_slug(topic.title)) != to_slug(topic.title):
            return self._redirect(path, request, KEPT)
        around = math.ceil(int(parts.get("post") or 1) / CHUNK)
        page, last = _page(request, around), math.ceil(len(topic.posts) / CHUNK)
        if page < 1:
            raise not_found()
        if page > last:
            return self._redirect(path, request, KEPT, page=last)
        return to_json(to_topic(topic, page, "include_raw" in request.query, self.accepted))

    def _slug(self, request: Request, parts: dict[str, str]) -> Response:
        for topic in self.world.threads_of("discourse"):
            if to_slug(topic.title) == parts["slug"] and topic.id not in self.withheld:
                return self._redirect(f"/t/{parts['slug']}/{topic.id}.json", request, KEPT)
        raise not_found()

    def _redirect(self, path: str, request: Request, kept: frozenset[str], **changed: int) -> Response:
        query = {name: values[-1] for name, values in request.query.items() if name in kept} | changed
        target = f"{self.base_url}{path}" + (f"?{urlencode(query)}" if query else "")
        return Response(301, b"", {"Location": target, "Content-Type": "text/html; charset=utf-8"})

    def _posts(self, request: Request, parts: dict[str, str]) -> Response:
        topic = self._one(parts["id"])
        wanted = request.query.get("post_ids[]", [])
        if not all(id.isdigit() for id in wanted):
            raise invalid("post_ids")
        ids = {int(id) for id in wanted}
        posts = (
            [(n, post) for n, post in numbered(topic) if post.id in ids] if ids else numbered(topic)[:CHUNK]
        )
        made = to_posts(topic, posts, "include_raw" in request.query)
        return to_json({"post_stream": {"posts": made}, "id": topic.id})


LIST = frozenset(("page", "per_page", "order", "ascending", "solved", "no_definitions"))
TOPIC = frozenset(("page", "include_raw", "print", "track_visit", "forceLoad"))
KEPT = frozenset(("page", "print", "include_raw"))


def _check(request: Request, known: frozenset[str]) -> None:
    for name in request.query:
        if name not in known:
            raise Refusal(
                400, "invalid_parameters", f"You supplied invalid parameters to the request: {name}"
            )


def _page(request: Request, first: int = 0) -> int:
    value = request.one("page", str(first))
    if not value.isdigit():
        raise invalid("page")
    return int(value)


def _forget(seen: deque[datetime], before: datetime) -> None:
    while seen and seen[0] <= before:
        seen.popleft()
