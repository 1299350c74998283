"""`nanmine sandbox`: serves the three services until it is stopped."""

from __future__ import annotations

import json
import signal
import threading

import click


@click.command()
@click.option(
    "--port-base",
    type=click.IntRange(1, 65533),
    metavar="N",
    help="Take the ports N, N+1 and N+2 instead of free ones.",
)
def sandbox(port_base: int | None) -> None:
    """Serve the sandbox until stopped; print the three URLs as one JSON line."""
    from pipeline.sandbox import Sandbox

    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with Sandbox(port_base=port_base or 0) as served:
        click.echo(json.dumps(served.urls))
        stopped.wait()
