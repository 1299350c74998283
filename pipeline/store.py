"""Threads into the database: the rows, the matches, the verdicts of the criteria, the strata.

What a study makes of a thread is derived here and nowhere else, from the thread alone, so it can be
worked out again from the stored payloads at any time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, exists, insert, select, tuple_, update
from sqlalchemy.orm import Session

from db.crawls import ListedUrl, Memory, Provenance
from db.engine import Database
from db.label_events import LabelEvent
from db.search import index_threads, unindex_threads
from db.summaries import rebuild_summaries
from db.threads import Criterion, KeywordMatch, Post, Thread, ThreadStratum
from pipeline.records import PostRecord, ThreadRecord
from pipeline.study import Study
from pipeline.text import TEXT_VERSION, Text, clean, to_text

Matches = tuple[tuple[int | None, dict[str, Any]], ...]  # (position or None for the title, the match's row)
Fresh = tuple[ThreadRecord, int | None, str]  # a thread to add, its payload, its digest
HASHED = re.compile(r"anon:[0-9a-f]{16}")


@dataclass(slots=True)
class Counts:
    """How many threads an act added, changed and left as they were."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0

    def add(self, other: Counts) -> None:
        """Add another count."""
        self.new += other.new
        self.changed += other.changed
        self.unchanged += other.unchanged


@dataclass(frozen=True, slots=True)
class Derived:
    """What the study makes of one thread; criteria are (name, met, what it rests on)."""

    matches: Matches
    criteria: tuple[tuple[str, bool, str], ...]
    strata: tuple[str, ...]

    @property
    def candidate(self) -> bool:
        """Every criterion is met, and the study has some for this source."""
        return bool(self.criteria) and all(met for _, met, _ in self.criteria)


def upsert_threads(
    session: Session, study: Study, threads: Sequence[tuple[ThreadRecord, int | None]], key: bytes
) -> Counts:
    """Store threads, each with the raw payload it was read from; unchanged ones are left alone.

    A thread given twice counts once, the later one. `key` is the database's `author_key`.
    """
    counts = Counts()
    latest = {(thread.source, thread.external_id): (thread, payload) for thread, payload in threads}
    stored = _stored(session, list(latest))
    fresh: list[Fresh] = []
    seen_again: list[tuple[int, int | None]] = []
    for identity, (thread, payload) in latest.items():
        thread = _cleaned(thread, key)
        digest = _digest(thread, study)
        if identity in stored and stored[identity].content_sha256 == digest:
            counts.unchanged += 1
            seen_again.append((stored[identity].id, payload))
        elif identity in stored:
            counts.changed += 1
            _change(session, study, stored[identity].id, thread, payload, digest)
        else:
            counts.new += 1
            fresh.append((thread, payload, digest))
    _add(session, study, fresh)
    _remember_provenance(session, seen_again)
    return counts


def recompute(database: Database, study: Study) -> Counts:
    """Work out anew what the study makes of every stored thread; texts stay as they are."""
    total = Counts()
    with database.reading() as session:
        ids = list(
            session.scalars(select(Thread.id).where(Thread.availability == "present").order_by(Thread.id))
        )
    for start in range(0, len(ids), 500):
        with database.writing() as session:
            rows = session.scalars(select(Thread).where(Thread.id.in_(ids[start : start + 500])))
            threads = [(to_record(row), row.raw_payload_id) for row in rows]
            total.add(upsert_threads(session, study, threads, author_key(session)))
    with database.writing() as session:
        rebuild_summaries(session)
    return total


def to_record(row: Thread) -> ThreadRecord:
    """Return a stored thread, with its posts, as the value it was stored from; authors stay hashed."""
    values = {name: getattr(row, name) for name in ThreadRecord.__slots__ if name != "posts"}
    posts = tuple(
        PostRecord(**{name: getattr(post, name) for name in PostRecord.__slots__}) for post in row.posts
    )
    return ThreadRecord(
        **values | {"tags": tuple(row.tags), "libraries": tuple(row.libraries), "posts": posts}
    )


def rename_repository(session: Session, source: str, old: str, new: str) -> None:
    """Give the threads of a renamed repository its new name; those that are stored under it already stay.

    A thread that has labels keeps the address that they name, which the service forwards.
    """
    taken = set(
        session.scalars(select(Thread.external_id).where(Thread.source == source, Thread.repository == new))
    )
    for thread in session.scalars(select(Thread).where(Thread.source == source, Thread.repository == old)):
        external_id = f"{new}#{thread.external_id.rpartition('#')[2]}"
        if external_id not in taken:
            thread.external_id, thread.repository = external_id, new
            thread.url = _address(session, thread.id, thread.url.replace(f"/{old}/", f"/{new}/", 1))
    session.flush()


def _address(session: Session, id_: int, url: str) -> str:
    """Return the URL of a stored thread from now on: the one that labels name, or else the one given."""
    named = exists().where(LabelEvent.thread_url == Thread.url)
    return session.scalar(select(Thread.url).where(Thread.id == id_, named)) or _free_url(session, url, id_)


