"""Ready-made faults: append one to a server's `faults` and the next matching request meets it."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from pipeline.sandbox.server import Fault, Request, Response

FOR_EVER = 10**9

Matches = Callable[[Request], bool]


def every(request: Request) -> bool:
    """Match any request."""
    return True


def path(pattern: str) -> Matches:
    """Match requests whose path contains the regular expression `pattern`."""
    return lambda request: re.search(pattern, request.path) is not None


def fault(response: Response, times: int = 1, matches: Matches = every, after: int = 0) -> Fault:
    """Return a fault that answers `times` matching requests with `response`, the first `after` spared."""
    return Fault(matches, lambda request: response, times, after)


def act(action: Callable[[], object], matches: Matches = every, after: int = 0) -> Fault:
    """Call `action` when a matching request comes in, before the service answers it: the world changes."""

    def run(request: Request) -> None:
        action()

    return Fault(matches, run, after=after)


def for_ever(scripted: Fault) -> Fault:
    """Return the fault without an end."""
    return replace(scripted, times=FOR_EVER)


def json_response(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON response."""
    standard = {"Content-Type": "application/json; charset=utf-8"}
    return Response(status, json.dumps(body).encode(), standard | (headers or {}))


def server_error(status: int = 502, times: int = 1, matches: Matches = every, after: int = 0) -> Fault:
    """A gateway's error page."""
    page = Response(status, b"<html><body><h1>Server Error</h1></body></html>", {"Content-Type": "text/html"})
    return fault(page, times, matches, after)


def html_success(times: int = 1, matches: Matches = every, after: int = 0) -> Fault:
    """A 200 that is a web page, as a captive portal sends."""
    page = Response(
        200, b"<!DOCTYPE html><html><body>Please log in</body></html>", {"Content-Type": "text/html"}
    )
    return fault(page, times, matches, after)


def truncated_json(times: int = 1, matches: Matches = every, after: int = 0) -> Fault:
    """A 200 of the right length whose JSON stops in the middle."""
    body = Response(200, b'{"items": [{"id": 1, "title": "half a ti', {"Content-Type": "application/json"})
    return fault(body, times, matches, after)


def cut_short(times: int = 1, matches: Matches = every, after: int = 0) -> Fault:
    """A body that ends before its Content-Length."""
    whole = json_response(200, {"items": [{"id": number} for number in range(100)]})
    return fault(replace(whole, truncate_at=40), times, matches, after)


def drop(times: int = 1, matches: Matches = every, after: int = 0) -> Fault:
    """A connection that closes without an answer."""
    return fault(Response(drop=True), times, matches, after)


def slow(seconds: float, times: int = 1, matches: Matches = every, after: int = 0) -> Fault:
    """A 200 with an empty object, sent only after `seconds` of real time."""
    return fault(replace(json_response(200, {}), delay=seconds), times, matches, after)


def gzip_bomb(mebibytes: int = 64, times: int = 1, matches: Matches = every, after: int = 0) -> Fault:
    """A small gzip body that unpacks to `mebibytes` of JSON."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream:
        stream.write(b'{"items": "')
        for _ in range(mebibytes):
            stream.write(b"x" * 2**20)
        stream.write(b'"}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    return fault(Response(200, packed.getvalue(), headers), times, matches, after)


def deep_json(depth: int = 10_000, times: int = 1, matches: Matches = every, after: int = 0) -> Fault:
    """A 200 whose JSON nests `depth` lists."""
    body = b"[" * depth + b"]" * depth
    return fault(Response(200, body, {"Content-Type": "application/json"}), times, matches, after)


def redirect(
    location: str, status: int = 301, times: int = 1, matches: Matches = every, after: int = 0
) -> Fault:
    """A redirect to `location`, another host for instance."""
    return fault(json_response(status, {"url": location}, {"Location": location}), times, matches, after)


def status(code: int, times: int = 1, matches: Matches = every, after: int = 0) -> Fault:
    """A refusal with a JSON message: 401, 404, 410, 451."""
    return fault(
        json_response(code, {"message": f"Status {code}", "status": str(code)}), times, matches, after
    )


def too_many(
    retry_after: int | datetime | None, times: int = 1, matches: Matches = every, after: int = 0
) -> Fault:
    """A 429 whose Retry-After is in seconds, an HTTP date, or absent."""
    return fault(
        json_response(429, {"message": "Too many requests"}, _retry_after(retry_after)), times, matches, after
    )


def github_primary(
    reset: datetime, code: int = 403, times: int = 1, matches: Matches = every, after: int = 0
) -> Fault:
    """GitHub's primary limit: nothing remains until `reset`."""
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(reset.timestamp()))}
    body = {"message": "API rate limit exceeded for user ID 1.", "status": str(code)}
    return fault(json_response(code, body, headers), times, matches, after)


def github_secondary(
    retry_after: int | datetime | None = None,
    code: int = 403,
    times: int = 1,
    matches: Matches = every,
    after: int = 0,
) -> Fault:
    """GitHub's secondary limit: the quota is not used up."""
    body = {
        "message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
    }
    headers = {"x-ratelimit-remaining": "4000", **_retry_after(retry_after)}
    return fault(json_response(code, body, headers), times, matches, after)


def github_graphql_limit(
    kind: str = "RATE_LIMIT", times: int = 1, after: int = 0, reset: datetime | None = None
) -> Fault:
    """GraphQL's limit inside a 200, although the header says that some quota remains."""
    error = {
        "type": kind,
        "code": "graphql_rate_limit",
        "message": "API rate limit already exceeded for user ID 1.",
    }
    headers = {"x-ratelimit-remaining": "17"}
    if reset is not None:
        headers["x-ratelimit-reset"] = str(int(reset.timestamp()))
    return fault(json_response(200, {"errors": [error]}, headers), times, path("^/graphql$"), after)


def github_message_only(times: int = 1, after: int = 0) -> Fault:
    """A secondary limit of GraphQL as a 200 with a message, without data or errors."""
    body = {
        "message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
    }
    return fault(json_response(200, body), times, path("^/graphql$"), after)


def _retry_after(value: int | datetime | None) -> dict[str, str]:
    if value is None:
        return {}
    return {"Retry-After": format_datetime(value, usegmt=True) if isinstance(value, datetime) else str(value)}
