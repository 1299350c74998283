"""What a request to the Stack Exchange API asks for: its parameters, its tests, its order.

Every reader raises ApiError with the bare name of a parameter that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime

from pipeline.sandbox.questions import words_of
from pipeline.sandbox.server import Request
from pipeline.sandbox.world import WorldThread

ERRORS = {
    400: "bad_parameter",
    401: "access_token_required",
    402: "invalid_access_token",
    403: "access_denied",
    404: "no_method",
    405: "key_required",
    406: "access_token_compromised",
    407: "write_failed",
    409: "duplicate_request",
    500: "internal_error",
    502: "throttle_violation",
    503: "temporarily_unavailable",
}


class ApiError(Exception):
    """An answer that is an error; the message of a bad parameter is its bare name."""

    def __init__(self, id: int, message: str) -> None:
        super().__init__(message)
        self.id = id
        self.message = message


def ids_of(text: str) -> list[int]:
    """Return the ids of a path: a hundred of 31 bits at the most."""
    ids = [int(part) for part in text.split(";")]
    if len(ids) > 100 or any(id > 2**31 - 1 for id in ids):
        raise ApiError(400, "ids")
    return ids


def list_of(text: str) -> set[str]:
    """Return the parts of a list between semicolons."""
    return {part for part in text.split(";") if part}


def _number(request: Request, name: str, default: int | None = None) -> int | None:
    if name not in request.query:
        return default
    try:
        return int(request.one(name))
    except ValueError:
        raise ApiError(400, name) from None


def page_of(request: Request, most: int) -> tuple[int, int]:
    """Return the page asked for, from 1, and its size, `most` at the most."""
    page, size = _number(request, "page", 1), _number(request, "pagesize", 30)
    if page is None or page < 1:
        raise ApiError(400, "page")
    if size is None or not 0 <= size <= most:
        raise ApiError(400, "pagesize")
    return page, size


def _seconds(when: datetime) -> int:
    return int(when.timestamp())


SORTS: dict[str, Callable[[WorldThread], int]] = {
    "activity": lambda q: _seconds(q.updated_at),
    "creation": lambda q: _seconds(q.created_at),
    "votes": lambda q: q.id % 7,
    "relevance": lambda q: q.id * 7919 % 1009,
}


def in_order(request: Request, questions: Iterable[WorldThread]) -> list[WorldThread]:
    """Return the questions between the bounds, in the order asked for; bounds are inclusive."""
    sort, order = request.one("sort", "activity"), request.one("order", "desc")
    if sort not in SORTS:
        raise ApiError(400, "sort")
    if order not in ("asc", "desc"):
        raise ApiError(400, "order")
    by = SORTS[sort]
    first, last = _number(request, "fromdate"), _number(request, "todate")
    least, most = _number(request, "min"), _number(request, "max")
    kept = [
        question
        for question in questions
        if _within(_seconds(question.created_at), first, last) and _within(by(question), least, most)
    ]
    return sorted(kept, key=lambda question: (by(question), question.id), reverse=order == "desc")


def _within(value: int, least: int | None, most: int | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


Test = Callable[[WorldThread], bool]


def _words(request: Request) -> Test:
    """`q`: every word stands somewhere in the question (title, body, tags)."""
    wanted = set(re.findall(r"[^\W_]+", request.one("q").lower()))
    return lambda q: wanted <= words_of(q)


def _text(name: str, text: Callable[[WorldThread], str]) -> Callable[[Request], Test]:
    return lambda request: lambda q: request.one(name).lower() in text(q).lower()


def _tagged(request: Request) -> Test:
    tags = list_of(request.one("tagged"))
    return lambda q: bool(tags & set(q.tags))


def _not_tagged(request: Request) -> Test:
    if not request.query.keys() & {"q", "title", "body", "tagged"}:
        raise ApiError(400, "nottagged")
    tags = list_of(request.one("nottagged"))
    return lambda q: not tags & set(q.tags)


def _truth(name: str, fact: Test) -> Callable[[Request], Test]:
    def make(request: Request) -> Test:
        value = request.one(name).lower()
        if value not in ("true", "false"):
            raise ApiError(400, name)
        return lambda q: fact(q) == (value == "true")

    return make


def _at_least(name: str, count: Callable[[WorldThread], int]) -> Callable[[Request], Test]:
    def make(request: Request) -> Test:
        least = _number(request, name, 0) or 0
        return lambda q: count(q) >= least

    return make


# Each parameter of a search and the test that it makes of its value.
SEARCH_TESTS: dict[str, Callable[[Request], Test]] = {
    "q": _words,
    "title": _text("title", lambda q: q.title),
    "body": _text("body", lambda q: q.posts[0].body),
    "tagged": _tagged,
    "nottagged": _not_tagged,
    "accepted": _truth("accepted", lambda q: any(post.accepted for post in q.posts)),
    "closed": _truth("closed", lambda q: q.closed_at is not None),
    "answers": _at_least("answers", lambda q: len(q.posts) - 1),
    "views": _at_least("views", lambda q: q.id % 5000),
}
