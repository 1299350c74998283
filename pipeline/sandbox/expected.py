"""What the sources should make of the world: the record and the right label of each thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from db.records import Label
from pipeline.records import PostRecord, ThreadRecord
from pipeline.sandbox.questions import to_html
from pipeline.sandbox.world import World, WorldPost, WorldThread
from pipeline.study import Study

SOURCES = {"github": "github", "stackexchange": "stackoverflow", "discourse": "pytorch-forums"}


def external_id(thread: WorldThread) -> str:
    """Return the id that a thread's source gives it."""
    return f"{thread.repository}#{thread.number}" if thread.repository else str(thread.id)


def right_labels(world: World) -> Mapping[tuple[str, str], Label]:
    """Return the right label of every candidate, by source and external id."""
    known = ((thread, thread.truth) for thread in world.threads)
    return {(SOURCES[thread.service], external_id(thread)): truth for thread, truth in known if truth}


def to_record(world: World, thread: WorldThread, study: Study) -> ThreadRecord:
    """Return a thread as its source hands it over, but for its URL and times, which are made up."""
    return ThreadRecord(
        source=SOURCES[thread.service],
        external_id=external_id(thread),
        url=f"https://example.org/{thread.service}/{thread.id}",
        kind=thread.kind,
        title=thread.title,
        posts=tuple(_posts(thread)),
        created_at=thread.created_at,
        closed_at=thread.closed_at,
        repository=thread.repository,
        libraries=tuple(sorted(_libraries(world, thread, study))),
        accepted=any(post.accepted for post in thread.posts),
    )


def _libraries(world: World, thread: WorldThread, study: Study) -> set[str]:
    if thread.service == "discourse":
        return {"pytorch"}
    if thread.service == "stackexchange":
        named, known = thread.tags, study.sources["stackoverflow"].tags
    else:
        of = (r for r in world.repositories if r.full_name == thread.repository)
        named, known = next(of).topics, study.sources["github"].topics
    return {known[name] for name in named if name in known}


def _posts(thread: WorldThread) -> Iterator[PostRecord]:
    for index, post in enumerate(thread.posts):
        if not post.small_action:
            yield _post(thread, post, "reply" if index else "opening")
            yield from (_post(thread, comment, "comment") for comment in post.comments)


def _post(thread: WorldThread, post: WorldPost, role: str) -> PostRecord:
    html = thread.service == "stackexchange"
    body = "" if post.hidden else to_html(post.body) if html else post.body
    body_format = "html" if html else "markdown"
    return PostRecord(role, str(post.id), body, body_format, post.author, post.created_at, post.accepted)
