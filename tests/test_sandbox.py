"""The sandbox serves three services at once, meets its scripted faults, and ends cleanly."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from pipeline.sandbox import Sandbox, faults
from pipeline.sandbox.clock import START, VirtualClock
from pipeline.sandbox.limits import RateWindows
from pipeline.sandbox.server import Fault, Request, Response, SandboxError, ServiceServer
from pipeline.sandbox.world import World
from pipeline.transport import Clock

NAMES = ["github", "stackoverflow", "pytorch-forums"]


class Echo:
    """A service that answers the path."""

    name = "echo"
    base_url = ""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def answer(self, request: Request) -> Response:
        """Return the path of the request."""
        return Response(body=request.path.encode())


@pytest.fixture
def server() -> Iterator[ServiceServer]:
    """A running server that echoes."""
    running = ServiceServer(Echo(VirtualClock()))
    running.start()
    yield running
    running.stop()


def get(server: ServiceServer, path: str = "/a") -> httpx.Response:
    """Ask once, on a new connection."""
    return httpx.get(server.url + path, trust_env=False, timeout=5)


def test_virtual_clock_moves_only_by_sleeping() -> None:
    """An hour's sleep takes no time and is counted; a negative one is nothing."""
    clock = VirtualClock()
    clock.sleep(3600)
    clock.sleep(-5)
    assert (clock.now() - START, clock.slept) == (timedelta(hours=1), 3600)


def test_window_opens_with_its_first_use() -> None:
    """A window lasts from its first use, refuses what does not fit, and is full again afterwards."""
    clock = VirtualClock()
    windows = RateWindows(clock)
    window = (("key",), 3, timedelta(minutes=1))
    assert windows.spend(*window, 2)
    assert not windows.spend(*window, 2)
    assert windows.look(*window).remaining == 1
    clock.sleep(60)
    assert windows.look(*window).remaining == 3


def test_requests_are_counted_and_logged(server: ServiceServer) -> None:
    """Each request is counted by path and kept with its headers."""
    get(server, "/a?x=1&y=")
    get(server, "/b")
    assert (server.requests, server.counts["/a"]) == (2, 1)
    assert server.log[0].query == {"x": ["1"], "y": [""]}
    assert "user-agent" in server.log[0].headers


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (faults.server_error(), 502),
        (faults.html_success(), 200),
        (faults.truncated_json(), 200),
        (faults.deep_json(10), 200),
        (faults.status(451), 451),
        (faults.redirect("http://127.0.0.1:9/"), 301),
        (faults.too_many(None), 429),
        (faults.github_primary(START), 403),
        (faults.github_secondary(), 403),
    ],
)
def test_a_fault_strikes_once(server: ServiceServer, fault: Fault, status: int) -> None:
    """A fault answers the first request; the second reaches the service."""
    server.faults.append(fault)
    assert get(server).status_code == status
    assert get(server).text == "/a"


def test_faults_can_wait_repeat_and_choose(server: ServiceServer) -> None:
    """A fault spares the first requests, strikes as often as told, and only where it matches."""
    server.faults.append(faults.server_error(times=2, after=1, matches=faults.path("^/a")))
    assert [get(server, path).status_code for path in ("/a", "/b", "/a", "/a", "/a")] == [
        200,
        200,
        502,
        502,
        200,
    ]


def test_the_world_can_change_at_a_chosen_request(server: ServiceServer) -> None:
    """An action runs once, before the request it waits for, and that request is answered."""
    heard: list[int] = []
    server.faults.append(faults.act(lambda: heard.append(server.requests), after=1))
    assert [get(server).text for _ in range(3)] == ["/a"] * 3
    assert heard == [2]


@pytest.mark.parametrize("fault", [faults.drop(), faults.cut_short()])
def test_broken_connections_are_network_errors(server: ServiceServer, fault: Fault) -> None:
    """A dropped connection and a short body are errors of the transport, not answers."""
    server.faults.append(fault)
    with pytest.raises(httpx.TransportError):
        get(server)


