"""One request, asked until it is answered: the only place that retries and waits.

A source sends a request through `Transport.ask` with a function that sends it once and one that
judges the answer. Waits that a server names are kept to the letter; waits of our own choosing are
scaled by the pace. A wait longer than the run may wait stops the run, resumable.
"""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from pipeline.errors import QuotaExhausted, Unreachable

ATTEMPTS = 6
FIRST_BACKOFF = 1.0  # seconds; doubles with each try
LONGEST_BACKOFF = 60.0
NAMED_WAITS = 20  # waits that a server names for one request before it counts as unreachable
MAX_BODY = 32 * 2**20  # bytes of one decoded answer


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service sent once: header names in lower case, the body as bytes, decoded."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer is good."""


@dataclass(frozen=True, slots=True)
class Again:
    """The answer is worth another try.

    `limit` names the quota that was hit, `until` when the server says it is free again. Without
    `until`, or with one that has passed, the wait is ours: it starts at `at_least` seconds, or a
    second, and doubles with each try.
    """

    reason: str
    limit: str | None = None
    until: datetime | None = None
    at_least: float = 0.0


Judgement = Accepted | Again


class Clock(Protocol):
    """Time, so that tests need not wait for it."""

    def now(self) -> datetime:
        """Return the time, aware UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Return the time, aware UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait; Ctrl-C ends it at once."""
        time.sleep(seconds)


class Watcher(Protocol):
    """Who is told what the crawl is doing: the progress bars, or a test."""

    def requested(self, source: str) -> None:
        """One request went out."""

    def quota(self, source: str, limit: str, left: int) -> None:
        """The service said how much of a limit is left."""

    def waiting(self, source: str, why: str, until: datetime) -> None:
        """The crawl waits, why, and until when."""

    def committed(self, source: str, new: int, changed: int) -> None:
        """A page is kept; how many threads this run has added and changed so far."""


@dataclass
class Transport:
    """Sends requests of one source, one at a time; see `ask`.

    `pace` scales the spacing and the back-off; `max_wait` (seconds, None: any) is the longest single
    wait. `requests` counts what was sent, every try included.
    """

    source: str
    watcher: Watcher
    clock: Clock = field(default_factory=SystemClock)
    pace: float = 1.0
    max_wait: float | None = None
    requests: int = 0
    _held: dict[str, tuple[datetime, str]] = field(default_factory=dict)

    def ask(
        self, send: Callable[[], Answer], judge: Callable[[Answer], Judgement], what: str, lane: str = ""
    ) -> Answer:
        """Return the first good answer.

        `send` raises OSError-like network faults as `NetworkFault`; `judge` may raise a SourceError,
        which ends it. `what` names the request in messages, without secrets. Requests of one `lane`
        are spaced by what `space` was told. Raises Unreachable after ATTEMPTS tries that failed on
        their own or NAMED_WAITS waits that the server named, and QuotaExhausted where a limit was
        behind that, or for a wait beyond `max_wait`.
        """
        attempts = named = answers = 0
        while True:
            self._wait_for_lane(lane)
            try:
                self.requests += 1
                self.watcher.requested(self.source)
                answer = send()
                answers += 1
                judgement = judge(answer)
            except NetworkFault as fault:
                judgement = Again(str(fault))
            if isinstance(judgement, Accepted):
                return answer
            if judgement.until is not None and judgement.until > self.clock.now():
                named += 1
                wait = judgement.until
            else:
                attempts += 1
                wait = self._own_wait(judgement.at_least, attempts)
            if attempts >= ATTEMPTS or named >= NAMED_WAITS:
                times = f"{attempts + named} times"
                reason = f"{self.source}: {what}: {judgement.reason}, {times}; run again to resume"
                raise QuotaExhausted(reason) if judgement.limit else Unreachable(reason, answers > 0)
            self._wait(judgement.limit or judgement.reason, wait)

    def space(self, lane: str, seconds: float) -> None:
        """Keep the next request of `lane` at least `seconds` (scaled by the pace) from now."""
        self.hold(lane, self.clock.now() + timedelta(seconds=seconds * self.pace))

    def hold(self, lane: str, until: datetime, why: str = "its turn") -> None:
        """Send no request of `lane` before `until`, a time that the server named, and say `why`."""
        if lane not in self._held or until > self._held[lane][0]:
            self._held[lane] = (until, why)

    def _wait_for_lane(self, lane: str) -> None:
        until, why = self._held.pop(lane, (None, ""))
        if until is not None:
            self._wait(why, until, quiet=True)

    def _own_wait(self, at_least: float, attempt: int) -> datetime:
        growing = min(max(at_least, FIRST_BACKOFF) * 2 ** (attempt - 1), max(LONGEST_BACKOFF, 16 * at_least))
        return self.clock.now() + timedelta(seconds=growing * (1 + random.random() / 4) * self.pace)

    def _wait(self, why: str, until: datetime, quiet: bool = False) -> None:
        seconds = (until - self.clock.now()).total_seconds()
        if seconds <= 0:
            return
        if self.max_wait is not None and seconds > self.max_wait:
            raise QuotaExhausted(
                f"{self.source}: {why} is used up until {until:%Y-%m-%d %H:%M:%S} UTC, longer than --max-wait"
                f" {self.max_wait:g} s; everything is kept, run again to resume",
                until,
            )
        if not quiet or seconds > 5:
            self.watcher.waiting(self.source, why, until)
        self.clock.sleep(seconds)


class NetworkFault(Exception):
    """A request that got no whole answer: refused, dropped, timed out, cut short."""


def retry_after(headers: dict[str, str], now: datetime) -> datetime | None:
    """Return when a Retry-After header (seconds or an HTTP date) lets us try again, or None."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return now + timedelta(seconds=int(value))
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
