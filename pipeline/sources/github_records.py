"""What GitHub's answers hold, as records: hits, threads, repositories. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.errors import Malformed
from pipeline.payloads import read_json
from pipeline.records import PostRecord, ThreadRecord
from pipeline.sources.base import Entry, Payload, RepositoryRecord
from pipeline.sources.manners import from_text
from pipeline.study import SourceSettings

FULL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}/[A-Za-z0-9._-]{1,100}")
ITEM = (
    "id node_id number title body user comments created_at updated_at closed_at html_url repository_url"
    " pull_request"
).split()


@dataclass(frozen=True, slots=True)
class Hit:
    """One thread that REST told of: a search's item, or an issue by itself."""

    repository: str
    number: int
    kind: str
    node: str | None
    created_at: datetime | None
    updated_at: datetime | None
    item: dict[str, Any]

    @property
    def external_id(self) -> str:
        """The thread's identity."""
        return f"{self.repository}#{self.number}"

    def entry(self, repository_id: str | None, found_by: str, priority: int, whole: bool) -> Entry:
        """Return the entry that fetches the thread: by node id, or by REST with the `whole` item carried."""
        parameters: dict[str, Any] = {
            "repository": repository_id,
            "name": self.repository,
            "number": self.number,
            "kind": self.kind,
            "found_by": found_by,
        }
        if self.node is None or whole:
            return Entry("issue", self.node or self.external_id, parameters | {"item": self.item}, priority)
        return Entry("thread", self.node, parameters, priority)


def read_hit(item: Mapping[str, Any]) -> Hit | None:
    """Return the thread that a REST item tells of, or None if it names none."""
    number, name = item.get("number"), _name_of(item)
    if not isinstance(number, int) or name is None:
        return None
    is_pull = item.get("pull_request") is not None or "/pull/" in text_of(item.get("html_url"))
    return Hit(
        name,
        number,
        "pull" if is_pull else "issue",
        text_of(item.get("node_id")) or None,
        from_text(item.get("created_at")),
        from_text(item.get("updated_at")),
        {key: item.get(key) for key in ITEM},
    )


def _name_of(item: Mapping[str, Any]) -> str | None:
    for address, depth in ((item.get("repository_url"), 0), (item.get("html_url"), 2)):
        parts = text_of(address).rstrip("/").split("/")
        name = "/".join(parts[-2 - depth : len(parts) - depth])
        if FULL_NAME.fullmatch(name):
            return name
    return None


def read_repository(item: Any, topic: str | None = None, known_id: str = "") -> RepositoryRecord | None:
    """Return the repository that a REST item or a GraphQL node tells of, or None if it is none.

    A repository that was listed under a `topic` has it, even where the item names no topics. GraphQL
    does not tell ids above 2^31, so whoever asks by node id gives the `known_id`.
    """
    if not isinstance(item, dict):
        return None
    key = int(known_id) if known_id.isdigit() else item.get("databaseId") or item.get("id")
    name = text_of(item.get("nameWithOwner") or item.get("full_name"))
    if not isinstance(key, int) or not FULL_NAME.fullmatch(name):
        return None
    topics = {text_of(name) for name in item.get("topics") or _graphql_topics(item)} | {topic or ""}
    node = item.get("node_id") if "node_id" in item else item.get("id")
    facts: dict[str, Any] = {"node": node if isinstance(node, str) else None}
    closed = item.get("closedIssues")
    if isinstance(closed, dict) and isinstance(closed.get("totalCount"), int):
        facts["closed_issues"] = closed["totalCount"]
    return RepositoryRecord(str(key), name, tuple(sorted(topics - {""})), facts)


def _graphql_topics(node: Mapping[str, Any]) -> list[str]:
    topics = node.get("repositoryTopics")
    nodes = topics.get("nodes") if isinstance(topics, dict) else None
    return [
        text_of(item["topic"].get("name"))
        for item in nodes or ()
        if isinstance(item, dict) and item.get("topic")
    ]


def libraries_of(topics: Iterable[str], settings: SourceSettings) -> tuple[str, ...]:
    """Return the study's libraries that a repository with these topics is about."""
    return tuple(sorted({settings.topics[topic] for topic in topics if topic in settings.topics}))


def gone_thread(external_id: str, kind: str, availability: str, settings: SourceSettings) -> ThreadRecord:
    """Return what is left of a thread that can no longer be had: its identity."""
    name, _, number = external_id.partition("#")
    url = thread_url(name, number, kind, settings)
    return ThreadRecord(
        settings.name, external_id, url, kind, "", (), repository=name, availability=availability
    )


