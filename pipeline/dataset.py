"""From the database to what the models read: documents with their channels, and their labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from db.final_labels import final_labels
from db.records import FinalLabel
from db.threads import KeywordMatch, Thread
from pipeline.channels import PostText, Segment, segments_of
from pipeline.study import Study

BATCH = 200  # threads read at a time
SHORT, LONG = 2, 10  # replies at most in a short thread, and those that a long one has more than
EARLY = 400  # characters of an opening post in which what it is about is said
FACTS = (
    "keyword in title",
    "keyword early",
    "keywords in prose",
    "keywords in code",
    "keywords in logs",
    "keywords in replies",
    "keywords only in code",
    "replies",
    "no reply",
    "accepted",
)


REFERENCE = select(Thread.id, Thread.url, Thread.content_sha256, Thread.repository).order_by(Thread.id)


@dataclass(frozen=True, slots=True)
class Document:
    """A thread as the models read it; `facts` are numbers from 0 to 1, in the order of FACTS.

    `group` keeps together, in cross-validation, what must not be on both sides: a repository, or
    the thread itself.
    """

    thread_id: int
    url: str
    content_sha256: str
    group: str
    segments: tuple[Segment, ...]
    facts: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A thread before its text is read: enough to find its features in the cache."""

    thread_id: int
    url: str
    content_sha256: str
    group: str


def to_document(thread: Thread, study: Study) -> Document:
    """Return the document of a stored thread whose posts are loaded."""
    posts = [PostText(post.role, post.body, post.body_format, post.accepted) for post in thread.posts]
    replies = sum(post.role == "reply" for post in posts)
    state = "accepted" if thread.accepted else "" if replies else "unanswered"
    told = (thread.source, thread.repository or "", thread.kind, state, _size(replies))
    tags = " ".join((*told, *thread.tags, *thread.libraries))
    segments = segments_of(thread.title, posts, tags, study.keywords)
    facts = _facts(segments, replies, thread.accepted, study)
    return Document(
        thread.id, thread.url, thread.content_sha256, _group(thread.repository, thread.url), segments, facts
    )


def references(session: Session, study: Study) -> list[Reference]:
    """Return all threads to propose for: those with a keyword, if the study has any."""
    query = REFERENCE
    if study.keywords.counted:
        with_keyword = select(KeywordMatch.thread_id).where(KeywordMatch.extended.is_(False))
        query = query.where(Thread.id.in_(with_keyword))
    return _to_references(session.execute(query))


def references_of(session: Session, thread_ids: Sequence[int]) -> list[Reference]:
    """Return the threads named, which are sorted by number."""
    batches = (thread_ids[start : start + BATCH] for start in range(0, len(thread_ids), BATCH))
    return [
        found
        for ids in batches
        for found in _to_references(session.execute(REFERENCE.where(Thread.id.in_(ids))))
    ]


def _to_references(rows: Iterable[Any]) -> list[Reference]:
    return [Reference(id_, url, digest, _group(repository, url)) for id_, url, digest, repository in rows]


def labels_of(session: Session) -> dict[int, FinalLabel]:
    """Return every label to learn from, by thread: final ones, rejections that nobody checks, active ones."""
    return {final.thread_id: final for final in final_labels(session, unchecked=True, active=True)}


def read_documents(session: Session, study: Study, thread_ids: Sequence[int]) -> Iterator[Document]:
    """Yield the documents of the threads named, in that order."""
    for start in range(0, len(thread_ids), BATCH):
        ids = thread_ids[start : start + BATCH]
        query = select(Thread).where(Thread.id.in_(ids)).options(selectinload(Thread.posts))
        found = {thread.id: thread for thread in session.scalars(query)}
        yield from (to_document(found[id_], study) for id_ in ids if id_ in found)
        session.expunge_all()


def _size(replies: int) -> str:
    """Return the word for a thread in whose many replies a cue stands by chance, or whose few say little."""
    return "long" if replies > LONG else "short" if replies <= SHORT else ""


def _group(repository: str | None, url: str) -> str:
    return repository.lower() if repository else url


def _facts(segments: tuple[Segment, ...], replies: int, accepted: bool, study: Study) -> tuple[float, ...]:
    counts = dict.fromkeys(("title", "prose", "code", "log", "replies", "answer"), 0)
    early = False
    for segment in segments:
        if segment.channel in counts:
            starts = [match.start for match in study.keywords.find(segment.text) if not match.extended]
            counts[segment.channel] += len(starts)
            early |= segment.channel == "prose" and bool(starts) and starts[0] < EARLY
    elsewhere = sum(counts.values()) - counts["code"]
    return (
        float(counts["title"] > 0),
        float(early),
        _squashed(counts["prose"]),
        _squashed(counts["code"]),
        _squashed(counts["log"]),
        _squashed(counts["replies"] + counts["answer"]),
        float(counts["code"] > 0 and not elsewhere),
        _squashed(replies),
        float(replies == 0),
        float(accepted),
    )


def _squashed(count: int) -> float:
    """Return a count on a scale from 0 to 1: 1 is a half of the way to 7."""
    return min(1.0, math.log1p(count) / math.log(8))
