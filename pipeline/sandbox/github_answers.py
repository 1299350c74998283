"""The parts that every REST answer of the sandboxed GitHub is made of: refusals, pages, conditions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from pipeline.sandbox.github_search import Unmodelled
from pipeline.sandbox.server import Request, Response

DOCUMENTATION = "https://docs.github.com/rest"
DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE = 30, 100


class Refused(Exception):
    """An answer that is not what was asked for: a status and what the body says."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None, **body: Any) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body = {"message": message, **body, "documentation_url": DOCUMENTATION, "status": str(status)}

    def response(self) -> Response:
        """Return it as it is sent."""
        return json_answer(self.body, self.status, self.headers)


def invalid(message: str = "", code: str = "invalid") -> Refused:
    """Return the refusal of a search whose `q` is wrong."""
    error = {"resource": "Search", "field": "q", "code": code}
    return Refused(422, "Validation Failed", errors=[{"message": message, **error} if message else error])


def moved(location: str) -> Refused:
    """Return the redirect of something that has another address now."""
    return Refused(301, "Moved Permanently", {"Location": location}, url=location)


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    content = {"Content-Type": "application/json; charset=utf-8"}
    return Response(
        status,
        json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"),
        content | (headers or {}),
    )


def conditional(request: Request, response: Response) -> Response:
    """Return the answer with its ETag, or a 304 if the client has it already."""
    tag = f'W/"{hashlib.sha256(response.body).hexdigest()}"'
    if request.headers.get("if-none-match") == tag:
        return Response(304, b"", {"ETag": tag})
    return Response(response.status, response.body, response.headers | {"ETag": tag})


@dataclass(frozen=True, slots=True)
class PageOf:
    """The page that a request asks for; nonsense counts as the default, more than 100 as 100."""

    number: int
    size: int

    @classmethod
    def asked(cls, request: Request) -> PageOf:
        """Return the page that `page` and `per_page` of a request mean."""
        size = _positive(request.one("per_page"), DEFAULT_PAGE_SIZE)
        return cls(_positive(request.one("page"), 1), min(size, LARGEST_PAGE_SIZE))

    @property
    def start(self) -> int:
        """How many items come before the page."""
        return (self.number - 1) * self.size

    @property
    def end(self) -> int:
        """How many items there are up to the end of the page."""
        return self.start + self.size

    def last(self, total: int) -> int:
        """Return the number of the last page of `total` items."""
        return max(1, -(-total // self.size))


def link(address: str, query: dict[str, list[str]], page: int, last: int) -> dict[str, str]:
    """Return the Link header of a page, or no header where everything fits on one."""
    if last <= 1:
        return {}
    pages = {"prev": page - 1, "next": page + 1, "last": last, "first": 1}
    if page <= 1:
        del pages["prev"], pages["first"]
    if page >= last:
        del pages["next"], pages["last"]
    return {"Link": ", ".join(f'<{_paged(address, query, at)}>; rel="{rel}"' for rel, at in pages.items())}


def check_parameters(request: Request, known: set[str], strict: bool) -> None:
    """Raise Unmodelled, in strict mode, for a parameter that the route does not know."""
    unknown = sorted(set(request.query) - known)
    if strict and unknown:
        raise Unmodelled(f"the parameter {unknown[0]!r} of {request.path}")


def _positive(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and int(text[:9]) > 0 else default


def _paged(address: str, query: dict[str, list[str]], page: int) -> str:
    return f"{address}?{urlencode({**query, 'page': [str(page)]}, doseq=True)}"
