"""A clock that only moves when somebody sleeps, so that a test of an hour's wait takes no time."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


class VirtualClock:
    """A `pipeline.transport.Clock` whose sleep moves the time on; safe to share between threads.

    `slept` is the total of all waits, in seconds.
    """

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._lock = threading.Lock()
        self.slept = 0.0

    def now(self) -> datetime:
        """Return the virtual time, aware UTC."""
        with self._lock:
            return self._now

    def sleep(self, seconds: float) -> None:
        """Move the time on by `seconds` at once; a negative wait moves nothing."""
        with self._lock:
            self._now += timedelta(seconds=max(0.0, seconds))
            self.slept += max(0.0, seconds)
