"""Clients that know the live GitHub, and its published description, are content with the sandboxed one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import github
import httpx
import pytest

from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.github import GitHubService
from pipeline.sandbox.server import ServiceServer
from pipeline.sandbox.world import World, WorldThread, load_world

HITS = "is:closed comments:>0"


@pytest.fixture(scope="module")
def world() -> World:
    """The bundled world."""
    return load_world()


@pytest.fixture
def server(world: World) -> Iterator[ServiceServer]:
    """The sandboxed GitHub over the bundled world."""
    running = ServiceServer(GitHubService(world, VirtualClock(), limits={"search": (500, 10)}))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def library(server: ServiceServer, monkeypatch: pytest.MonkeyPatch) -> github.Github:
    """PyGithub as a user would set it up, without its own pauses."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    token = github.Auth.Token("good")
    return github.Github(
        base_url=server.url, auth=token, per_page=7, retry=None, seconds_between_requests=None
    )


def candidates(world: World) -> list[WorldThread]:
    """Return the threads of GitHub that are candidates."""
    return [thread for thread in world.threads_of("github") if thread.candidate]


def test_pygithub_walks_a_search(library: github.Github, server: ServiceServer, world: World) -> None:
    """PyGithub follows the pages of a search and reads each hit without a further request."""
    hits = library.search_issues(f"NaN OR INF is:issue {HITS}", sort="created", order="asc")
    found = [(hit.html_url, hit.comments, hit.user and hit.user.login) for hit in hits]
    assert hits.totalCount == len(found) == len(set(found)) > 20
    assert server.requests == -(-len(found) // 7)


def test_pygithub_reads_a_thread(library: github.Github, world: World) -> None:
    """PyGithub gives the thread that the world holds, with every comment once."""
    wanted = max(world.threads_of("github"), key=lambda thread: len(thread.posts))
    issue = library.get_repo(wanted.repository or "").get_issue(wanted.number)
    assert (issue.title, issue.body) == (wanted.title, wanted.posts[0].body)
    assert [comment.id for comment in issue.get_comments()] == [post.id for post in wanted.posts[1:]]


def test_pygithub_finds_repositories(library: github.Github) -> None:
    """Topics come with the hits."""
    hits = list(library.search_repositories("topic:tensorflow", sort="stars", order="desc"))
    assert all("tensorflow" in hit.topics for hit in hits)
    stars = [hit.stargazers_count for hit in hits]
    assert stars == sorted(stars, reverse=True)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/search/issues?q=nan", github.GithubException),
        ("/repos/no/body", github.UnknownObjectException),
    ],
)
def test_pygithub_sees_refusals(library: github.Github, path: str, kind: type[Exception]) -> None:
    """A refusal is the exception that PyGithub has for it."""
    with pytest.raises(kind):
        library.requester.requestJsonAndCheck("GET", path)


def test_pygithub_sees_limits(library: github.Github, server: ServiceServer) -> None:
    """A used-up window is a RateLimitExceededException."""
    assert isinstance(server.service, GitHubService)
    server.service.exhaust("good", "core")
    assert library.get_rate_limit().resources.core.remaining == 0
    with pytest.raises(github.RateLimitExceededException):
        library.get_repo("any/thing")


@pytest.mark.parametrize("advanced", ["false", "true"])
def test_every_candidate_can_be_found(server: ServiceServer, world: World, advanced: str) -> None:
    """Searching repository by repository and kind by kind finds every candidate of the world."""
    found = set()
    with httpx.Client(
        base_url=server.url, trust_env=False, headers={"Authorization": "token good"}
    ) as client:
        for repository in {thread.repository for thread in candidates(world)}:
            for kind in ("issue", "pull-request"):
                query = f"(NaN OR INF) is:{kind} {HITS} repo:{repository}"
                parameters = {"q": query, "advanced_search": advanced, "per_page": "100"}
                answer = client.get("/search/issues", params=parameters).json()
                found |= {item["id"] for item in answer["items"]}
    assert {thread.id for thread in candidates(world)} <= found


def test_two_hundred_queries_over_two_thousand_threads_are_quick() -> None:
    """Words are indexed: a crawl's worth of searches needs no pass over every text."""
    from pipeline.sandbox.github_language import parse
    from pipeline.sandbox.github_search import find_threads
    from pipeline.sandbox.github_store import GitHubStore
    from pipeline.sandbox.world import generate_world

    store = GitHubStore(generate_world(2000))
    names = " OR ".join(f"repo:bench/repository-{number}" for number in range(4))
    query = parse(f"(NaN OR INF) is:issue {HITS} ({names})", advanced=True)
    found = [find_threads(store, query, strict=True) for _ in range(200)]
    assert {len(hits) for hits in found} == {400}


@pytest.mark.shared
@pytest.mark.parametrize(
    ("path", "described"),
    [
        ("/search/issues?q=is:pull-request", "/search/issues"),
        ("/search/repositories?q=topic:pytorch", "/search/repositories"),
        ("/repos/{repository}", "/repos/{owner}/{repo}"),
        ("/repos/{repository}/issues/{number}", "/repos/{owner}/{repo}/issues/{issue_number}"),
        (
            "/repos/{repository}/issues/{number}/comments",
            "/repos/{owner}/{repo}/issues/{issue_number}/comments",
        ),
        ("/rate_limit", "/rate_limit"),
    ],
)
def test_answers_have_what_the_description_requires(
    server: ServiceServer, world: World, shared: Path, path: str, described: str
) -> None:
    """Each answer has every member that the published description requires, of the types it allows."""
    official = shared / "contracts/recordings/github/official/openapi_subset.json"
    description = json.loads(official.read_text(encoding="utf-8"))
    content = description["paths"][described]["get"]["responses"]["200"]["content"]["application/json"]
    thread = next(thread for thread in world.threads_of("github") if len(thread.posts) > 2)
    url = server.url + path.format(repository=thread.repository, number=thread.number)
    answer = httpx.get(url, trust_env=False).json()
    assert list(_faults(answer, content["schema"], description, "$")) == []


def _faults(value: Any, schema: dict[str, Any], description: dict[str, Any], at: str) -> Iterator[str]:
    """Yield where a value lacks a required member or has another type: a light structural check."""
    if "$ref" in schema:
        schema = _resolve(schema["$ref"], description)
    kinds = schema.get("type")
    if kinds is not None and not any(
        _is_a(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)
    ):
        if not (value is None and schema.get("nullable")):
            yield f"{at}: {type(value).__name__} is not {kinds}"
    elif isinstance(value, dict):
        yield from (f"{at}.{name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from _faults(value[name], inner, description, f"{at}.{name}")
    elif isinstance(value, list):
        for item in value[:3]:
            yield from _faults(item, schema.get("items", {}), description, f"{at}[]")


def _resolve(reference: str, description: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = description
    for name in reference.removeprefix("#/").split("/"):
        found = found.get(name, {})
    return found


def _is_a(value: Any, kind: str) -> bool:
    kinds: dict[str, Any] = {
        "string": str, "integer": int, "number": (int, float), "boolean": bool,
        "array": list, "object": dict, "null": type(None),
    }  # fmt: skip
    return isinstance(value, kinds[kind])
