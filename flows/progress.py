"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Self

LINE_EVERY = 10.0  # seconds between plain lines


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """Show how many `what` are done; the function given takes the number done since its last call."""
    done, said = 0, time.monotonic()

    def advance(number: int) -> None:
        nonlocal done, said
        done += number
        if bars is not None:
            bars.update(task, description=f"{done} {what}")
        elif time.monotonic() - said >= LINE_EVERY:
            said = time.monotonic()
            _say(f"{done} {what}")

    bars = _bars() if sys.stderr.isatty() else None
    if bars is None:
        yield advance
        return
    with bars:
        task = bars.add_task(f"0 {what}", total=None)
        yield advance


@dataclass
class _SourceState:
    requests: int = 0
    new: int = 0
    changed: int = 0
    quota: dict[str, int] = field(default_factory=dict)
    waiting: str = ""
    said: float = 0.0

    def line(self) -> str:
        left = "".join(f", {limit} {number} left" for limit, number in sorted(self.quota.items()))
        waiting = f"; {self.waiting}" if self.waiting else ""
        return f"{self.new} new, {self.changed} changed, {self.requests} requests{left}{waiting}"


class CrawlProgress:
    """A `pipeline.transport.Watcher` that shows threads, requests, quota left and what is waited for."""

    def __init__(self) -> None:
        self._bars = _bars() if sys.stderr.isatty() else None
        self._tasks: dict[str, Any] = {}
        self._states: dict[str, _SourceState] = {}

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def requested(self, source: str) -> None:
        """One request went out."""
        state = self._state(source)
        state.requests += 1
        state.waiting = ""
        self._show(source)

    def quota(self, source: str, limit: str, left: int) -> None:
        """The service said how much of a limit is left."""
        self._state(source).quota[limit] = left

    def waiting(self, source: str, why: str, until: datetime) -> None:
        """The crawl waits, why, and until when."""
        self._state(source).waiting = f"waiting for {why} until {until:%H:%M:%S} UTC"
        self._show(source, at_once=True)

    def committed(self, source: str, new: int, changed: int) -> None:
        """A page is kept."""
        state = self._state(source)
        state.new, state.changed = new, changed
        self._show(source)

    def _state(self, source: str) -> _SourceState:
        return self._states.setdefault(source, _SourceState(said=time.monotonic()))

    def _show(self, source: str, at_once: bool = False) -> None:
        state = self._state(source)
        if self._bars is not None:
            if source not in self._tasks:
                self._tasks[source] = self._bars.add_task(source, total=None)
            self._bars.update(self._tasks[source], description=f"{source}: {state.line()}")
        elif at_once or time.monotonic() - state.said >= LINE_EVERY:
            state.said = time.monotonic()
            _say(f"{source}: {state.line()}")
