"""The doctor's questions to GitHub, asked of the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.github import GitHubService
from pipeline.sandbox.server import ServiceServer
from pipeline.sandbox.world import load_world
from pipeline.settings import load_settings
from pipeline.sources import questions_of
from pipeline.transport import Transport


class Watcher:
    """Hears nothing."""

    def requested(self, source: str) -> None:
        """Ignore."""

    def quota(self, source: str, limit: str, left: int) -> None:
        """Ignore."""

    def waiting(self, source: str, why: str, until: object) -> None:
        """Ignore."""

    def committed(self, source: str, new: int, changed: int) -> None:
        """Ignore."""


@pytest.fixture
def server() -> Iterator[ServiceServer]:
    """A sandboxed GitHub on a virtual clock."""
    running = ServiceServer(GitHubService(load_world(), VirtualClock()))
    running.start()
    yield running
    running.stop()


@pytest.mark.parametrize("token", ["ghp_x", ""])
def test_the_questions_cost_at_most_fifteen_requests(server: ServiceServer, token: str) -> None:
    """What the sandbox models holds; what needs a token is left open without one."""
    settings = load_settings({"NANMINE_GITHUB_URL": server.url, "NANMINE_GITHUB_TOKEN": token})
    transport = Transport("github", Watcher(), server.service.clock)
    answers = {question: holds for question, holds, _ in questions_of("github", settings, transport)}
    assert len(server.log) == transport.requests <= 15
    assert answers["a search that names no kind is refused"] is True
    assert answers["a search as we plan it is answered in full"] is True
    assert answers["the default dialect finds the same"] is True
    assert answers["GraphQL counts the same, for one point"] is (True if token else None)
    assert answers["what GraphQL searches, REST may still search"] is (True if token else None)
    assert answers["qualifiers count towards the 256 characters"] is True


def test_an_unreachable_service_leaves_every_question_open() -> None:
    """The doctor reports that nothing is known, and does not fail."""
    settings = load_settings({"NANMINE_GITHUB_URL": "http://127.0.0.1:9", "NANMINE_PACE": "0"})
    transport = Transport("github", Watcher(), VirtualClock(), pace=0)
    answers = questions_of("github", settings, transport)
    assert all(holds is None for _, holds, _ in answers)
    assert transport.requests <= 15