def _free_url(session: Session, url: str, id_: int | None = None) -> str:
    """Return the URL, marked where another thread has it: one with labels, from before it was renamed."""
    others = Thread.id.is_distinct_from(id_)
    while session.scalar(select(Thread.id).where(Thread.url == url, others)) is not None:
        url += "#"
    return url


def author_key(session: Session) -> bytes:
    """Return the secret key of this database's author hashes, made on first use, never exported."""
    row = session.get(Memory, ("nanmine", "author_key"))
    if row is None:
        row = Memory(owner="nanmine", name="author_key", value={"key": secrets.token_hex(32)})
        session.add(row)
        session.flush()
    return bytes.fromhex(row.value["key"])


def hashed(author: str | None, source: str, key: bytes) -> str | None:
    """Return the keyed hash that stands for an author; one that is hashed already stays."""
    if author is None or HASHED.fullmatch(author):
        return author
    digest = hmac.new(key, f"{source}\0{author}".encode(errors="replace"), hashlib.sha256)
    return f"anon:{digest.hexdigest()[:16]}"


def derive(study: Study, thread: ThreadRecord) -> Derived:
    """Return what the study makes of a thread: matches, verdicts, strata."""
    matches = tuple(_matches(study, thread))
    strata = study.strata_of(thread.source, thread.libraries)
    verdicts = {
        "closed": (
            thread.closed_at is not None,
            f"closed {thread.closed_at}" if thread.closed_at else "open",
        ),
        "replied": (thread.n_posts > 1, f"{max(thread.n_posts - 1, 0)} replies"),
        "accepted": (thread.accepted, "accepted answer" if thread.accepted else "no accepted answer"),
        "library": (bool(strata), ", ".join(thread.libraries) or "no library of the study"),
        "keyword": _keyword_verdict(study, thread, matches),
    }
    criteria = tuple((name, *verdicts[name]) for name in study.criteria_of(thread))
    return Derived(matches, criteria, strata)


