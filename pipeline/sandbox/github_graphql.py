"""GitHub's GraphQL API over the sandbox's store: our queries run against its real types."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    build_schema,
    execute_sync,
    parse,
    validate,
)

from pipeline.sandbox.github_cost import cost_of, refusal
from pipeline.sandbox.github_language import BadQuery
from pipeline.sandbox.github_language import parse as parse_search
from pipeline.sandbox.github_render import SITE, moment, thread_url
from pipeline.sandbox.github_search import (
    DEEPEST,
    NoScope,
    find_repositories,
    find_threads,
    sort_repositories,
    sort_threads,
)
from pipeline.sandbox.github_store import PROTECTED, GitHubStore, node_id, thread_node_id
from pipeline.sandbox.limits import Quota
from pipeline.sandbox.world import WorldPost, WorldRepository, WorldThread

Result = dict[str, Any]


@dataclass
class GraphQLRun:
    """One query to answer. `spend` takes points and returns the window, or None if they are not left.

    `node_budget` is how many possible nodes a query may ask for before only half of each list comes
    back, with RESOURCE_LIMITS_EXCEEDED; None is no such limit.
    """

    store: GitHubStore
    strict: bool
    node_budget: int | None
    spend: Callable[[int], Quota | None]

    def answer(self, text: str, variables: dict[str, Any]) -> Result:
        """Return the body of the answer, always for a 200."""
        try:
            document = _document(text)
            self.cost = cost_of(document, variables)
        except GraphQLError as error:
            self.spend(1)
            return {"errors": [_written(error)]}
        quota = self.spend(self.cost.points)
        if quota is None:
            return {"errors": [_LIMITED]}
        self.quota = quota
        root = {
            "rateLimit": self._rate_limit,
            "node": self._node,
            "nodes": self._nodes,
            "search": self._search,
        }
        outcome = execute_sync(_schema(), document, root_value=root, variable_values=variables)
        errors = {"errors": [_written(error) for error in outcome.errors]} if outcome.errors else {}
        return {"data": outcome.data, **errors}

    def _rate_limit(self, info: object) -> Result:
        return {
            "cost": self.cost.points,
            "limit": self.quota.limit,
            "nodeCount": self.cost.nodes,
            "remaining": self.quota.remaining,
            "resetAt": moment(self.quota.reset_at),
            "used": self.quota.used,
        }

    def _node(self, info: object, id: str) -> Result | GraphQLError:
        found = self.store.nodes.get(id)
        if found is None or self._repository(found).id in self.store.hidden:
            return refusal("NOT_FOUND", f"Could not resolve to a node with the global id of '{id}'.")
        if self._repository(found).id in self.store.protected:
            return refusal("FORBIDDEN", PROTECTED)
        return self._item(found)

    def _nodes(self, info: object, ids: list[str]) -> Sequence[Result | GraphQLError]:
        return self._bounded([self._node(info, id) for id in ids])

    def _search(
        self, info: object, query: str, type: str, first: int = 0, after: str | None = None
    ) -> Result:
        start = _position(after)
        try:
            found = self._found(query, type)
        except NoScope:
            found = []
        except BadQuery as bad:
            raise GraphQLError(str(bad)) from None
        end = min(start + first, DEEPEST, len(found))
        return {
            "issueCount": 0 if type == "REPOSITORY" else len(found),
            "repositoryCount": len(found) if type == "REPOSITORY" else 0,
            "nodes": self._bounded([self._item(item) for item in found[start:end]]),
            "pageInfo": _page_info(start, end, min(len(found), DEEPEST)),
        }

    def _found(self, text: str, kind: str) -> Sequence[WorldThread | WorldRepository]:
        query = parse_search(text, advanced=kind == "ISSUE_ADVANCED")
        sort, _, direction = (query.sort or "").partition("-")
        descending = direction != "asc"
        if kind == "REPOSITORY":
            return sort_repositories(find_repositories(self.store, query, self.strict), sort, descending, 0)
        return sort_threads(find_threads(self.store, query, self.strict), sort, descending, 0)

    def _bounded(self, items: list[Result | GraphQLError]) -> list[Result | GraphQLError]:
        """Return the items, the second half lost where the query is too heavy for its own good."""
        if self.node_budget is None or self.cost.nodes <= self.node_budget or len(items) < 2:
            return items
        lost = refusal("RESOURCE_LIMITS_EXCEEDED", "Resource limits for this query exceeded.")
        return [item if index < len(items) // 2 else lost for index, item in enumerate(items)]

    def _repository(self, item: WorldThread | WorldRepository) -> WorldRepository:
        return item if isinstance(item, WorldRepository) else self.store.repository_of(item)

    def _item(self, item: WorldThread | WorldRepository) -> Result:
        return (
            self._repository_fields(item) if isinstance(item, WorldRepository) else self._thread_fields(item)
        )

    def _repository_fields(self, stored: WorldRepository) -> Result:
        topics = [
            {"id": node_id("T", stored.id), "topic": {"id": node_id("TO", stored.id), "name": name}}
            for name in stored.topics
        ]
        return {
            "__typename": "Repository",
            "id": node_id("R", stored.id),
            "databaseId": stored.id if stored.id < 2**31 else None,
            "nameWithOwner": stored.full_name,
            "url": f"{SITE}/{stored.full_name}",
            "createdAt": moment(stored.created_at),
            "pushedAt": moment(stored.created_at),
            "isArchived": stored.archived,
            "isFork": stored.fork,
            "hasIssuesEnabled": True,
            "stargazerCount": stored.stars,
            "repositoryTopics": _connection(topics),
            "issues": lambda info, states=None, first=0, after=None: self._issue_count(stored, states),
        }

    def _issue_count(self, stored: WorldRepository, states: list[str] | None) -> Result:
        threads = [self.store.threads[key] for key in self.store.threads_of[stored.id]]
        issues = [thread for thread in threads if thread.kind == "issue"]
        wanted = [thread for thread in issues if states is None or _state(thread) in states]
        return {"totalCount": len(wanted)}

    def _thread_fields(self, stored: WorldThread) -> Result:
        comments = [_comment(post, thread_url(stored)) for post in stored.posts[1:]]
        return {
            "__typename": "PullRequest" if stored.kind == "pull" else "Issue",
            "id": thread_node_id(stored),
            "fullDatabaseId": str(stored.id),
            "number": stored.number,
            "url": thread_url(stored),
            "title": stored.title,
            "body": stored.posts[0].body,
            "author": _author(stored.posts[0]),
            "createdAt": moment(stored.created_at),
            "updatedAt": moment(stored.updated_at),
            "closedAt": moment(stored.closed_at),
            "mergedAt": moment(stored.merged_at),
            "merged": stored.merged_at is not None,
            "state": _state(stored),
            "stateReason": lambda info, enableDuplicate=False: "COMPLETED" if stored.closed_at else None,  # noqa: N803
            "labels": _connection([]),
            "comments": _connection(comments),
            "repository": lambda info: self._repository_fields(self.store.repository_of(stored)),
        }


_LIMITED = {
    "type": "RATE_LIMIT",
    "code": "graphql_rate_limit",
    "message": "API rate limit already exceeded for user ID 1.",
}


@cache
def _schema() -> GraphQLSchema:
    return build_schema((files("pipeline.sandbox") / "github.graphql").read_text(encoding="utf-8"))


@lru_cache(maxsize=64)
def _document(text: str) -> DocumentNode:
    document = parse(text)
    errors = validate(_schema(), document)
    if errors:
        raise errors[0]
    return document


def _written(error: GraphQLError) -> Result:
    written = {key: value for key, value in error.formatted.items() if key != "extensions"}
    kind = (error.extensions or {}).get("type")
    return {"type": kind, **written} if kind else written


def _connection(items: list[Result]) -> Callable[..., Result]:
    def page(info: object, first: int = 0, after: str | None = None) -> Result:
        start = _position(after)
        end = min(start + first, len(items))
        return {
            "totalCount": len(items),
            "nodes": items[start:end],
            "pageInfo": _page_info(start, end, len(items)),
        }

    return page


def _page_info(start: int, end: int, total: int) -> Result:
    return {"hasNextPage": end < total, "endCursor": _cursor(end) if end > start else None}


def _cursor(position: int) -> str:
    return base64.b64encode(f"cursor:v2:{position}".encode()).decode()


def _position(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        return int(base64.b64decode(cursor, validate=True).decode().removeprefix("cursor:v2:"))
    except ValueError:
        message = f"`{cursor}` does not appear to be a valid cursor."
        raise refusal("INVALID_CURSOR_ARGUMENTS", message) from None


def _state(thread: WorldThread) -> str:
    if thread.merged_at is not None:
        return "MERGED"
    return "CLOSED" if thread.closed_at else "OPEN"


def _author(post: WorldPost) -> Result | None:
    return None if post.author is None else {"__typename": "User", "login": post.author}


def _comment(post: WorldPost, url: str) -> Result:
    return {
        "id": node_id("IC", post.id),
        "fullDatabaseId": str(post.id),
        "url": f"{url}#issuecomment-{post.id}",
        "body": post.body,
        "author": _author(post),
        "createdAt": moment(post.created_at),
        "updatedAt": moment(post.created_at),
        "isMinimized": False,
        "minimizedReason": None,
    }
