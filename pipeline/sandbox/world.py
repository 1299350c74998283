"""The small world that the sandbox serves: repositories and threads, each with its right answer.

`load_world` reads the world that is written in threads/*.toml; `generate_world` makes a large one of
sentence templates for benchmarks. Both give the same world every time.
"""

from __future__ import annotations

import random
import tomllib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from db.records import Label

FOLDER = Path(__file__).parent / "threads"
SERVICES = {
    "github-tensorflow": "github",
    "github-pytorch": "github",
    "stackoverflow": "stackexchange",
    "pytorch-forums": "discourse",
}
KINDS = {"github": "issue", "stackexchange": "question", "discourse": "topic"}
FIRST_GITHUB_ID = 4_300_000_000  # beyond 32 bits, as today's ids are


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

    def with_thread(self, thread: WorldThread) -> World:
        """Return the world with `thread` added, or in the place of the one it is a new state of."""
        return replace(self, threads=(*self.without(thread.service, thread.id).threads, thread))

    def without(self, service: str, id: int) -> World:
        """Return the world without one thread: it was deleted."""
        return replace(self, threads=tuple(t for t in self.threads if (t.service, t.id) != (service, id)))


def load_world() -> World:
    """Return the world that is written in threads/*.toml."""
    rows = _read("repositories")["repositories"]
    repositories = tuple(WorldRepository(**{**row, "topics": tuple(row["topics"])}) for row in rows)
    threads = (_to_thread(SERVICES[name], row) for name in SERVICES for row in _read(name)["threads"])
    return World(repositories, tuple(threads))


@cache
def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def _to_thread(service: str, row: dict[str, Any]) -> WorldThread:
    """Return the thread of one row; ids and times that the row leaves open follow from it."""
    repository = row.get("repository")
    thread_id = row.get("id") or _github_id(row["repository"], row["number"])
    posts = tuple(_to_posts(service, thread_id, row))
    last = posts[-1].created_at + timedelta(minutes=50)
    closed_at = last if service == "github" and not row.get("open") else None
    kind = row.get("kind", KINDS[service])
    return WorldThread(
        service=service,
        id=thread_id,
        number=row.get("number", thread_id),
        kind=kind,
        title=row["title"],
        created_at=row["opened"],
        updated_at=closed_at or posts[-1].created_at,
        posts=posts,
        repository=repository,
        tags=tuple(row.get("tags", ())),
        closed_at=closed_at,
        merged_at=closed_at if kind == "pull" else None,
        candidate="misses" not in row,
        misses=row.get("misses"),
        truth=_to_truth(row),
    )


def _github_id(repository: str, number: int) -> int:
    return FIRST_GITHUB_ID + zlib.crc32(repository.encode()) % 2**24 * 1000 + number


def _to_truth(row: dict[str, Any]) -> Label | None:
    if "reason" in row:
        return Label(False, reason=row["reason"])
    if "cause" in row:
        return Label(True, None, row["cause"], row["fix"], row.get("function"))
    return None


def _to_posts(service: str, thread_id: int, row: dict[str, Any]) -> Iterator[WorldPost]:
    for index, post in enumerate(_with_chatter(row["posts"])):
        when = row["opened"] + timedelta(hours=3 * index, minutes=17 * index % 60)
        yield WorldPost(
            id=_post_id(service, thread_id, index),
            author=post.get("by"),
            created_at=when,
            body=post["body"].removesuffix("\n"),
            accepted=post.get("accepted", False),
            comments=tuple(_to_comments(thread_id, index, when, post.get("comments", ()))),
            hidden=post.get("hidden", False),
            small_action=post.get("small_action", False),
        )


def _post_id(service: str, thread_id: int, index: int) -> int:
    """Return a post's id; Stack Overflow counts questions and answers in one series of 31 bits."""
    return thread_id + index if service == "stackexchange" else thread_id * 300 + index


def _to_comments(thread_id: int, index: int, when: datetime, rows: Any) -> Iterator[WorldPost]:
    for number, row in enumerate(rows):
        moment = when + timedelta(minutes=20 * (number + 1))
        yield WorldPost(thread_id + 20 * index + number, row.get("by"), moment, row["body"])


def _with_chatter(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the posts, and for a row `filler = N` that many posts of chit-chat."""
    templates = _read("templates")
    for row in rows:
        for index in range(row.get("filler", 0)):
            chatter, people = templates["chatter"], templates["people"]
            yield {"by": people[index % len(people)], "body": chatter[index * 5 % len(chatter)]}
        if "filler" not in row:
            yield row


def generate_world(threads_per_source: int, seed: int = 0) -> World:
    """Return a world with that many candidates for each of the three services.

    GitHub's lie in one repository a hundred threads, alternately about TensorFlow and PyTorch.
    """
    chance = random.Random(seed)
    repositories = tuple(_made_repository(index) for index in range(-(-threads_per_source // 100)))
    threads = [
        _to_thread(service, _made_row(chance, service, index))
        for service in KINDS
        for index in range(threads_per_source)
    ]
    return World(repositories, tuple(threads))


def _made_repository(index: int) -> WorldRepository:
    topic = ("tensorflow", "pytorch")[index % 2]
    opened = datetime(2016, 1, 1, tzinfo=UTC) + timedelta(days=index)
    return WorldRepository(80_000_000 + index, f"bench/repository-{index}", (topic,), opened)


def _made_row(chance: random.Random, service: str, index: int) -> dict[str, Any]:
    """Return the row of one made thread, as it would stand in TOML."""
    templates = _read("templates")
    values = {"word": chance.choice(("nan", "inf")), "n": chance.randrange(2, 9)}
    answer = chance.choice(templates["answers"])
    opening = {"by": chance.choice(templates["people"]), "body": chance.choice(templates["openings"])}
    closing = {"by": chance.choice(templates["people"]), "body": answer["text"], "accepted": True}
    row = {
        "title": f"{chance.choice(templates['titles'])} ({index})".format(**values),
        "opened": datetime(2017, 1, 1, tzinfo=UTC) + timedelta(minutes=600 * index + chance.randrange(300)),
        "posts": [{**post, "body": post["body"].format(**values)} for post in (opening, closing)],
        "cause": answer["cause"],
        "fix": "other-fix",
    }
    if service == "github":
        return row | {"repository": f"bench/repository-{index // 100}", "number": index % 100 + 1}
    row["id"] = 30_000_000 + 100 * index if service == "stackexchange" else 100 + index
    return row | {"tags": ["tensorflow"]}
