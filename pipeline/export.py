"""Records out of the database, in a stable order: one export, one function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from db.errors import RefusedByProtocol
from db.final_labels import each_final_label, read_acts
from db.label_events import each_event
from db.records import Event, FinalLabel
from db.threads import KeywordMatch, Post, Thread
from pipeline.fields import Field, fields_of
from pipeline.material import read_groups
from pipeline.serial import Record

BATCH = 500  # threads read at a time


def exported_fields(kind: str, *, with_posts: bool = False) -> tuple[Field, ...]:
    """Return the fields of one export; `with_posts` adds the posts of threads."""
    return fields_of(kind) + (fields_of("posts") if with_posts else ())


def export_records(session: Session, kind: str, *, with_posts: bool = False) -> Iterator[Record]:
    """Yield the records of one export, a key of EXPORTS."""
    return thread_records(session, with_posts=True) if with_posts else EXPORTS[kind](session)


def thread_records(session: Session, *, with_posts: bool = False) -> Iterator[Record]:
    """Yield every thread by URL; `with_posts` adds its posts, Stack Overflow comments apart."""
    loaded = [selectinload(Thread.strata), *([selectinload(Thread.posts)] if with_posts else [])]
    query = select(Thread).order_by(Thread.url).options(*loaded)
    for thread in session.scalars(query, execution_options={"yield_per": BATCH}):
        record = _thread_record(thread)
        if with_posts:
            record["posts"] = [_post_record(post) for post in thread.posts if post.role != "comment"]
        yield record


def _thread_record(thread: Thread) -> Record:
    return {
        "source": thread.source,
        "url": thread.url,
        "external_id": thread.external_id,
        "kind": thread.kind,
        "title": thread.title,
        "author": thread.author,
        "created_at": time_text(thread.created_at),
        "closed_at": time_text(thread.closed_at),
        "libraries": sorted(thread.libraries),
        "strata": sorted(member.stratum for member in thread.strata),
        "accepted": thread.accepted,
        "n_posts": thread.n_posts,
        "candidate": thread.candidate,
    }


def _post_record(post: Post) -> Record:
    return {
        "position": post.position,
        "external_id": post.external_id,
        "author": post.author,
        "created_at": time_text(post.created_at),
        "accepted": post.accepted,
        "body": post.body,
        "body_format": post.body_format,
    }


def time_text(time: datetime | None) -> str | None:
    """Return a time as RFC 3339 in UTC, with a Z."""
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def match_records(session: Session) -> Iterator[Record]:
    """Yield every keyword match: by thread, the title first, then by post and offset."""
    columns = (Thread.url, Post.position, Post.external_id, KeywordMatch.field, KeywordMatch.part)
    rest = (
        KeywordMatch.keyword,
        KeywordMatch.text,
        KeywordMatch.start,
        KeywordMatch.end,
        KeywordMatch.extended,
    )
    query = (
        select(*columns, *rest)
        .join(Thread, Thread.id == KeywordMatch.thread_id)
        .outerjoin(Post, Post.id == KeywordMatch.post_id)
        .order_by(Thread.url, Post.position.is_not(None), Post.position, KeywordMatch.start)
    )
    names = [field.name for field in fields_of("matches")]
    for row in session.execute(query, execution_options={"yield_per": BATCH}):
        yield dict(zip(names, row, strict=True))


def label_records(session: Session) -> Iterator[Record]:
    """Yield the final label of every labelled thread of the study, by URL."""
    yield from map(label_record, each_final_label(session))


def label_record(final: FinalLabel) -> Record:
    """Return the record of one final label."""
    label = final.label
    return {
        "url": final.url,
        "strata": sorted(final.strata),
        "valid": label.valid,
        "reason": label.reason,
        "root_cause": label.root_cause,
        "fix_pattern": label.fix_pattern,
        "function": label.function,
        "how": final.how,
    }


def label_notes(session: Session) -> list[str]:
    """Say what the records of final labels do not show: which are simulated, and which are left out."""
    groups, active = read_groups(session)
    simulated, labels = sum(count for key, count in groups.items() if key.simulated), sum(groups.values())
    notes = [f"{simulated} of {labels} labels are by simulated annotators"] if simulated else []
    return notes + ([f"{active} labels of active drawing are left out: they count nowhere"] if active else [])


def annotation_records(session: Session) -> Iterator[Record]:
    """Yield each annotator's own label of each thread of the study, before any check or ruling, by URL.

    Blind labels of a thread that not everybody has labelled yet are left out. Annotators appear as
    `annotator-1`, `annotator-2`, … in the order in which they first labelled.
    """
    history = read_acts(session)
    decisions = [event for event in history.events if event.kind == "decision" and event.label]
    handles = list(dict.fromkeys(str(event.annotator) for event in decisions))
    names = {handle: f"annotator-{number}" for number, handle in enumerate(handles, start=1)}
    waiting = {event.thread_url for event in history.blind_labels()}
    for url in sorted({story.url for story in history.sample} - waiting):
        live = [event for event in history.threads[url].decisions if event.label]
        for event in sorted(
            live, key=lambda event: (event.phase or "", names[str(event.annotator)], event.uid)
        ):
            yield _annotation(event, names[str(event.annotator)])


def _annotation(event: Event, name: str) -> Record:
    columns = ("phase", "reason", "root_cause", "fix_pattern", "function", "simulated")
    own = {column: getattr(event, column) for column in columns}
    return {"url": event.thread_url, "annotator": name, "valid": event.verdict == "valid", **own}


def proposal_records(session: Session) -> Iterator[Record]:
    """Yield the newest proposal for each thread, by URL."""
    from db.proposals import proposal_records as stored

    yield from stored(session)


def event_records(session: Session) -> Iterator[Record]:
    """Yield every event of labeling, by origin and sequence; refused while blind labels are still secret."""
    if secret := read_acts(session).blind_labels():
        raise RefusedByProtocol(
            f"{len(secret)} blind labels wait for the other annotator; events can be exported when all are in"
        )
    names = [field.name for field in fields_of("events")]
    for event in each_event(session):
        yield {name: getattr(event, name) for name in names} | {"at": time_text(event.at)}


EXPORTS: dict[str, Callable[[Session], Iterator[Record]]] = {
    "threads": thread_records,
    "matches": match_records,
    "labels": label_records,
    "annotations": annotation_records,
    "proposals": proposal_records,
    "events": event_records,
}
