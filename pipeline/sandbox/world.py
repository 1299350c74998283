"""The small world that the sandbox serves: repositories and threads, each with its right answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from db.records import Label


@dataclass(frozen=True, slots=True)
class WorldRepository:
    """A GitHub repository."""

    id: int
    full_name: str
    topics: tuple[str, ...]
    created_at: datetime
    stars: int = 10
    fork: bool = False
    archived: bool = False


@dataclass(frozen=True, slots=True)
class WorldPost:
    """A post in Markdown, whatever the service renders it to.

    `author` is an account name, None for a deleted account. `comments` are Stack Overflow comments.
    `hidden` and `small_action` are Discourse's.
    """

    id: int
    author: str | None
    created_at: datetime
    body: str
    accepted: bool = False
    comments: tuple[WorldPost, ...] = ()
    hidden: bool = False
    small_action: bool = False


@dataclass(frozen=True, slots=True)
class WorldThread:
    """A thread with its right answer.

    `service` is `github`, `stackexchange` or `discourse`; `number` the issue number within its
    repository, else the service's id (`id` is unique within a service). `candidate` says whether
    the bundled study's criteria hold, `misses` which one does not. `truth` is the right label.
    """

    service: str
    id: int
    number: int
    kind: str
    title: str
    created_at: datetime
    updated_at: datetime
    posts: tuple[WorldPost, ...]
    repository: str | None = None
    tags: tuple[str, ...] = ()
    closed_at: datetime | None = None
    merged_at: datetime | None = None
    candidate: bool = True
    misses: str | None = None
    truth: Label | None = None


@dataclass(frozen=True, slots=True)
class World:
    """Everything that the three services hold."""

    repositories: tuple[WorldRepository, ...]
    threads: tuple[WorldThread, ...]

    def threads_of(self, service: str) -> tuple[WorldThread, ...]:
        """Return the threads of one service, oldest first."""
        return tuple(
            sorted((t for t in self.threads if t.service == service), key=lambda t: (t.created_at, t.id))
        )
