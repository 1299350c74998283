"""Discourse objects to threads and list rows: pure, across the revisions a forum may run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.records import PostRecord, ThreadRecord
from pipeline.sources.manners import from_text
from pipeline.study import SourceSettings

SKIPPED_TYPES = frozenset((3, 4))  # small actions ("closed this") and whispers; 1 is regular, 2 a moderator's
Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One topic in a list; `is_solved` is None where the list does not say."""

    id: int
    created_at: datetime | None
    bumped_at: datetime | None
    is_pinned: bool
    is_solved: bool | None


def to_rows(value: Item) -> tuple[list[Row], bool]:
    """Return the rows of one page of a topic list, and whether more follow."""
    topics = value.get("topic_list")
    if not isinstance(topics, dict):
        return [], False
    rows = [_row(topic) for topic in _items(topics, "topics") if isinstance(topic.get("id"), int)]
    return rows, bool(rows and topics.get("more_topics_url"))


def _row(topic: Item) -> Row:
    created = from_text(topic.get("created_at"))
    solved = topic.get("has_accepted_answer")
    return Row(
        id=topic["id"],
        created_at=created,
        bumped_at=from_text(topic.get("bumped_at")) or from_text(topic.get("last_posted_at")) or created,
        is_pinned=bool(topic.get("pinned") or topic.get("pinned_globally")),
        is_solved=solved if isinstance(solved, bool) else None,
    )


def missing_posts(topic: Item) -> list[int]:
    """Return the ids of the posts that stand in a topic's `stream` but not in its first page."""
    stream = topic.get("post_stream")
    ids = stream.get("stream") if isinstance(stream, dict) else None
    asked = [id for id in ids or () if isinstance(id, int)]
    present = {post.get("id") for post in _posts_of(topic)}
    if present.isdisjoint(asked):  # numbered otherwise: the page still shows the first ones
        return asked[len(present) :]
    return [id for id in asked if id not in present]


def to_thread(parts: Sequence[Item], settings: SourceSettings) -> ThreadRecord:
    """Return a topic from its own answer and those with the rest of its posts, in any order."""
    topic = parts[0]
    number = str(topic["id"])
    items = _visible_posts(parts)
    accepted = _accepted_ids(topic, items)
    posts = tuple(_post(item, index == 0, item.get("id") in accepted) for index, item in enumerate(items))
    tags = tuple(_tags(topic))
    libraries = {settings.tags[tag] for tag in tags if tag in settings.tags} | {settings.library}
    created = from_text(topic.get("created_at")) or (posts[0].created_at if posts else None)
    return ThreadRecord(
        source=settings.name,
        external_id=number,
        url=_url(number, topic.get("slug"), settings),
        kind="topic",
        title=str(topic.get("title") or ""),
        posts=posts,
        author=posts[0].author if posts else None,
        created_at=created,
        updated_at=from_text(topic.get("bumped_at")) or from_text(topic.get("last_posted_at")) or created,
        tags=tags,
        libraries=tuple(sorted(library for library in libraries if library)),
        accepted=_says_solved(topic) or any(post.accepted for post in posts),
    )


def lost_thread(number: str, availability: str, settings: SourceSettings) -> ThreadRecord:
    """Return what is left of a topic that is gone, moved or private."""
    url = _url(number, None, settings)
    return ThreadRecord(settings.name, number, url, "topic", "", (), availability=availability)


def _url(number: str, slug: object, settings: SourceSettings) -> str:
    named = slug if isinstance(slug, str) and slug not in ("", "-") else None
    return "/".join(filter(None, (settings.site, "t", named, number)))


def _visible_posts(parts: Sequence[Item]) -> list[Item]:
    """Return the posts that people wrote, each once, by their number."""
    by_id = {post.get("id"): post for part in parts for post in _posts_of(part)}
    kept = [p for p in by_id.values() if p.get("post_type") not in SKIPPED_TYPES and not p.get("deleted_at")]
    return sorted(kept, key=lambda post: (_number(post, "post_number"), _number(post, "id")))


def _accepted_ids(topic: Item, posts: Sequence[Item]) -> set[Any]:
    """Return the ids of the accepted posts, whichever of three generations says so."""
    flagged = {post.get("id") for post in posts if post.get("accepted_answer") is True}
    if flagged:
        return flagged
    listed = {answer.get("id") for answer in _items(topic, "accepted_answers")}
    if listed:
        return listed
    answer = topic.get("accepted_answer")
    number = answer.get("post_number") if isinstance(answer, dict) else None
    return {post.get("id") for post in posts if number is not None and post.get("post_number") == number}


def _says_solved(topic: Item) -> bool:
    """Say whether the topic claims an accepted answer, be it to be had or not."""
    claims = (topic.get("accepted_answer"), topic.get("accepted_answers"), topic.get("has_accepted_answer"))
    return any(bool(claim) for claim in claims)


def _post(item: Item, opens: bool, accepted: bool) -> PostRecord:
    body, body_format = _body(item)
    author = item.get("user_id") if item.get("user_id") is not None else item.get("username")
    return PostRecord(
        role="opening" if opens else "reply",
        external_id=str(item.get("id", "")),
        body=body,
        body_format=body_format,
        author=str(author) if author is not None else None,
        created_at=from_text(item.get("created_at")),
        accepted=accepted,
    )


def _body(item: Item) -> tuple[str, str]:
    """Return the Markdown, or the HTML where it is withheld; a hidden post's HTML is a notice, not a text."""
    if isinstance(item.get("raw"), str):
        return item["raw"], "markdown"
    if item.get("cooked_hidden"):
        return "", "html"
    return str(item.get("cooked") or ""), "html"


def _tags(topic: Item) -> Iterator[str]:
    for tag in topic.get("tags") or ():
        name = tag.get("name") if isinstance(tag, dict) else tag
        if isinstance(name, str):
            yield name


def _posts_of(part: Item) -> list[Item]:
    stream = part.get("post_stream")
    return _items(stream, "posts") if isinstance(stream, dict) else []


def _items(item: Item, name: str) -> list[Item]:
    values = item.get(name)
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _number(item: Item, name: str) -> float:
    value = item.get(name)
    return value if isinstance(value, int | float) else 0
