"""The doctor's questions to Stack Exchange and to a forum are answered, within fifteen requests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.sandbox import Sandbox, faults
from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.world import World, WorldPost, WorldThread
from pipeline.settings import Settings
from pipeline.sources import questions_of
from pipeline.sources.checkup import Answer
from pipeline.transport import Transport

START = datetime(2018, 1, 1, tzinfo=UTC)


class Watcher:
    """Hears and says nothing."""

    def requested(self, source: str) -> None:
        """One request."""

    def quota(self, source: str, limit: str, left: int) -> None:
        """One quota."""

    def waiting(self, source: str, why: str, until: datetime) -> None:
        """One wait."""

    def committed(self, source: str, new: int, changed: int) -> None:
        """One page."""


def thread(service: str, number: int, replies: int) -> WorldThread:
    """Return a solved thread with NaN in its title and text."""
    posts = tuple(
        WorldPost(number * 1000 + at, f"user{at}", START + timedelta(minutes=at), "NaN", accepted=at == 1)
        for at in range(replies + 1)
    )
    return WorldThread(
        service,
        number,
        number,
        "topic" if service == "discourse" else "question",
        "Loss is NaN",
        START + timedelta(hours=number),
        START + timedelta(hours=number),
        posts,
        tags=("tensorflow",),
    )


WORLD = World((), tuple(thread(s, n, 12 * n) for s in ("discourse", "stackexchange") for n in (1, 2, 3)))


def visit(name: str, settings: Settings, *scripted: Any, key: str | None = None) -> tuple[list[Answer], int]:
    """Return the answers and the number of requests of one visit to the sandbox."""
    with Sandbox(WORLD, clock=VirtualClock()) as sandbox:
        server = sandbox.servers[name]
        server.faults += scripted
        sources = dict(settings.study.sources)
        sources[name] = replace(sources[name], url=server.url)
        own = replace(settings, study=replace(settings.study, sources=sources), stackexchange_key=key)
        answers = questions_of(name, own, Transport(name, Watcher(), sandbox.clock, 0.0))
        return answers, server.requests


@pytest.mark.parametrize(
    ("name", "key", "unknown", "most"),
    [("stackoverflow", None, 3, 10), ("stackoverflow", "a-key", 4, 9), ("pytorch-forums", None, 1, 5)],
)
def test_what_we_rely_on_holds_in_the_sandbox(
    settings: Settings, name: str, key: str | None, unknown: int, most: int
) -> None:
    """Every question is answered yes, but for those that no request can answer."""
    answers, requests = visit(name, settings, key=key)
    assert [answer for answer in answers if answer[1] is False] == []
    assert sum(holds is None for _, holds, _ in answers) == unknown, answers
    assert requests <= most
    assert "a-key" not in str(answers)


@pytest.mark.parametrize("name", ["stackoverflow", "pytorch-forums"])
@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_failing_service_costs_fifteen_requests_at_most(settings: Settings, name: str, after: int) -> None:
    """A service that fails leaves questions unknown; it is not asked for ever."""
    answers, requests = visit(name, settings, faults.for_ever(faults.server_error(503, after=after)))
    assert requests <= 15
    assert sum(holds is None for _, holds, _ in answers) >= 2


def test_a_forum_that_ignores_solved_does_not_hold(settings: Settings) -> None:
    """A list with an unsolved row is a no."""
    row = {"id": 1, "created_at": "2018-01-01T00:00:00Z", "has_accepted_answer": False, "posts_count": 2}
    page = faults.json_response(200, {"topic_list": {"topics": [row]}})
    answers, _ = visit("pytorch-forums", settings, faults.fault(page, matches=faults.path("latest")))
    assert [question for question, holds, _ in answers if holds is False] == ["the list honours `solved=yes`"]
