"""A local HTTP server for one sandboxed service: plain standard library, one thread a connection.

A service is a pure function from request to response over a world and a clock; faults are scripted
beside it and come before it answers.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from pipeline.transport import Clock, SystemClock


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
    """One response; `truncate_at` cuts the body short of its Content-Length, `drop` answers nothing."""

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
    """A scripted fault: the next `times` requests that `matches` get what `response` makes of them."""

    matches: Callable[[Request], bool]
    response: Callable[[Request], Response | None]
    times: int = 1


class ServiceServer:
    """Serves one service on a loopback port; `counts` counts requests by path, `log` keeps them."""

    def __init__(self, service: Service, port: int = 0) -> None:
        self.service = service
        self.faults: list[Fault] = []
        self.counts: Counter[str] = Counter()
        self.log: list[Request] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        service.base_url = self.url
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def requests(self) -> int:
        """How many requests came in."""
        return len(self.log)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: Request) -> Response:
        """Return the scripted fault's response, or the service's own; one request at a time."""
        with self._lock:
            self.counts[request.path] += 1
            self.log.append(request)
            for fault in self.faults:
                if fault.times > 0 and fault.matches(request):
                    fault.times -= 1
                    response = fault.response(request)
                    if response is not None:
                        return response
            return self.service.answer(request)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._serve()

            do_POST = do_HEAD = do_PUT = do_GET  # noqa: N815

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                request = Request(
                    self.command,
                    parts.path,
                    parse_qs(parts.query, keep_blank_values=True),
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length),
                    self.client_address[0],
                )
                self._send(server.answer(request))

            def _send(self, response: Response) -> None:
                if response.drop:
                    self.close_connection = True
                    return
                if response.delay:
                    SystemClock().sleep(response.delay)
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(response.body)))
                self.end_headers()
                self.wfile.write(response.body[: response.truncate_at])
                if response.truncate_at is not None:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                """Keep quiet: requests are counted, not printed."""

        return Handler