def thread_url(name: str, number: int | str, kind: str, settings: SourceSettings) -> str:
    """Return the address of the page that people read."""
    return f"{settings.site}/{name}/{'pull' if kind == 'pull' else 'issues'}/{number}"


def pack(kind: str, request: str, answers: Sequence[bytes], **context: Any) -> Payload:
    """Return answers as they came, in one payload, with what is needed to read them again."""
    head = json.dumps(context)[1:-1]
    return Payload(kind, request, b'{%b, "answers": [%b]}' % (head.encode(), b",".join(answers)))


def read_threads(payload: Payload, settings: SourceSettings) -> tuple[ThreadRecord, ...]:
    """Return the threads of a stored payload; a search's page holds none that is whole."""
    if payload.kind not in ("threads", "thread"):
        return ()
    document = read_json(payload.body)
    try:
        if payload.kind == "thread":
            return (_from_rest(document, settings),)
        nodes = whole_nodes(document["answers"])
        return tuple(from_node(node, settings) for node in nodes.values())
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise Malformed(f"{settings.name}: {payload.request}: an answer without {error}") from None


def whole_nodes(answers: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the threads of GraphQL answers by node id; later answers bring more comments of them."""
    nodes = {node["id"]: node for node in answers[0]["data"]["nodes"] if node and "number" in node}
    for answer in answers[1:]:
        for more in answer["data"].values():
            if more and more.get("comments"):
                nodes[more["id"]]["comments"]["nodes"] += more["comments"]["nodes"]
                nodes[more["id"]]["comments"]["pageInfo"] = more["comments"]["pageInfo"]
    return nodes


def from_node(node: dict[str, Any], settings: SourceSettings) -> ThreadRecord:
    """Return the thread of a GraphQL node."""
    name = node["repository"]["nameWithOwner"]
    kind = "pull" if node["kind"] == "PullRequest" else "issue"
    opening = _post("opening", node["id"], node.get("body"), node.get("author"), node.get("createdAt"))
    replies = [
        _post(
            "reply", str(comment["fullDatabaseId"]), comment["body"], comment["author"], comment["createdAt"]
        )
        for comment in node["comments"]["nodes"]
        if comment
    ]
    times = (node.get("createdAt"), node.get("updatedAt"), node.get("closedAt"))
    topics = _graphql_topics(node["repository"])
    return _thread(
        (name, node["number"], kind), node.get("title"), (opening, *replies), times, topics, settings
    )


def _from_rest(document: dict[str, Any], settings: SourceSettings) -> ThreadRecord:
    item = document["answers"][0]
    hit = read_hit(item)
    if hit is None:
        raise KeyError("repository and number")
    opening_id = hit.node or str(item["id"])
    opening = _post("opening", opening_id, item.get("body"), item.get("user"), item.get("created_at"))
    replies = [
        _post(
            "reply", str(comment["id"]), comment.get("body"), comment.get("user"), comment.get("created_at")
        )
        for page in document["answers"][1:]
        for comment in page
    ]
    times = (item.get("created_at"), item.get("updated_at"), item.get("closed_at"))
    identity = (hit.repository, hit.number, hit.kind)
    return _thread(identity, item.get("title"), (opening, *replies), times, document["topics"], settings)


def _thread(
    identity: tuple[str, int, str],
    title: Any,
    posts: tuple[PostRecord, ...],
    times: tuple[Any, Any, Any],
    topics: Iterable[str],
    settings: SourceSettings,
) -> ThreadRecord:
    name, number, kind = identity
    created_at, updated_at, closed_at = (from_text(time) for time in times)
    return ThreadRecord(
        source=settings.name,
        external_id=f"{name}#{number}",
        url=thread_url(name, number, kind, settings),
        kind=kind,
        title=text_of(title),
        posts=posts,
        author=posts[0].author,
        created_at=created_at,
        updated_at=updated_at,
        closed_at=closed_at,
        repository=name,
        tags=tuple(sorted(topics)),
        libraries=libraries_of(topics, settings),
    )


def _post(role: str, external_id: str, body: Any, author: Any, created_at: Any) -> PostRecord:
    login = author.get("login") if isinstance(author, dict) else None
    return PostRecord(role, external_id, text_of(body), "markdown", login, from_text(created_at))


def text_of(value: Any) -> str:
    """Return a text as it is, and nothing for anything else."""
    return value if isinstance(value, str) else ""
