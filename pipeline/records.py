"""The values that pass between layers: a thread with its posts, and a text with its code marked.

`ThreadRecord` is what a source, an import or the sandbox hands over, whatever its origin; what a
study makes of it (candidate, strata, matches) is worked out in `pipeline.store`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

KINDS = ("issue", "pull", "question", "topic")
BODY_FORMATS = ("markdown", "html", "text")
ROLES = ("opening", "reply", "comment")
AVAILABILITIES = ("present", "gone", "moved", "private")


@dataclass(frozen=True, slots=True)
class PostRecord:
    """One post as its service sent it; `author` is the service's account id or name, not yet hashed.

    `role` is `opening`, `reply`, or `comment` (a Stack Overflow comment). `body` may be empty.
    """

    role: str
    external_id: str
    body: str
    body_format: str
    author: str | None = None
    created_at: datetime | None = None
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class ThreadRecord:
    """One thread as its service sent it; `posts[0]` opens it and carries no title.

    `libraries` are the study's libraries the thread is about (from repository topics, tags or the
    forum itself), sorted. `accepted` says that an accepted answer exists. A thread that the
    service no longer has keeps its identity, with `availability` gone, moved or private.
    """

    source: str
    external_id: str
    url: str
    kind: str
    title: str
    posts: tuple[PostRecord, ...]
    author: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    closed_at: datetime | None = None
    repository: str | None = None
    tags: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    accepted: bool = False
    availability: str = "present"

    @property
    def n_posts(self) -> int:
        """The opening post and its comments, answers or replies; Stack Overflow comments apart."""
        return sum(post.role != "comment" for post in self.posts)
