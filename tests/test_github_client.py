"""The GitHub client: what it sends, what it follows, and that answers are never crossed."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipeline.errors import Refused, Unreachable
from pipeline.payloads import TooMuch
from pipeline.sandbox import faults
from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.server import Request, Response, ServiceServer
from pipeline.sources import github_wire
from pipeline.sources.github_answers import TooHeavy
from pipeline.sources.github_client import Client, is_list, is_search, is_thing
from pipeline.transport import Clock, Transport


class Echo:
    """A service that answers what it was asked, or what a test says."""

    name = "echo"
    base_url = ""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.answers: list[Response] = []

    def answer(self, request: Request) -> Response:
        """Return the next scripted answer, or the request itself."""
        if self.answers:
            return self.answers.pop(0)
        document = {"id": 1, "path": request.path, "query": request.query, "data": {}}
        return faults.json_response(200, document)


class Watcher:
    """Hears nothing."""

    def requested(self, source: str) -> None:
        """Ignore."""

    def quota(self, source: str, limit: str, left: int) -> None:
        """Ignore."""

    def waiting(self, source: str, why: str, until: object) -> None:
        """Ignore."""

    def committed(self, source: str, new: int, changed: int) -> None:
        """Ignore."""


@pytest.fixture
def server() -> Iterator[ServiceServer]:
    """An echoing server."""
    running = ServiceServer(Echo(VirtualClock()))
    running.start()
    yield running
    running.stop()


def make_client(server: ServiceServer, *tokens: str, prefix: str = "") -> Client:
    """Return a client of the server."""
    return Client(
        server.url + prefix, tokens, "nanmine/1 (me)", Transport("github", Watcher(), server.service.clock)
    )


def script(server: ServiceServer, *answers: Response) -> None:
    """Have the server give these answers next."""
    server.service.answers += answers  # type: ignore[attr-defined]


@pytest.mark.parametrize("prefix", ["", "/api/v3", "/"])
def test_what_is_sent(server: ServiceServer, prefix: str) -> None:
    """Every request names who asks, the version, and the token, and goes below the API's root."""
    reply = make_client(server, "t1", prefix=prefix).get("/repos/a/b", {"x": "1 2"}, is_thing)
    sent = server.log[0]
    assert (reply.value["path"], reply.value["query"]) == (f"{prefix.rstrip('/')}/repos/a/b", {"x": ["1 2"]})
    assert sent.headers["user-agent"] == "nanmine/1 (me)"
    assert sent.headers["x-github-api-version"] == "2022-11-28"
    assert sent.headers["authorization"] == "token t1"
    assert reply.request == "GET /repos/a/b?x=1+2"


