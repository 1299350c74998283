"""Which threads and repositories a query finds, and in what order."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from pipeline.sandbox.github_language import SCOPES, AllOf, AnyOf, Node, Not, Qualifier, Query, Words
from pipeline.sandbox.github_ranges import range_of, second
from pipeline.sandbox.github_store import GitHubStore, tokens
from pipeline.sandbox.world import WorldRepository, WorldThread

DEEPEST = 1000  # hits of one query that can be reached

_STATES: dict[str, Callable[[WorldThread], bool]] = {
    "open": lambda thread: thread.closed_at is None,
    "closed": lambda thread: thread.closed_at is not None,
    "merged": lambda thread: thread.merged_at is not None,
    "unmerged": lambda thread: thread.kind == "pull" and thread.merged_at is None,
    "public": lambda thread: True,
}
_THREAD_VALUES: dict[str, Callable[[WorldThread], float | None]] = {
    "created": lambda thread: second(thread.created_at),
    "updated": lambda thread: second(thread.updated_at),
    "closed": lambda thread: second(thread.closed_at) if thread.closed_at else None,
    "merged": lambda thread: second(thread.merged_at) if thread.merged_at else None,
    "comments": lambda thread: float(len(thread.posts) - 1),
}
_REPOSITORY_VALUES: dict[str, Callable[[WorldRepository], float | None]] = {
    "created": lambda repository: second(repository.created_at),
    "pushed": lambda repository: second(repository.created_at),
    "stars": lambda repository: float(repository.stars),
}
_REPOSITORY_FLAGS: dict[str, dict[str, Callable[[WorldRepository], bool]]] = {
    "fork": {"true": lambda r: True, "only": lambda r: r.fork, "false": lambda r: not r.fork},
    "archived": {"true": lambda r: r.archived, "false": lambda r: not r.archived},
    "is": {"public": lambda r: True},
}
_THREAD_SORTS: dict[str, Callable[[WorldThread], float]] = {
    "created": lambda thread: second(thread.created_at),
    "updated": lambda thread: second(thread.updated_at),
    "comments": lambda thread: len(thread.posts) - 1,
}
_REPOSITORY_SORTS: dict[str, Callable[[WorldRepository], float]] = {
    "stars": lambda repository: repository.stars,
    "updated": lambda repository: second(repository.created_at),
}


class Unmodelled(Exception):
    """A qualifier or a parameter that the sandbox does not know; in strict mode an error."""


class NoScope(Exception):
    """None of the repositories or owners that a query names can be searched."""


def find_threads(store: GitHubStore, query: Query, strict: bool) -> list[WorldThread]:
    """Return the threads that a query finds, in no order. Raises NoScope, Unmodelled, BadQuery."""
    within = {key for key in store.visible_threads() if query.kind in (None, store.threads[key].kind)}
    return [store.threads[key] for key in _ThreadSearch(store, query, strict).run(within)]


def find_repositories(store: GitHubStore, query: Query, strict: bool) -> list[WorldRepository]:
    """Return the repositories that a query finds, in no order; forks only if it asks for them."""
    within = {key for key in store.repositories if key not in store.hidden}
    if not _names(query.tree, "fork"):
        within = {key for key in within if not store.repositories[key].fork}
    return [store.repositories[key] for key in _RepositorySearch(store, query, strict).run(within)]


def sort_threads(found: Sequence[WorldThread], sort: str, descending: bool, page: int) -> list[WorldThread]:
    """Return threads in the order asked for; "" is best match, which differs from page to page.

    Ties stand in an order of their own, the same on every page.
    """
    return _sort(found, _THREAD_SORTS, sort, descending, page)


def sort_repositories(
    found: Sequence[WorldRepository], sort: str, descending: bool, page: int
) -> list[WorldRepository]:
    """Return repositories in the order asked for; see `sort_threads`."""
    return _sort(found, _REPOSITORY_SORTS, sort, descending, page)


class _Search(ABC):
    """Evaluates a tree over ids; what must look at each candidate comes after what is indexed."""

    def __init__(self, store: GitHubStore, query: Query, strict: bool) -> None:
        self.store = store
        self.query = query
        self.strict = strict

    def run(self, within: set[int]) -> set[int]:
        """Return the ids in `within` that the query finds."""
        if self.query.scopes and not any(self.repositories(part) for part in self.query.scopes):
            raise NoScope
        return self.select(self.query.tree, within)

    def select(self, node: Node, within: set[int]) -> set[int]:
        """Return the ids in `within` for which `node` holds."""
        if isinstance(node, AllOf):
            for part in sorted(node.parts, key=_cost):
                within = self.select(part, within)
            return within
        if isinstance(node, AnyOf):
            return set[int]().union(*(self.select(part, within) for part in node.parts))
        if isinstance(node, Not):
            return within - self.select(node.part, within)
        if isinstance(node, Words):
            return self.with_words(node, within)
        if node.name in SCOPES:
            return within & self.ids_in(self.repositories(node))
        return self.qualified(node, within)

    def repositories(self, qualifier: Qualifier) -> list[WorldRepository]:
        """Return the repositories that a scope names and a stranger can see."""
        if qualifier.name == "repo":
            repository = self.store.named(qualifier.value)
            return [repository] if repository else []
        owner = f"{qualifier.value.casefold()}/"
        everywhere = (r for r in self.store.repositories.values() if r.id not in self.store.hidden)
        return [r for r in everywhere if r.full_name.casefold().startswith(owner)]

    def unknown(self, qualifier: Qualifier) -> set[int]:
        """Live, an unknown qualifier matches nothing; in strict mode it is an error."""
        if self.strict:
            raise Unmodelled(f"the qualifier {qualifier.name}:{qualifier.value}")
        return set()

    @abstractmethod
    def ids_in(self, repositories: list[WorldRepository]) -> set[int]:
        """Return the ids that belong to repositories."""

    @abstractmethod
    def with_words(self, node: Words, within: set[int]) -> set[int]:
        """Return the ids whose text holds the words."""

    @abstractmethod
    def qualified(self, qualifier: Qualifier, within: set[int]) -> set[int]:
        """Return the ids for which a qualifier other than a scope holds."""


class _ThreadSearch(_Search):
    def ids_in(self, repositories: list[WorldRepository]) -> set[int]:
        return set[int]().union(*(self.store.threads_of[repository.id] for repository in repositories))

    def with_words(self, node: Words, within: set[int]) -> set[int]:
        for word in node.words:
            within = within & set[int]().union(
                *(self.store.words[field, word] for field in self.query.fields)
            )
        if node.phrase and len(node.words) > 1:
            words = list(node.words)
            within = {key for key in within if self.store.phrase(key, self.query.fields, words)}
        return within

    def qualified(self, qualifier: Qualifier, within: set[int]) -> set[int]:
        threads = self.store.threads
        if qualifier.name in ("is", "state") and qualifier.value.lower() in _STATES:
            holds = _STATES[qualifier.value.lower()]
            return {key for key in within if holds(threads[key])}
        if qualifier.name in _THREAD_VALUES:
            value = _THREAD_VALUES[qualifier.name]
            low, high = range_of(qualifier.value)
            return {key for key in within if _between(low, value(threads[key]), high)}
        return self.unknown(qualifier)


class _RepositorySearch(_Search):
    def ids_in(self, repositories: list[WorldRepository]) -> set[int]:
        return {repository.id for repository in repositories}

    def with_words(self, node: Words, within: set[int]) -> set[int]:
        wanted = set(node.words)
        return {key for key in within if wanted <= set(tokens(self.store.repositories[key].full_name))}

    def qualified(self, qualifier: Qualifier, within: set[int]) -> set[int]:
        repositories = self.store.repositories
        if qualifier.name == "topic":
            return {key for key in within if qualifier.value.lower() in repositories[key].topics}
        if qualifier.name in _REPOSITORY_VALUES:
            value = _REPOSITORY_VALUES[qualifier.name]
            low, high = range_of(qualifier.value)
            return {key for key in within if _between(low, value(repositories[key]), high)}
        holds = _REPOSITORY_FLAGS.get(qualifier.name, {}).get(qualifier.value.lower())
        if holds is None:
            return self.unknown(qualifier)
        return {key for key in within if holds(repositories[key])}


def _between(low: float, value: float | None, high: float) -> bool:
    return value is not None and low <= value <= high


def _cost(node: Node) -> int:
    """Return how late a part should be evaluated: indexed ones first."""
    if isinstance(node, AllOf | AnyOf):
        return max((_cost(part) for part in node.parts), default=0)
    if isinstance(node, Not):
        return _cost(node.part)
    return 0 if isinstance(node, Words) or node.name in SCOPES else 1


def _names(node: Node, name: str) -> bool:
    if isinstance(node, AllOf | AnyOf):
        return any(_names(part, name) for part in node.parts)
    return isinstance(node, Qualifier) and node.name == name


Item = TypeVar("Item", WorldThread, WorldRepository)


def _sort(
    found: Sequence[Item], sorts: dict[str, Callable[[Item], float]], sort: str, descending: bool, page: int
) -> list[Item]:
    if sort == "":
        return sorted(found, key=lambda item: _shuffle(item.id, page))
    if sort not in sorts:
        raise Unmodelled(f"the sort order {sort!r}")
    tied = sorted(found, key=lambda item: _shuffle(item.id, 0))
    return sorted(tied, key=sorts[sort], reverse=descending)


def _shuffle(number: int, page: int) -> bytes:
    return hashlib.blake2b(f"{page}:{number}".encode(), digest_size=8).digest()
