"""What `/search.json` and `/filter.json` understand, and which topics it selects.

Search matches word prefixes, as PostgreSQL's full-text search does behind the live forum: `inf`
finds info and inference. What neither understands is an error here, where the live forum would
search for it as a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.sandbox.questions import to_slug
from pipeline.sandbox.topics import is_solved, numbered
from pipeline.sandbox.world import WorldPost, WorldThread

STOP_WORDS = frozenset("a an and are as at be by for if in is it no not of on or the to with".split())
SEARCH_ORDERS = ("latest", "oldest", "latest_topic", "oldest_topic")


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A search: words that all stand (as prefixes) in one post, and operators."""

    words: tuple[str, ...]
    order: str = "relevance"
    solved: bool | None = None
    in_title: bool = False
    in_first: bool = False
    after: datetime | None = None
    before: datetime | None = None

    @classmethod
    def parse(cls, text: str) -> SearchQuery:
        """Read the query language; ValueError names what is not understood."""
        words: list[str] = []
        operators: dict[str, Any] = {}
        for part in text.split():
            name, colon, value = part.partition(":")
            if not colon:
                words += [word for word in _tokens(part) if word not in STOP_WORDS]
            else:
                operators |= _operator(name, value)
        return cls(tuple(words), **operators)

    def select(self, topics: Iterable[WorldThread]) -> list[WorldThread]:
        """Return the topics with a matching post, in the order asked for."""
        found = [topic for topic in topics if self.hits(topic) and self.solved in (None, is_solved(topic))]
        newest_first = not self.order.startswith("oldest")
        return sorted(found, key=lambda topic: (topic.created_at, topic.id), reverse=newest_first)

    def hits(self, topic: WorldThread) -> list[tuple[int, WorldPost]]:
        """Return the posts of `topic` that match, lowest number first."""
        posts = numbered(topic)[:1] if self.in_title or self.in_first else numbered(topic)
        return [(number, post) for number, post in posts if self._matches(topic, number, post)]

    def _matches(self, topic: WorldThread, number: int, post: WorldPost) -> bool:
        if post.hidden or post.small_action:
            return False
        if (self.after and post.created_at <= self.after) or (self.before and post.created_at >= self.before):
            return False
        text = topic.title if self.in_title else f"{topic.title if number == 1 else ''} {post.body}"
        tokens = _tokens(text)
        return all(any(token.startswith(word) for token in tokens) for word in self.words)


def _operator(name: str, value: str) -> dict[str, Any]:
    if name == "status" and value in ("solved", "unsolved"):
        return {"solved": value == "solved"}
    if name == "order" and value in SEARCH_ORDERS:
        return {"order": value}
    if name == "in" and value in ("title", "first"):
        return {f"in_{value}": True}
    if name in ("before", "after"):
        return {name: _day(value)}
    raise ValueError(f"{name}:{value}")


def _tokens(text: str) -> set[str]:
    """Return the index's words: a slash binds, and parts after a dot are words of their own."""
    return set(re.findall(r"[^\W_]+(?:/[^\W_]+)*", re.sub(r"<[^<>\s]*>", " ", text.lower())))


def _day(value: str) -> datetime:
    found = re.fullmatch(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?", value)
    if found is None:
        raise ValueError(value)
    year, month, day = (int(part or 1) for part in found.groups())
    return datetime(year, month, day, tzinfo=UTC)


def first_hit(query: SearchQuery, topic: WorldThread) -> tuple[int, WorldPost]:
    """Return the post a result row shows: the lowest match, or the highest for `order:latest`."""
    return query.hits(topic)[-1 if query.order == "latest" else 0]


def to_blurb(topic: WorldThread, number: int, post: WorldPost) -> dict[str, Any]:
    """Return a post as a search result shows it: a blurb, no body."""
    return {
        "id": post.id,
        "username": post.author,
        "created_at": f"{post.created_at:%Y-%m-%dT%H:%M:%S}.000Z",
        "like_count": 0,
        "blurb": post.body[:200],
        "post_number": number,
        "topic_id": topic.id,
        "topic_slug": to_slug(topic.title),
    }


@dataclass(frozen=True, slots=True)
class FilterQuery:
    """A query of `/filter.json`; the bounds of `created` are inclusive midnights."""

    solved: bool | None = None
    after: datetime | None = None
    before: datetime | None = None
    ascending: bool = False
    by_created: bool = False

    @classmethod
    def parse(cls, text: str) -> FilterQuery:
        """Read the query language; ValueError names what is not understood."""
        facts: dict[str, Any] = {}
        for part in text.split():
            name, _, value = part.partition(":")
            if name == "status" and value in ("solved", "unsolved"):
                facts["solved"] = value == "solved"
            elif name in ("created-after", "created-before"):
                facts[name.removeprefix("created-")] = _day(value)
            elif name == "order" and value in ("created", "created-asc"):
                facts |= {"by_created": True, "ascending": value == "created-asc"}
            else:
                raise ValueError(part)
        return cls(**facts)

    def select(self, topics: Iterable[WorldThread]) -> list[WorldThread]:
        """Return the topics it selects, newest bump first unless it says otherwise."""
        kept = [topic for topic in topics if self._holds(topic)]
        if not self.by_created:
            return sorted(kept, key=lambda topic: (topic.updated_at, topic.id), reverse=True)
        return sorted(kept, key=lambda topic: (topic.created_at, topic.id), reverse=not self.ascending)

    def _holds(self, topic: WorldThread) -> bool:
        if self.solved not in (None, is_solved(topic)):
            return False
        if self.after and topic.created_at < self.after:
            return False
        return not self.before or topic.created_at <= self.before
