"""A crawl of a generated world: requests, client CPU and peak memory for 500 and 2,000 threads a source.

The sandbox runs in a process of its own, on a clock that moves a little with each request, so that
its limits are never in the way; the client is measured alone. Run it with `make bench`.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

from db.engine import open_database
from flows.progress import CrawlProgress
from pipeline.crawl import crawl_source
from pipeline.sandbox import Sandbox
from pipeline.sandbox.clock import START
from pipeline.sandbox.world import generate_world
from pipeline.settings import load_settings
from pipeline.sources import open_source
from pipeline.sources.base import Window
from pipeline.transport import Transport

SIZES = (500, 2000)
VARIABLES = {
    "github": "NANMINE_GITHUB_URL",
    "stackoverflow": "NANMINE_STACKEXCHANGE_URL",
    "pytorch-forums": "NANMINE_FORUM_URL",
}


class TickingClock:
    """A clock that moves on by some seconds each time it is read."""

    def __init__(self, step: float = 0.5) -> None:
        self._now = START
        self._step = timedelta(seconds=step)

    def now(self) -> datetime:
        """Return the next time."""
        self._now += self._step
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self._now += timedelta(seconds=seconds)


def serve(size: int) -> None:
    """Serve a generated world until standard input closes; print the addresses first."""
    with Sandbox(generate_world(size), clock=TickingClock()) as sandbox:
        print(json.dumps(sandbox.urls), flush=True)
        sys.stdin.read()


def measure(source: str) -> None:
    """Crawl one source twice and print what it took."""
    settings = load_settings(os.environ)
    database = open_database(settings.database_url)
    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {}
    for name in ("first", "second"):
        transport = Transport(source, CrawlProgress(), pace=0)
        opened = open_source(source, settings, transport)
        cpu, wall = time.process_time(), time.perf_counter()
        report = crawl_source(database, settings.study, opened, Window(), transport)
        found[name] = {
            "threads": report.threads,
            "requests": transport.requests,
            "cpu": time.process_time() - cpu,
            "wall": time.perf_counter() - wall,
        }
        opened.close()
    database.close()
    found["start_mib"] = started / 1024
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def run(*words: str, environment: dict[str, str]) -> dict[str, object]:
    """Run this file in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, __file__, *words], env=environment, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def bench() -> None:
    """Print one line a source and size, and the ratio of the peaks."""
    print("source           threads  requests  per 1,000  again  CPU s per 1,000  wall s  peak MiB")
    peaks: dict[str, list[float]] = {}
    for size in SIZES:
        words = [sys.executable, __file__, "serve", str(size)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            urls = json.loads(server.stdout.readline())
            addresses = {variable: urls[name] for name, variable in VARIABLES.items()}
            for source in VARIABLES:
                with tempfile.TemporaryDirectory() as folder:
                    url = {"NANMINE_DATABASE_URL": f"sqlite:///{Path(folder) / 'bench.db'}"}
                    keys = {"NANMINE_GITHUB_TOKEN": "bench", "NANMINE_STACKEXCHANGE_KEY": "bench"}
                    found = run("measure", source, environment=os.environ | addresses | url | keys)
                first, second = found["first"], found["second"]
                threads = first["threads"]
                peaks.setdefault(source, []).append(found["peak_mib"])
                rate = first["requests"] / threads * 1000
                print(
                    f"{source:16} {threads:7} {first['requests']:9} {rate:10.0f}"
                    f" {second['requests']:6} {first['cpu'] * 1000 / threads:16.2f} {first['wall']:7.1f}"
                    f" {found['peak_mib']:9.0f}"
                )
            server.stdin.close()
    for source, (small, large) in peaks.items():
        print(f"{source}: peak memory at {SIZES[1]} threads is {large / small:.2f} times that at {SIZES[0]}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", size]:
            serve(int(size))
        case ["measure", source]:
            measure(source)
        case _:
            bench()
