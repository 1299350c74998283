"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_EVERY = 10.0  # seconds between plain lines


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """Show how many `what` are done; the function given takes the number done since its last call."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(what, total=None)
            yield lambda number: progress.advance(task, number)
        return
    done, said = 0, time.monotonic()

    def advance(number: int) -> None:
        nonlocal done, said
        done += number
        if time.monotonic() - said >= LINE_EVERY:
            said = time.monotonic()
            print(f"{done} {what}", file=sys.stderr)  # noqa: T201

    yield advance
