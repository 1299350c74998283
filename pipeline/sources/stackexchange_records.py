"""Stack Exchange objects to threads: pure, and tolerant of what a filter or a deleted account leaves out."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.links import read_source_link
from pipeline.records import PostRecord, ThreadRecord
from pipeline.sources.manners import from_seconds
from pipeline.study import SourceSettings

PLANTED = frozenset((1_000_000_001, 1_000_000_010))  # bogus posts in the data dumps, there to be noticed
Item = dict[str, Any]


def is_question(item: Item) -> bool:
    """Say whether an item is a question with an id, and none of the planted ones."""
    return isinstance(item.get("question_id"), int) and item["question_id"] not in PLANTED


def is_complete(question: Item) -> bool:
    """Say whether all answers are nested in a question, the accepted one among them."""
    answers = {answer.get("answer_id") for answer in _items(question, "answers")}
    accepted = question.get("accepted_answer_id")
    return len(answers) >= (question.get("answer_count") or 0) and (accepted is None or accepted in answers)


def to_thread(question: Item, settings: SourceSettings) -> ThreadRecord:
    """Return a question with its answers and comments."""
    number = str(question["question_id"])
    accepted = question.get("accepted_answer_id")
    tags = tuple(tag for tag in question.get("tags") or () if isinstance(tag, str))
    return ThreadRecord(
        source=settings.name,
        external_id=number,
        url=_url(question, number, settings),
        kind="question",
        title=html.unescape(str(question.get("title") or "")),
        posts=tuple(_posts(question, accepted)),
        author=_author(question),
        created_at=from_seconds(question.get("creation_date")),
        updated_at=from_seconds(question.get("last_activity_date")),
        closed_at=from_seconds(question.get("closed_date")),
        tags=tags,
        libraries=tuple(sorted({settings.tags[tag] for tag in tags if tag in settings.tags})),
        accepted=accepted is not None,
    )


def gone_thread(number: str, settings: SourceSettings) -> ThreadRecord:
    """Return what is left of a question that the site no longer has."""
    url = f"{settings.site}/questions/{number}"
    return ThreadRecord(settings.name, number, url, "question", "", (), availability="gone")


def _url(question: Item, number: str, settings: SourceSettings) -> str:
    """Return the link that the site itself gives, if it is one to this question."""
    link = read_source_link(str(question.get("link") or ""), settings)
    return link.url if link and link.external_id == number else f"{settings.site}/questions/{number}"


def _posts(question: Item, accepted: int | None) -> Iterator[PostRecord]:
    yield _post(question, "opening", "question_id")
    yield from _comments(question)
    for answer in sorted(_items(question, "answers"), key=lambda item: _age(item, "answer_id")):
        is_accepted = bool(answer.get("is_accepted")) or (
            accepted is not None and answer.get("answer_id") == accepted
        )
        yield _post(answer, "reply", "answer_id", is_accepted)
        yield from _comments(answer)


def _comments(post: Item) -> Iterator[PostRecord]:
    for comment in sorted(_items(post, "comments"), key=lambda item: _age(item, "comment_id")):
        yield _post(comment, "comment", "comment_id")


def _post(item: Item, role: str, id_name: str, accepted: bool = False) -> PostRecord:
    body, body_format = _body(item)
    return PostRecord(
        role=role,
        external_id=str(item.get(id_name, "")),
        body=body,
        body_format=body_format,
        author=_author(item),
        created_at=from_seconds(item.get("creation_date")),
        accepted=accepted,
    )


def _body(item: Item) -> tuple[str, str]:
    """Return the HTML, or else the Markdown, whose entities a safe filter encodes once."""
    if isinstance(item.get("body"), str):
        return item["body"], "html"
    return html.unescape(str(item.get("body_markdown") or "")), "markdown"


def _author(item: Item) -> str | None:
    """Return the account's id; a deleted account has none, or there is no owner at all."""
    owner = item.get("owner")
    number = owner.get("user_id") if isinstance(owner, Mapping) else None
    return str(number) if number is not None else None


def _age(item: Item, id_name: str) -> tuple[float, float]:
    created, number = item.get("creation_date"), item.get(id_name)
    return (
        created if isinstance(created, int | float) else 0,
        number if isinstance(number, int | float) else 0,
    )


def _items(item: Item, name: str) -> list[Item]:
    return [inner for inner in item.get(name) or () if isinstance(inner, dict)]
