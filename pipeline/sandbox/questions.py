"""The world's questions as Stack Exchange objects: every field, before a filter cuts them down."""

from __future__ import annotations

import html
import re
import zlib
from functools import lru_cache
from typing import Any

from pipeline.sandbox.world import WorldPost, WorldThread

SITE = "https://stackoverflow.com"


@lru_cache(maxsize=20_000)
def to_html(markdown: str) -> str:
    """Return Markdown rendered the way both services do; HTML in it is shown, not obeyed."""
    from markdown_it import MarkdownIt

    return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown))


def to_slug(title: str) -> str:
    """Return the part of a URL that a title makes."""
    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))[:80].strip("-") or "topic"


def user_id(name: str) -> int:
    """Return the account number of a name: the same in every run."""
    return zlib.crc32(name.encode()) % 9_000_000 + 1000


def words_of(question: WorldThread) -> frozenset[str]:
    """Return the words that a search finds a question by: title, body and tags, lower case."""
    return _words(" ".join((question.title, question.posts[0].body, *question.tags)).lower())


@lru_cache(maxsize=20_000)
def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W_]+", text))


def to_question(question: WorldThread, safe: bool, nested_answers: int | None = None) -> dict[str, Any]:
    """Return a question with its answers (at most `nested_answers`, the accepted one first) and comments."""
    accepted = next((post.id for post in question.posts if post.accepted), None)
    answers = sorted(question.posts[1:], key=lambda post: (not post.accepted, post.created_at, post.id))
    made = {
        **_post(question.posts[0], safe),
        "question_id": question.id,
        "title": html.escape(question.title) if safe else question.title,
        "tags": list(question.tags),
        "link": f"{SITE}/questions/{question.id}/{to_slug(question.title)}",
        "last_activity_date": int(question.updated_at.timestamp()),
        "view_count": question.id % 5000,
        "score": question.id % 7,
        "answer_count": len(answers),
        "is_answered": bool(answers),
        "answers": [to_answer(question, post, safe) for post in answers[:nested_answers]],
    }
    if accepted is not None:
        made["accepted_answer_id"] = accepted
    if question.closed_at is not None:
        made |= {
            "closed_date": int(question.closed_at.timestamp()),
            "closed_reason": "Needs details or clarity",
        }
    return made


def to_answer(question: WorldThread, post: WorldPost, safe: bool) -> dict[str, Any]:
    """Return an answer with its comments."""
    return {
        **_post(post, safe),
        "answer_id": post.id,
        "question_id": question.id,
        "is_accepted": post.accepted,
        "score": 3 if post.accepted else 1,
        "last_activity_date": int(post.created_at.timestamp()),
        "title": html.escape(question.title) if safe else question.title,
        "tags": list(question.tags),
    }


def _post(post: WorldPost, safe: bool) -> dict[str, Any]:
    made = {
        "body": to_html(post.body),
        "body_markdown": html.escape(post.body) if safe else post.body,
        "creation_date": int(post.created_at.timestamp()),
        "content_license": _licence(post),
        "comments": [_comment(comment, post, safe) for comment in post.comments],
        "comment_count": len(post.comments),
    }
    return {**made, **_owner(post)}


def _comment(comment: WorldPost, post: WorldPost, safe: bool) -> dict[str, Any]:
    made = {
        "comment_id": comment.id,
        "post_id": post.id,
        "body": to_html(comment.body).removeprefix("<p>").removesuffix("</p>\n"),
        "body_markdown": html.escape(comment.body) if safe else comment.body,
        "creation_date": int(comment.created_at.timestamp()),
        "content_license": _licence(comment),
        "edited": False,
        "score": 0,
    }
    return {**made, **_owner(comment)}


def _owner(post: WorldPost) -> dict[str, Any]:
    """Return the owner as the API gives it: a deleted one is a stub, or is missing altogether."""
    if post.author is None:
        stub = {"user_type": "does_not_exist", "display_name": f"user{post.id % 100_000}"}
        return {"owner": stub} if post.id % 2 else {}
    number = user_id(post.author)
    return {
        "owner": {
            "account_id": number + 1,
            "user_id": number,
            "user_type": "registered",
            "reputation": number % 4000 + 1,
            "display_name": post.author,
            "profile_image": f"https://www.gravatar.com/avatar/{number:032x}",
            "link": f"{SITE}/users/{number}/{to_slug(post.author)}",
        }
    }


def _licence(post: WorldPost) -> str:
    moment = post.created_at.strftime("%Y-%m-%d")
    if moment < "2011-04-08":
        return "CC BY-SA 2.5"
    return "CC BY-SA 3.0" if moment < "2018-05-02" else "CC BY-SA 4.0"
