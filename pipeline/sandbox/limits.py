"""Fixed windows of requests or points, the way the services count them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.transport import Clock


@dataclass(frozen=True, slots=True)
class Quota:
    """How one window stands; `reset_at` is when it is full again."""

    limit: int
    used: int
    reset_at: datetime

    @property
    def remaining(self) -> int:
        """How much is left, never negative."""
        return max(0, self.limit - self.used)


class RateWindows:
    """Windows by key; a window opens with its first use and lasts a fixed time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, ...], Quota] = {}

    def look(self, key: tuple[str, ...], limit: int, lasts: timedelta) -> Quota:
        """Return the window of `key` without spending anything."""
        now = self._clock.now()
        window = self._windows.get(key)
        if window is None or window.reset_at <= now:
            return Quota(limit, 0, now + lasts)
        return window

    def spend(self, key: tuple[str, ...], limit: int, lasts: timedelta, amount: int = 1) -> bool:
        """Take `amount` from the window of `key`; return False, taking nothing, if that is too much."""
        window = self.look(key, limit, lasts)
        fits = window.used + amount <= window.limit
        self._windows[key] = Quota(window.limit, window.used + (amount if fits else 0), window.reset_at)
        return fits

    def exhaust(self, key: tuple[str, ...], limit: int, lasts: timedelta) -> None:
        """Use up the window of `key`, for a test."""
        window = self.look(key, limit, lasts)
        self._windows[key] = Quota(window.limit, window.limit, window.reset_at)