def test_bomb_and_dates(server: ServiceServer) -> None:
    """A gzip bomb is small on the wire, and a Retry-After can be a date."""
    bomb = faults.gzip_bomb(2)
    reply = bomb.response(server_request())
    assert reply is not None
    assert len(reply.body) < 10_000 < len(gzip.decompress(reply.body))
    server.faults.append(faults.too_many(datetime(2026, 11, 1, 12, 5, tzinfo=UTC)))
    assert get(server).headers["retry-after"] == "Sun, 01 Nov 2026 12:05:00 GMT"


def server_request() -> Request:
    """Return a request that nobody sent."""
    return Request("GET", "/", {}, {}, b"", "127.0.0.1")


def test_a_stopped_server_hangs_up() -> None:
    """After `stop` an open connection is dead and the port refuses."""
    running = ServiceServer(Echo(VirtualClock()))
    running.start()
    with httpx.Client(base_url=running.url, trust_env=False) as client:
        client.get("/")
        running.stop()
        with pytest.raises(httpx.TransportError):
            client.get("/")


def test_a_taken_port_is_one_line(server: ServiceServer) -> None:
    """A port that is in use is an error that says so and what to do."""
    with pytest.raises(SandboxError, match="--port-base"):
        ServiceServer(Echo(VirtualClock()), int(server.url.rpartition(":")[2]))


def test_sandbox_serves_all_three() -> None:
    """One sandbox has one URL for each source, by its name."""
    with Sandbox(World((), ()), clock=VirtualClock()) as sandbox:
        assert list(sandbox.urls) == NAMES
        assert httpx.get(sandbox.urls["github"] + "/rate_limit", trust_env=False).status_code == 200
        assert sandbox.requests == {"github": 1, "stackoverflow": 0, "pytorch-forums": 0}


def test_the_world_can_change_under_a_running_sandbox() -> None:
    """A new world takes the place of the old one; a GitHub thread that it lacks was deleted."""
    with Sandbox(clock=VirtualClock()) as sandbox:
        lost, edited = sandbox.world.threads_of("github")[:2]
        sandbox.world = sandbox.world.without("github", lost.id).with_thread(replace(edited, title="New"))
        url = sandbox.urls["github"]
        paths = [f"{url}/repos/{thread.repository}/issues/{thread.number}" for thread in (lost, edited)]
        answers = [httpx.get(path, trust_env=False) for path in paths]
    assert answers[0].status_code == 410
    assert answers[1].json()["title"] == "New"


def test_a_repository_of_another_name_was_renamed() -> None:
    """A new world that gives a repository another name leaves a redirect at the old one."""
    with Sandbox(clock=VirtualClock()) as sandbox:
        thread = sandbox.world.threads_of("github")[0]
        old, new = thread.repository or "", "renamed/nets"
        repositories = [
            replace(r, full_name=new) if r.full_name == old else r for r in sandbox.world.repositories
        ]
        threads = [replace(t, repository=new) if t.repository == old else t for t in sandbox.world.threads]
        sandbox.world = World(tuple(repositories), tuple(threads))
        url = f"{sandbox.urls['github']}/repos/{old}/issues/{thread.number}"
        found = httpx.get(url, trust_env=False, follow_redirects=True)
    assert [answer.status_code for answer in (*found.history, found)] == [301, 200]
    assert found.json()["html_url"].startswith(f"https://github.com/{new}/")


def test_answers_are_dated_by_the_clock_of_the_service(server: ServiceServer) -> None:
    """The Date header is the virtual time, so that a client can see how far its own clock is off."""
    assert get(server).headers["date"] == "Sun, 01 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_prints_urls_and_ends_cleanly(number: signal.Signals) -> None:
    """`nanmine sandbox` prints one JSON line, serves, and exits 0 when it is told to stop."""
    command = [sys.executable, "-c", "from flows.cli import main; main()", "sandbox"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        urls = json.loads(process.stdout.readline())
        assert list(urls) == NAMES
        assert httpx.get(urls["github"] + "/rate_limit", trust_env=False).status_code == 200
        process.send_signal(number)
        assert process.wait(10) == 0