def _stored(session: Session, identities: list[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    rows = session.execute(
        select(Thread.id, Thread.source, Thread.external_id, Thread.content_sha256).where(
            tuple_(Thread.source, Thread.external_id).in_(identities)
        )
    )
    return {(row.source, row.external_id): row for row in rows}


def _cleaned(thread: ThreadRecord, key: bytes) -> ThreadRecord:
    """Return the thread with storable texts and hashed authors."""
    values = {name: getattr(thread, name) for name in ThreadRecord.__slots__}
    values["title"] = clean(thread.title)
    values["author"] = hashed(thread.author, thread.source, key)
    values["posts"] = tuple(
        PostRecord(
            post.role,
            post.external_id,
            clean(post.body),
            post.body_format,
            hashed(post.author, thread.source, key),
            post.created_at,
            post.accepted,
        )
        for post in thread.posts
    )
    return ThreadRecord(**values)


def _digest(thread: ThreadRecord, study: Study) -> str:
    content = json.dumps([thread, TEXT_VERSION, study.rules_digest], default=_plain, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Return what JSON can hold of a record or a time."""
    if isinstance(value, ThreadRecord | PostRecord):
        return [getattr(value, name) for name in value.__slots__]
    return value.isoformat()


def _add(session: Session, study: Study, fresh: list[Fresh]) -> None:
    if not fresh:
        return
    derived = [derive(study, thread) for thread, _, _ in fresh]
    rows = [
        _thread_row(thread, payload) | {"content_sha256": digest, "candidate": found.candidate}
        for (thread, payload, digest), found in zip(fresh, derived, strict=True)
    ]
    urls = [thread.url for thread, _, _ in fresh]
    taken = set(session.scalars(select(Thread.url).where(Thread.url.in_(urls))))
    for row in rows:
        while row["url"] in taken:
            row["url"] = _free_url(session, f"{row['url']}#")
        taken.add(row["url"])
    session.execute(insert(Thread), rows)
    stored = _stored(session, [(thread.source, thread.external_id) for thread, _, _ in fresh])
    ids = [stored[thread.source, thread.external_id].id for thread, _, _ in fresh]
    parts = [(id_, thread, found) for id_, (thread, _, _), found in zip(ids, fresh, derived, strict=True)]
    _add_parts(session, parts)
    index_threads(session, ids)
    _remember_provenance(session, [(id_, payload) for id_, (_, payload, _) in zip(ids, fresh, strict=True)])


def _change(
    session: Session, study: Study, id_: int, thread: ThreadRecord, payload: int | None, digest: str
) -> None:
    """Replace what is stored of a thread; one that is gone keeps its verdicts and loses its text."""
    row = _thread_row(thread, payload) | {"content_sha256": digest}
    unindex_threads(session, [id_])
    session.execute(delete(KeywordMatch).where(KeywordMatch.thread_id == id_))
    session.execute(delete(Post).where(Post.thread_id == id_))
    if thread.availability == "present":
        found = derive(study, thread)
        session.execute(delete(Criterion).where(Criterion.thread_id == id_))
        session.execute(delete(ThreadStratum).where(ThreadStratum.thread_id == id_))
        row |= {"candidate": found.candidate, "url": _address(session, id_, thread.url)}
        _add_parts(session, [(id_, thread, found)])
        add_listed_strata(session, id_)
    else:
        kept = ("title", "author", "content_sha256", "availability", "updated_at")
        row = {name: row[name] for name in kept} | {"title": "", "author": None}
    session.execute(update(Thread).where(Thread.id == id_).values(row))
    index_threads(session, [id_])
    _remember_provenance(session, [(id_, payload)])


def _thread_row(thread: ThreadRecord, payload: int | None) -> dict[str, Any]:
    row = {name: getattr(thread, name) for name in ThreadRecord.__slots__ if name != "posts"}
    lists = {"tags": list(thread.tags), "libraries": sorted(thread.libraries)}
    return row | lists | {"n_posts": thread.n_posts, "raw_payload_id": payload}


def _add_parts(session: Session, parts: list[tuple[int, ThreadRecord, Derived]]) -> None:
    """Insert posts, matches, criteria and strata of threads that have none."""
    posts = [row for id_, thread, _ in parts for row in _post_rows(id_, thread)]
    if posts:
        session.execute(insert(Post), posts)
    matched = [id_ for id_, _, found in parts if found.matches]
    places = select(Post.thread_id, Post.position, Post.id).where(Post.thread_id.in_(matched))
    post_ids = {(row.thread_id, row.position): row.id for row in session.execute(places)}
    matches = [
        match | {"thread_id": id_, "post_id": None if position is None else post_ids[id_, position]}
        for id_, _, found in parts
        for position, match in found.matches
    ]
    criteria = [
        {"thread_id": id_, "name": name, "met": met, "evidence": evidence}
        for id_, _, found in parts
        for name, met, evidence in found.criteria
    ]
    strata = [{"thread_id": id_, "stratum": code} for id_, _, found in parts for code in found.strata]
    for table, rows in ((KeywordMatch, matches), (Criterion, criteria), (ThreadStratum, strata)):
        if rows:
            session.execute(insert(table), rows)


def _post_rows(id_: int, thread: ThreadRecord) -> Iterator[dict[str, Any]]:
    for position, post in enumerate(thread.posts):
        yield {"thread_id": id_, "position": position} | {
            name: getattr(post, name) for name in PostRecord.__slots__
        }


def add_listed_strata(session: Session, thread_id: int | None = None) -> None:
    """Give threads (or one) the strata of the lists that named them, where they lack them."""
    named = select(ListedUrl.thread_id, ListedUrl.stratum).where(
        ListedUrl.thread_id.is_not(None), ListedUrl.stratum.is_not(None)
    )
    if thread_id is not None:
        named = named.where(ListedUrl.thread_id == thread_id)
    for row in session.execute(named.distinct()):
        session.merge(ThreadStratum(thread_id=row.thread_id, stratum=row.stratum))


def _remember_provenance(session: Session, found: Iterable[tuple[int, int | None]]) -> None:
    pairs = {(thread_id, payload) for thread_id, payload in found if payload is not None}
    if not pairs:
        return
    known = session.execute(
        select(Provenance.thread_id, Provenance.raw_payload_id).where(
            tuple_(Provenance.thread_id, Provenance.raw_payload_id).in_(pairs)
        )
    )
    missing = pairs - {(row.thread_id, row.raw_payload_id) for row in known}
    if missing:
        rows = [{"thread_id": thread_id, "raw_payload_id": payload} for thread_id, payload in sorted(missing)]
        session.execute(insert(Provenance), rows)


def _matches(study: Study, thread: ThreadRecord) -> Iterator[tuple[int | None, dict[str, Any]]]:
    for row in _matches_in(study, Text(thread.title), "title"):
        yield None, row
    for position, post in enumerate(thread.posts):
        if post.body_format != "html" and not study.keywords.occurs_in(post.body):
            continue  # the plain text is the body itself, so no conversion can bring a match
        for row in _matches_in(study, to_text(post.body, post.body_format), "body"):
            yield position, row


def _matches_in(study: Study, text: Text, field: str) -> Iterator[dict[str, Any]]:
    for match in study.keywords.find(text.plain):
        part = text.part_at(match.start)
        yield {"field": field, "part": part} | {name: getattr(match, name) for name in match.__slots__}


def _keyword_verdict(study: Study, thread: ThreadRecord, matches: Matches) -> tuple[bool, str]:
    """Return whether a counted keyword stands in the title or a post (no comment), and where."""
    if not study.keywords.counted:
        return True, "the study has no keywords"
    positions = {
        -1 if position is None else position
        for position, match in matches
        if not match["extended"] and (position is None or thread.posts[position].role != "comment")
    }
    where = ["title" if position < 0 else f"post {position}" for position in sorted(positions)[:5]]
    return bool(positions), ", ".join(where) or "no counted keyword"
