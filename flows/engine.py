"""Prefect as we run it: quiet, without telemetry unless asked for, with time to start.

Imported before Prefect by everything that needs it; a variable that is set already is kept.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NoReturn

from db.errors import NanmineError
from pipeline.errors import Interrupted
from pipeline.settings import Settings, load_settings
from pipeline.transport import Watcher

DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
}
for _name, _value in DEFAULTS.items():
    os.environ.setdefault(_name, _value)
START_SECONDS = 90


@dataclass(frozen=True)
class Surroundings:
    """What a command hands to the flows it runs; a flow that a schedule runs finds its own."""

    settings: Settings
    watcher: Watcher | None = None


_surroundings: ContextVar[Surroundings | None] = ContextVar("surroundings", default=None)


def surround(settings: Settings, watcher: Watcher | None = None) -> None:
    """Let the flows of this process use `settings`: secrets must not pass as flow parameters."""
    _surroundings.set(Surroundings(settings, watcher))


def surroundings() -> Surroundings:
    """Return what the command handed over, or the settings of the environment."""
    return _surroundings.get() or Surroundings(load_settings(os.environ))


def leave(error: Interrupted) -> NoReturn:
    """Say why and end the process at once.

    Ctrl-C ends Prefect's embedded server as well, and Prefect would go on asking it for minutes.
    """
    from prefect.server.api.server import SubprocessASGIServer

    server = SubprocessASGIServer().server_process
    if server is not None:
        server.kill()
    print(f"\nnanmine: {error}", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(error.exit_code)


@contextmanager
def prefect_server() -> Iterator[str]:
    """Give the URL of the Prefect server: the one of PREFECT_API_URL, or one of our own until the end.

    Ours is no member of the terminal's process group: Ctrl-C must not end it before those who ask it.
    """
    url = os.environ.get("PREFECT_API_URL")
    if url:
        yield url
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api"}
    server = subprocess.Popen(  # noqa: S603
        words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
    )
    try:
        _await(f"http://127.0.0.1:{port}/api/health", server)
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=20)


def _await(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and server.poll() is None:
        try:
            opener.open(url, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise NanmineError("the Prefect server did not start; `prefect server start` shows why")