def test_tokens_take_turns(server: ServiceServer) -> None:
    """Each request is the next token's, as long as all are free."""
    client = make_client(server, "t1", "t2", "t3")
    for _ in range(4):
        client.get("/x", {}, is_thing)
    sent = [request.headers["authorization"] for request in server.log]
    assert sent == ["token t1", "token t2", "token t3", "token t1"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_keeps_the_query(server: ServiceServer, status: int) -> None:
    """Pitfall 8: the page size is not lost where a repository was renamed."""
    script(server, Response(status, b"{}", {"Location": f"{server.url}/repositories/7/issues?state=all"}))
    reply = make_client(server).get("/repos/a/b/issues", {"per_page": "100"}, is_thing)
    assert reply.value["path"] == "/repositories/7/issues"
    assert reply.value["query"] == {"state": ["all"], "per_page": ["100"]}


def test_redirects_without_end_are_refused(server: ServiceServer) -> None:
    """A circle of redirects is an error, not a loop."""
    script(server, *[Response(301, b"{}", {"Location": "/again"})] * 9)
    with pytest.raises(Refused, match="redirects"):
        make_client(server).get("/x", {}, is_thing)
    assert len(server.log) == 3


def test_graphql_follows_no_redirect(server: ServiceServer) -> None:
    """A query is sent to the address that was configured, and nowhere else."""
    script(server, Response(307, b"{}", {"Location": "/elsewhere"}))
    with pytest.raises(Refused, match="redirected"):
        make_client(server, "t").graphql("query { x }", {})


def test_pitfall_19_a_slow_answer_is_given_up(server: ServiceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that does not come in time is asked for again."""
    monkeypatch.setattr(github_wire, "TIMEOUT", 0.2)
    server.faults.append(faults.slow(0.6))
    assert make_client(server).get("/x", {}, is_thing).value["path"] == "/x"


def test_pitfall_31_answers_are_never_crossed(server: ServiceServer) -> None:
    """Two workers that share a client each get what they asked for."""
    client = make_client(server, "t1", "t2")

    def ask(number: int) -> bool:
        reply = client.get(f"/thing/{number}", {}, is_thing)
        return bool(reply.value["path"] == f"/thing/{number}")

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(60)))


def test_a_bomb_is_not_asked_for_again(server: ServiceServer) -> None:
    """What is too large or packed twice is refused, the former for good."""
    server.faults.append(faults.gzip_bomb(40, times=9))
    with pytest.raises(TooMuch, match="GET"):
        make_client(server).get("/x", {}, is_thing)
    assert len(server.log) == 1
    server.faults.clear()
    twice = gzip.compress(gzip.compress(b"{}"))
    script(server, *[Response(200, twice, {"Content-Encoding": "gzip, gzip"})] * 9)
    with pytest.raises(Unreachable):
        make_client(server).get("/x", {}, is_thing)


def partial(kind: str | None, data: Any = None) -> Response:
    """Return a GraphQL answer with an error about its second node."""
    error = {"message": "odd", "path": ["nodes", 1]} | ({"type": kind} if kind else {})
    return faults.json_response(200, {"data": data or {"nodes": [{}, None]}, "errors": [error]})


@pytest.mark.parametrize("kind", ["NOT_FOUND", "FORBIDDEN"])
def test_a_node_that_is_gone_is_an_answer(server: ServiceServer, kind: str) -> None:
    """The other nodes of the answer are good."""
    script(server, partial(kind))
    assert make_client(server, "t").graphql("query { x }", {}).value["data"]["nodes"] == [{}, None]


@pytest.mark.parametrize("kind", ["SERVICE_UNAVAILABLE", "INTERNAL", None])
def test_a_part_that_failed_is_not_taken_for_gone(server: ServiceServer, kind: str | None) -> None:
    """A node that is missing for another reason is asked for again, in smaller pages if it can be."""
    script(server, partial(kind))
    client = make_client(server, "t")
    assert client.graphql("query { x }", {}).value["data"] == {}
    assert len(server.log) == 2
    script(server, partial(kind))
    with pytest.raises(TooHeavy):
        client.graphql("query { x }", {}, divisible=True)


def test_a_refused_query_says_why(server: ServiceServer) -> None:
    """A query that GitHub does not understand is our fault, and not asked again."""
    errors = {"errors": [{"message": "Field 'x' doesn't exist"}]}
    script(server, faults.json_response(200, errors))
    with pytest.raises(Refused, match="doesn't exist"):
        make_client(server, "t").graphql("query { x }", {})


@pytest.mark.parametrize(
    ("value", "kinds"),
    [
        ([], (True, False, False)),
        ([{}], (True, False, False)),
        ([1], (False, False, False)),
        ({"items": [], "total_count": 0}, (False, True, False)),
        ({"items": []}, (False, False, False)),
        ({"total_count": 3}, (False, False, False)),
        ({"id": 1}, (False, False, True)),
        ({}, (False, False, False)),
        (None, (False, False, False)),
    ],
)
def test_an_empty_answer_is_no_empty_result(value: Any, kinds: tuple[bool, bool, bool]) -> None:
    """A page counts only if it has the shape of one."""
    assert (is_list(value), is_search(value), is_thing(value)) == kinds


def test_an_unreachable_service_is_named() -> None:
    """The error says which address did not answer."""
    client = Client(
        "http://127.0.0.1:9", (), "nanmine/1", Transport("github", Watcher(), VirtualClock(), pace=0)
    )
    with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:9/x.*run again"):
        client.get("/x", {}, is_thing)
