"""A local HTTP server for one sandboxed service: plain standard library, one thread a connection.

A service is a function from request to response over a world and a clock; faults are scripted
beside it and come before it answers.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from db.errors import NanmineError
from pipeline.transport import Clock, SystemClock


class SandboxError(NanmineError):
    """The sandbox cannot be served, or was asked for something it does not hold."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names in lower case, `query` with blank values kept."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    client: str

    def one(self, name: str, default: str = "") -> str:
        """Return the last value of a query parameter."""
        return self.query.get(name, [default])[-1]


@dataclass(frozen=True, slots=True)
class Response:
    """One response; `truncate_at` cuts the body short of its Content-Length, `drop` answers nothing.

    `delay` is in seconds of real time.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    truncate_at: int | None = None
    drop: bool = False
    delay: float = 0.0


class Service(Protocol):
    """A sandboxed service."""

    name: str
    base_url: str  # set by the server: scheme, host and port that the client sees
    clock: Clock

    def answer(self, request: Request) -> Response:
        """Return what the live service would."""


@dataclass
class Fault:
    """A scripted fault: the next `times` requests that `matches` get what `response` makes of them.

    The first `after` matching requests are spared. A response of None lets the service answer.
    """

    matches: Callable[[Request], bool]
    response: Callable[[Request], Response | None]
    times: int = 1
    after: int = 0

    def strikes(self, request: Request) -> bool:
        """Return whether this request meets the fault, and count it."""
        if self.times <= 0 or not self.matches(request):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True


class ServiceServer:
    """Serves one service on a loopback port; `counts` counts requests by path, `log` keeps them."""

    def __init__(self, service: Service, port: int = 0) -> None:
        self.service = service
        self.faults: list[Fault] = []
        self.counts: Counter[str] = Counter()
        self.log: list[Request] = []
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._server = _listen(port, self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        service.base_url = self.url
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def requests(self) -> int:
        """How many requests came in."""
        return len(self.log)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, end the open connections and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        for connection in list(self._connections):
            _hang_up(connection)

    def answer(self, request: Request) -> Response:
        """Return the scripted fault's response, or the service's own; one request at a time."""
        with self._lock:
            self.counts[request.path] += 1
            self.log.append(request)
            for fault in self.faults:
                response = fault.response(request) if fault.strikes(request) else None
                if response is not None:
                    return response
            return self.service.answer(request)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(_Handler):
            answer = staticmethod(server.answer)
            clock = server.service.clock
            connections = server._connections

        return Handler


class _Handler(BaseHTTPRequestHandler):
    """Turns HTTP into requests and responses; every answer leaves in one write."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    answer: Callable[[Request], Response]
    clock: Clock
    connections: set[socket.socket]

    def setup(self) -> None:
        super().setup()
        self.connections.add(self.connection)

    def finish(self) -> None:
        self.connections.discard(self.connection)
        try:
            super().finish()
        except OSError:  # the client went away first
            self.close_connection = True

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        self._send(self.answer(self._request()))

    do_POST = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time of the service's clock for the Date header."""
        return format_datetime(self.clock.now(), usegmt=True)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: requests are counted, not printed."""

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        return Request(
            self.command,
            parts.path,
            parse_qs(parts.query, keep_blank_values=True),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(length),
            self.client_address[0],
        )

    def _send(self, response: Response) -> None:
        if response.drop:
            self.close_connection = True
            return
        if response.delay:
            SystemClock().sleep(response.delay)
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status != 304:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD" and response.status != 304:
            self.wfile.write(response.body[: response.truncate_at])
        self.wfile.flush()
        self.close_connection = self.close_connection or response.truncate_at is not None


def _listen(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        raise SandboxError(
            f"sandbox: cannot serve on port {port}: {error}; choose another --port-base"
        ) from None
    server.daemon_threads = True
    return server


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # already gone
        return
