"""The world's topics as Discourse objects: list rows, topics and posts."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pipeline.sandbox.questions import to_html, to_slug, user_id
from pipeline.sandbox.world import WorldPost, WorldThread

CHUNK = 20  # posts of one page of a topic
REGULAR, SMALL_ACTION = 1, 3
HIDDEN = "<p>This post was flagged by the community and is temporarily hidden.</p>"

Numbered = tuple[int, WorldPost]


def numbered(topic: WorldThread) -> list[Numbered]:
    """Return every post with its number, from 1."""
    return list(enumerate(topic.posts, 1))


def is_solved(topic: WorldThread) -> bool:
    """Say whether one of the posts is the accepted answer."""
    return any(post.accepted for post in topic.posts)


def to_users(topics: Iterable[WorldThread]) -> list[dict[str, Any]]:
    """Return the `users` beside a list: everybody who posted."""
    names = sorted({post.author for topic in topics for post in topic.posts if post.author})
    return [{"id": user_id(name), "username": name, "name": name, "avatar_template": ""} for name in names]


def to_list_row(topic: WorldThread, pinned: bool) -> dict[str, Any]:
    """Return the row of a topic in a list."""
    replies = _regular(topic)[1:]
    return {
        "id": topic.id,
        "title": topic.title,
        "fancy_title": html.escape(topic.title),
        "slug": to_slug(topic.title),
        "posts_count": 1 + len(replies),
        "reply_count": len(replies),
        "highest_post_number": len(topic.posts),
        "image_url": None,
        "created_at": _time(topic.created_at),
        "last_posted_at": _time(replies[-1].created_at) if replies else None,
        "bumped": True,
        "bumped_at": _time(topic.updated_at),
        "archetype": "regular",
        "unseen": False,
        "pinned": pinned,
        "pinned_globally": pinned,
        "visible": True,
        "closed": topic.closed_at is not None,
        "archived": False,
        "tags": list(topic.tags),
        "views": topic.id % 5000,
        "like_count": len(replies),
        "category_id": 1,
        "has_accepted_answer": is_solved(topic),
        "posters": _posters(topic),
    }


def to_topic(topic: WorldThread, page: int, raw: bool, accepted: str) -> dict[str, Any]:
    """Return page `page` (from 1) of a topic; `accepted` is the shape of its accepted answer."""
    posts = numbered(topic)
    shown = posts[(page - 1) * CHUNK : page * CHUNK]
    made = {
        "id": topic.id,
        "title": topic.title,
        "fancy_title": html.escape(topic.title),
        "slug": to_slug(topic.title),
        "posts_count": len(_regular(topic)),
        "reply_count": len(_regular(topic)) - 1,
        "highest_post_number": len(posts),
        "created_at": _time(topic.created_at),
        "last_posted_at": _time(topic.posts[-1].created_at) if len(posts) > 1 else None,
        "views": topic.id % 5000,
        "like_count": 0,
        "visible": True,
        "closed": topic.closed_at is not None,
        "archived": False,
        "archetype": "regular",
        "category_id": 1,
        "tags": list(topic.tags),
        "user_id": user_id(topic.posts[0].author) if topic.posts[0].author else None,
        "deleted_at": None,
        "slow_mode_seconds": 0,
        "chunk_size": CHUNK,
        "post_stream": {"posts": to_posts(topic, shown, raw), "stream": [post.id for _, post in posts]},
        "details": {"can_edit": False, "participants": _participants(topic)},
        **_accepted(topic, accepted),
    }
    if page * CHUNK >= len(posts):
        made["suggested_topics"] = []
    return made


def to_posts(topic: WorldThread, posts: Sequence[Numbered], raw: bool) -> list[dict[str, Any]]:
    """Return numbered posts of a topic, with their Markdown where `raw` asks for it."""
    return [_post(topic, number, post, raw) for number, post in posts]


def _post(topic: WorldThread, number: int, post: WorldPost, raw: bool) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": post.id,
        "name": post.author or "",
        "username": post.author,
        "user_id": user_id(post.author) if post.author else None,
        "avatar_template": "",
        "created_at": _time(post.created_at),
        "updated_at": _time(post.created_at),
        "cooked": _cooked(post),
        "post_number": number,
        "post_type": SMALL_ACTION if post.small_action else REGULAR,
        "reply_count": 0,
        "reply_to_post_number": number - 1 if number > 2 else None,
        "quote_count": 0,
        "reads": 1,
        "score": 0.2,
        "topic_id": topic.id,
        "topic_slug": to_slug(topic.title),
        "version": 1,
        "hidden": post.hidden,
        "trust_level": 1,
        "deleted_at": None,
        "user_deleted": post.author is None,
        "accepted_answer": post.accepted,
    }
    if post.small_action:
        made["action_code"] = "closed.enabled"
    if post.hidden:
        made["cooked_hidden"] = True
    elif raw:
        made["raw"] = post.body
    return made


def _cooked(post: WorldPost) -> str:
    if post.small_action:
        return ""
    return HIDDEN if post.hidden else to_html(post.body)


def _accepted(topic: WorldThread, shape: str) -> dict[str, Any]:
    found = [(number, post) for number, post in numbered(topic) if post.accepted]
    if not found or shape == "post":
        return {}
    if shape == "list":
        return {"accepted_answers": to_posts(topic, found, False)}
    number, post = found[0]
    return {"accepted_answer": {"post_number": number, "username": post.author, "excerpt": post.body[:100]}}


def _posters(topic: WorldThread) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(post.author for post in topic.posts if post.author))[:5]
    return [{"user_id": user_id(name), "description": "Poster", "extras": None} for name in names]


def _participants(topic: WorldThread) -> list[dict[str, Any]]:
    names = sorted({post.author for post in topic.posts if post.author})
    return [{"id": user_id(name), "username": name} for name in names]


def _regular(topic: WorldThread) -> list[WorldPost]:
    return [post for post in topic.posts if not post.small_action]


def _time(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z"
