"""The transport: one request, asked until it is answered, and every wait accounted for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.errors import QuotaExhausted, Unreachable
from pipeline.transport import (
    ATTEMPTS,
    NAMED_WAITS,
    Accepted,
    Again,
    Answer,
    NetworkFault,
    Transport,
    retry_after,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = Answer(200, {}, b"{}")


class FakeClock:
    """A clock that jumps instead of waiting; `slept` keeps the waits in seconds."""

    def __init__(self) -> None:
        self.time = START
        self.slept: list[float] = []

    def now(self) -> datetime:
        """Return the fake time."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Jump."""
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)


class Watcher:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.requests = 0
        self.waits: list[tuple[str, datetime]] = []

    def requested(self, source: str) -> None:
        """Count."""
        self.requests += 1

    def quota(self, source: str, limit: str, left: int) -> None:
        """Ignore."""

    def waiting(self, source: str, why: str, until: datetime) -> None:
        """Keep."""
        self.waits.append((why, until))


def make_transport(pace: float = 1.0, max_wait: float | None = None) -> tuple[Transport, FakeClock, Watcher]:
    """A transport on a fake clock."""
    clock, watcher = FakeClock(), Watcher()
    return Transport("github", watcher, clock, pace, max_wait), clock, watcher


def judged(*judgements: Again | Accepted) -> Callable[[Answer], Again | Accepted]:
    """A judge that says these in turn, the last for ever."""
    left = list(judgements)
    return lambda answer: left.pop(0) if len(left) > 1 else left[0]


def good() -> Answer:
    """Send and be answered."""
    return GOOD


def test_a_fault_is_asked_again_with_a_growing_wait() -> None:
    """Dropped connections are tried again after one, two, four seconds and a little more."""
    transport, clock, watcher = make_transport()
    faults = iter([NetworkFault("dropped")] * 3)

    def send() -> Answer:
        for fault in faults:
            raise fault
        return GOOD

    assert transport.ask(send, judged(Accepted()), "a page") is GOOD
    assert transport.requests == watcher.requests == 4
    assert [1 <= slept / 2**n <= 1.25 for n, slept in enumerate(clock.slept)] == [True] * 3


def test_faults_without_end_stop_the_run() -> None:
    """After its attempts a request counts as unreachable, and the message names it."""
    transport, _, _ = make_transport(pace=0)
    with pytest.raises(Unreachable, match="a page: 502"):
        transport.ask(good, judged(Again("502")), "a page")
    assert transport.requests == ATTEMPTS


def test_a_named_wait_is_kept_to_the_letter() -> None:
    """The pace scales no wait that the server named."""
    transport, clock, watcher = make_transport(pace=0)
    until = START + timedelta(seconds=77)
    transport.ask(good, judged(Again("limit", "search quota", until), Accepted()), "a page")
    assert clock.slept == [77]
    assert watcher.waits == [("search quota", until)]


def test_a_named_time_that_has_passed_is_no_invitation_to_hammer() -> None:
    """A reset in the past makes the wait ours, and its tries are counted."""
    transport, clock, _ = make_transport()
    with pytest.raises(Unreachable):
        transport.ask(good, judged(Again("limit", until=START - timedelta(hours=1))), "a page")
    assert transport.requests == ATTEMPTS
    assert clock.slept[0] >= 1


def test_named_waits_have_an_end() -> None:
    """A server that names a wait for ever is unreachable in the end."""
    transport, clock, _ = make_transport()
    with pytest.raises(Unreachable):
        transport.ask(good, lambda _: Again("limit", until=clock.now() + timedelta(seconds=1)), "a page")
    assert transport.requests == NAMED_WAITS


def test_an_own_wait_grows_from_what_is_asked_at_least() -> None:
    """A secondary limit without a header waits 60 seconds, then 120, scaled by the pace."""
    transport, clock, _ = make_transport(pace=0.01)
    again = Again("secondary limit", at_least=60)
    transport.ask(good, judged(again, again, Accepted()), "a page")
    assert 0.6 <= clock.slept[0] <= 0.75
    assert 1.2 <= clock.slept[1] <= 1.5


@pytest.mark.parametrize("pace", [0, 1])
def test_a_wait_beyond_the_longest_stops_resumably(pace: float) -> None:
    """A longer wait than --max-wait ends the run with the time it could go on."""
    transport, clock, _ = make_transport(pace, max_wait=60)
    until = START + timedelta(seconds=3600)
    with pytest.raises(QuotaExhausted) as caught:
        transport.ask(good, judged(Again("limit", "core quota", until)), "a page")
    assert caught.value.resume_at == until
    assert caught.value.exit_code == 5
    assert clock.slept == []


def test_lanes_are_spaced() -> None:
    """A lane keeps its spacing, another lane does not wait for it, and short turns are not announced."""
    transport, clock, watcher = make_transport()
    transport.space("search", 2)
    transport.space("search", 1)
    transport.ask(good, judged(Accepted()), "a page", "core")
    assert clock.slept == []
    transport.ask(good, judged(Accepted()), "a page", "search")
    assert clock.slept == [2]
    assert watcher.waits == []


def test_a_held_lane_says_why() -> None:
    """A lane held until a reset that the server named is announced with its reason."""
    transport, clock, watcher = make_transport(pace=0)
    transport.hold("search", START + timedelta(seconds=30), "search quota")
    transport.ask(good, judged(Accepted()), "a page", "search")
    assert clock.slept == [30]
    assert watcher.waits == [("search quota", START + timedelta(seconds=30))]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30),
        (" 0 ", 0),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60),
        ("Thu, 01 Jan 2026 00:01:00 -0000", 60),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("٣", None),
        ("9" * 12, None),
        ("Thu, 99 Jan 2026 00:01:00 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: int | None) -> None:
    """Retry-After is read as seconds or as an HTTP date; anything else names no time."""
    expected = None if seconds is None else START + timedelta(seconds=seconds)
    assert retry_after({"retry-after": value}, START) == expected
