"""What the sandboxed GitHub holds, indexed once; tests change it between crawls as users would."""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from pipeline.sandbox.server import SandboxError
from pipeline.sandbox.world import World, WorldRepository, WorldThread

_WORD = re.compile(r"[^\W_]+")

FIELDS = ("title", "body", "comments")
PROTECTED = "Resource protected by organization SAML enforcement. You must grant your token access."


def tokens(text: str) -> list[str]:
    """Return the words of a text as the search sees them: folded, split at hyphens and all other signs."""
    return _WORD.findall(text.casefold())


def node_id(prefix: str, number: int) -> str:
    """Return the opaque global id of a thing of one kind."""
    return f"{prefix}_{base64.urlsafe_b64encode(str(number).encode()).decode().rstrip('=')}"


def thread_node_id(thread: WorldThread) -> str:
    """Return the global id of an issue or a pull request."""
    return node_id("PR" if thread.kind == "pull" else "I", thread.id)


class GitHubStore:
    """Repositories and threads by every name they are asked for.

    `gone` keeps the status that a lost thread answers with, `moved` the thread it became; both are
    keyed by repository id and number. `former` keeps the names that repositories had.
    """

    def __init__(self, world: World) -> None:
        self.repositories: dict[int, WorldRepository] = {}
        self.threads: dict[int, WorldThread] = {}
        self.nodes: dict[str, WorldThread | WorldRepository] = {}
        self.numbers: dict[tuple[int, int], int] = {}
        self.threads_of: dict[int, set[int]] = defaultdict(set)
        self.words: dict[tuple[str, str], set[int]] = defaultdict(set)
        self.gone: dict[tuple[int, int], int] = {}
        self.moved: dict[tuple[int, int], int] = {}
        self.former: dict[str, int] = {}
        self.hidden: set[int] = set()
        self.protected: set[int] = set()
        self._names: dict[str, int] = {}
        for repository in world.repositories:
            self.add_repository(repository)
        for thread in world.threads_of("github"):
            self.add(thread)

    def named(self, full_name: str) -> WorldRepository | None:
        """Return the visible repository that has this name now; case does not count."""
        key = self._names.get(full_name.casefold())
        return None if key is None or key in self.hidden else self.repositories[key]

    def repository_of(self, thread: WorldThread) -> WorldRepository:
        """Return the repository of a thread."""
        repository = self.repositories.get(self._names.get((thread.repository or "").casefold(), -1))
        if repository is None:
            raise SandboxError(f"sandbox world: github thread {thread.id} is in no repository of the world")
        return repository

    def thread(self, full_name: str, number: int) -> WorldThread:
        """Return a thread by name and number, for tests that change it."""
        repository = self.named(full_name)
        key = self.numbers.get((repository.id, number)) if repository else None
        if key is None:
            raise SandboxError(f"sandbox: there is no thread {full_name}#{number}")
        return self.threads[key]

    def visible_threads(self) -> set[int]:
        """Return the ids of the threads that a search can find."""
        if not self.hidden:
            return set(self.threads)
        return set(self.threads).difference(*(self.threads_of[key] for key in self.hidden))

    def phrase(self, thread_id: int, fields: Iterable[str], words: list[str]) -> bool:
        """Say whether the words stand next to each other in one of the fields of a thread."""
        wanted = f" {' '.join(words)} "
        texts = _texts(self.threads[thread_id])
        return any(wanted in f" {' '.join(tokens(text))} " for field in fields for text in texts[field])

    def add_repository(self, repository: WorldRepository) -> None:
        """Create a repository."""
        self.repositories[repository.id] = repository
        self.nodes[node_id("R", repository.id)] = repository
        self._names[repository.full_name.casefold()] = repository.id

    def add(self, thread: WorldThread) -> None:
        """Open a thread in a repository that exists."""
        repository = self.repository_of(thread)
        self.threads[thread.id] = thread
        self.nodes[thread_node_id(thread)] = thread
        self.numbers[repository.id, thread.number] = thread.id
        self.threads_of[repository.id].add(thread.id)
        for field, texts in _texts(thread).items():
            for word in {word for text in texts for word in tokens(text)}:
                self.words[field, word].add(thread.id)

    def edit(self, full_name: str, number: int, updated_at: datetime, **changes: Any) -> None:
        """Change a thread: its title, posts, closed_at or any other field of `WorldThread`."""
        thread = self.thread(full_name, number)
        self._forget(thread)
        self.add(replace(thread, updated_at=updated_at, **changes))

    def delete(self, full_name: str, number: int, status: int = 410) -> None:
        """Remove a thread; it answers 410, or 404 where it was turned into a discussion."""
        thread = self.thread(full_name, number)
        self.gone[self.repository_of(thread).id, number] = status
        self._forget(thread)

    def transfer(self, full_name: str, number: int, new_name: str, new_number: int) -> None:
        """Move a thread to another repository; it gets a new id and its old address redirects."""
        thread = self.thread(full_name, number)
        new_id = max(self.threads) + 1
        self._forget(thread)
        self.moved[self.repository_of(thread).id, number] = new_id
        self.add(replace(thread, id=new_id, repository=new_name, number=new_number))

    def become(self, world: World) -> None:
        """Hold what another world holds; threads that it lacks were deleted, other names are renames."""
        for repository in world.repositories:
            known = self.repositories.get(repository.id)
            if known is not None and known.full_name != repository.full_name:
                self.rename(known.full_name, repository.full_name)
            self.add_repository(repository)
        wanted = {thread.id: thread for thread in world.threads_of("github")}
        for thread in [thread for key, thread in self.threads.items() if wanted.get(key) != thread]:
            if thread.id in wanted:
                self._forget(thread)
            else:
                self.delete(thread.repository or "", thread.number)
        for key in wanted.keys() - self.threads.keys():
            self.add(wanted[key])

    def rename(self, full_name: str, new_name: str) -> None:
        """Rename a repository; the old name redirects and is no longer searchable."""
        repository = self._must_be_named(full_name)
        self.former[full_name.casefold()] = self._names.pop(full_name.casefold())
        self.add_repository(replace(repository, full_name=new_name))
        for key in self.threads_of[repository.id]:
            self.threads[key] = replace(self.threads[key], repository=new_name)
            self.nodes[thread_node_id(self.threads[key])] = self.threads[key]

    def hide(self, full_name: str) -> None:
        """Make a repository private, or delete it: to a stranger that is the same."""
        self.hidden.add(self._must_be_named(full_name).id)

    def protect(self, full_name: str) -> None:
        """Let the single sign-on of its organization keep every token away from a repository."""
        self.protected.add(self._must_be_named(full_name).id)

    def _must_be_named(self, full_name: str) -> WorldRepository:
        repository = self.named(full_name)
        if repository is None:
            raise SandboxError(f"sandbox: there is no repository {full_name}")
        return repository

    def _forget(self, thread: WorldThread) -> None:
        repository = self.repository_of(thread)
        del self.threads[thread.id], self.nodes[thread_node_id(thread)]
        del self.numbers[repository.id, thread.number]
        self.threads_of[repository.id].discard(thread.id)
        for field, texts in _texts(thread).items():
            for word in {word for text in texts for word in tokens(text)}:
                self.words[field, word].discard(thread.id)


def _texts(thread: WorldThread) -> dict[str, list[str]]:
    opening, *replies = thread.posts
    return {"title": [thread.title], "body": [opening.body], "comments": [post.body for post in replies]}
