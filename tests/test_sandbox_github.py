"""The sandboxed GitHub answers, and refuses, as the contract says the live one does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.github import GitHubService
from pipeline.sandbox.github_language import parse
from pipeline.sandbox.github_rest import Incomplete
from pipeline.sandbox.github_search import find_threads
from pipeline.sandbox.github_store import GitHubStore
from pipeline.sandbox.server import Request, ServiceServer
from pipeline.sandbox.world import World, WorldPost, WorldRepository, WorldThread

DAY = datetime(2020, 3, 1, 12, tzinfo=UTC)
CLOSED = "is:issue is:closed"


def repository(number: int, name: str, *topics: str, **facts: Any) -> WorldRepository:
    """Return a repository of the test's world."""
    return WorldRepository(number, name, topics, DAY, **facts)


def thread(number: int, repository: str, *texts: str, **facts: Any) -> WorldThread:
    """Return a closed issue whose texts are its title, its body and its comments."""
    created = DAY + timedelta(days=number)
    posts = [
        WorldPost(number * 1000 + at, f"user{at}", created + timedelta(hours=at), text)
        for at, text in enumerate(texts[1:])
    ]
    values: dict[str, Any] = {"kind": "issue", "closed_at": created + timedelta(days=1)} | facts
    return WorldThread(
        "github",
        2**32 + number,
        number,
        title=texts[0],
        created_at=created,
        updated_at=created + timedelta(days=1),
        posts=tuple(posts),
        repository=repository,
        **values,
    )


WORLD = World(
    (
        repository(11, "acme/nets", "tensorflow"),
        repository(12, "acme/both", "pytorch", "tensorflow"),
        repository(2**31 + 1, "lab/torchy", "pytorch", stars=50),
        repository(14, "fork/nets", "tensorflow", fork=True),
    ),
    (
        thread(1, "acme/nets", "Loss is NaN", "after ten steps", "clip the gradients"),
        thread(2, "acme/nets", "Crash", "np.inf in the mask", "use a finite number"),
        thread(3, "acme/both", "banana split", "nothing here", "but a NaN-safe log"),
        thread(4, "acme/both", "Open one", "nan", "yes", closed_at=None),
        thread(5, "lab/torchy", "Guard against INF", "see title", "ok", kind="pull", merged_at=DAY),
        thread(6, "lab/torchy", "nan without replies", "nan"),
        thread(7, "lab/torchy", "Long", "inf", *(f"reply {number}" for number in range(250))),
    ),
)


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that stands still until somebody sleeps."""
    return VirtualClock()


@pytest.fixture
def service(clock: VirtualClock) -> GitHubService:
    """The service over the test's world."""
    return GitHubService(WORLD, clock)


@pytest.fixture
def client(service: GitHubService) -> Iterator[httpx.Client]:
    """A client with a token."""
    server = ServiceServer(service)
    server.start()
    headers = {"User-Agent": "test", "Authorization": "token good"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, verify=False) as opened:
        yield opened
    server.stop()


def search(client: httpx.Client, text: str, **parameters: Any) -> httpx.Response:
    """Search threads, oldest first."""
    return client.get("/search/issues", params={"q": text, "sort": "created", "order": "asc", **parameters})


def numbers(answer: httpx.Response) -> list[int]:
    """Return the numbers of the threads that a search found."""
    assert answer.status_code == 200, answer.text
    return [item["number"] for item in answer.json()["items"]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"NaN {CLOSED}", [1, 3, 6]),
        (f"nan {CLOSED} comments:>0", [1, 3]),
        (f"NaN OR INF {CLOSED} comments:1..9", [1, 2, 3]),
        (f"(NaN OR INF) {CLOSED} (repo:acme/nets OR repo:ACME/Both)", [1, 2, 3]),
        (f"NaN NOT loss {CLOSED}", [3, 6]),
        (f'"NaN safe" {CLOSED}', [3]),
        (f'"is NaN" {CLOSED}', [1]),
        (f"NaN {CLOSED} in:title", [1, 6]),
        (f"NaN {CLOSED} in:comments", [3]),
        (f"banan {CLOSED}", []),
        ("nan is:issue is:open", [4]),
        ("nan is:issue", [1, 3, 4, 6]),
        ("inf is:pull-request is:closed", [5]),
        ("inf is:issue is:pull-request", [5]),
        ("inf type:pr is:merged", [5]),
        (f"{CLOSED} user:acme", [1, 2, 3]),
        (f"{CLOSED} -repo:acme/nets comments:<5", [3, 6]),
        (f"{CLOSED} created:2020-03-02..2020-03-03", [1, 2]),
        (f"{CLOSED} created:2020-03-02T12:00:00Z..2020-03-03T12:00:00Z", [1, 2]),
        (f"{CLOSED} created:>2020-03-02 created:<2020-03-05", [2, 3]),
        (f"{CLOSED} created:>=2020-03-02T12:00:01Z created:<=2020-03-03", [2]),
        (f"{CLOSED} closed:*..2020-03-03", [1]),
        (f"{CLOSED} updated:>=2020-03-08", [6, 7]),
        (f"`is:open` NaN {CLOSED}", []),
    ],
)
@pytest.mark.parametrize("advanced", [False, True])
def test_search_finds(client: httpx.Client, text: str, found: list[int], advanced: bool) -> None:
    """Both dialects find the same threads for queries that do not rest on their differences."""
    if advanced and text.startswith("NaN OR"):
        text = text.replace("NaN OR INF", "(NaN OR INF)")
    parameters = {"advanced_search": "true"} if advanced else {}
    assert numbers(search(client, text, **parameters)) == found


def test_dialects_differ_where_github_says(client: httpx.Client) -> None:
    """Neighbouring `repo:` is a union in the legacy dialect and a contradiction in the advanced one."""
    text = f"{CLOSED} repo:acme/nets repo:acme/both"
    assert numbers(search(client, text)) == [1, 2, 3]
    assert numbers(search(client, text, advanced_search="true")) == []
    loose = f"NaN OR INF {CLOSED} repo:acme/nets"
    assert numbers(search(client, loose)) == [1, 2]
    assert numbers(search(client, loose, advanced_search="true")) == [1, 2, 3, 4, 6]


@pytest.mark.parametrize(
    ("parameters", "status", "says"),
    [
        ({"q": "  "}, 422, '"code": "missing"'),
        ({"q": "nan is:closed"}, 422, "is:issue"),
        ({"q": '"is:issue" nan'}, 422, "is:issue"),
        ({"q": "a OR b OR c OR d OR e OR f OR g is:issue"}, 422, "More than five AND / OR / NOT operators"),
        ({"q": "is:issue " + "x" * 248}, 422, "longer than 256 characters"),
        ({"q": "is:issue repo:no/body repo:also/gone"}, 422, "cannot be searched"),
        ({"q": "is:issue", "page": "11", "per_page": "100"}, 422, "first 1000"),
        ({"q": "is:issue", "page": "35", "per_page": "30"}, 422, "first 1000"),
        ({"q": "is:issue created:yesterday"}, 422, "range"),
        ({"q": "is:issue topic:tensorflow"}, 400, "does not model"),
        ({"q": "is:issue", "sort": "reactions"}, 400, "does not model"),
        ({"q": "is:issue", "state": "closed"}, 400, "does not model"),
        ({"q": "(is:issue nan", "advanced_search": "true"}, 422, "parenthesis"),
    ],
)
def test_search_refuses(client: httpx.Client, parameters: dict[str, str], status: int, says: str) -> None:
    """What the live search refuses is refused, and in strict mode what is not modelled."""
    answer = client.get("/search/issues", params=parameters)
    assert (answer.status_code, says in answer.text) == (status, True), answer.text


def test_search_accepts_256_characters_and_five_operators(client: httpx.Client) -> None:
    """The bounds themselves are allowed."""
    assert search(client, "is:issue " + "x" * 247).status_code == 200
    assert search(client, "is:issue a OR b OR c OR d OR e OR f").status_code == 200


def test_unreadable_repositories_are_dropped_silently(client: httpx.Client) -> None:
    """A batch with one repository that is gone gives the others' threads without a word."""
    assert numbers(search(client, f"NaN {CLOSED} repo:acme/nets repo:no/body")) == [1]


def test_a_hit_costs_no_second_request(client: httpx.Client) -> None:
    """A hit holds what the crawler needs; only pull requests say that they are."""
    issue = search(client, f"{CLOSED} Loss").json()["items"][0]
    assert issue["id"] == 2**32 + 1
    assert issue["comments"] == 1
    assert "pull_request" not in issue
    pull = search(client, "is:pull-request Guard").json()["items"][0]
    assert pull["pull_request"]["merged_at"] == "2020-03-01T12:00:00Z"
    assert pull["html_url"] == "https://github.com/lab/torchy/pull/5"


def test_repositories_are_found_by_topic_without_forks(client: httpx.Client) -> None:
    """Topic search gives topics with each hit, and forks only on demand."""
    answer = client.get("/search/repositories", params={"q": "topic:tensorflow", "sort": "stars"}).json()
    assert sorted(item["full_name"] for item in answer["items"]) == ["acme/both", "acme/nets"]
    assert {"pytorch", "tensorflow"} in [set(item["topics"]) for item in answer["items"]]
    forks = client.get("/search/repositories", params={"q": "topic:tensorflow fork:only"}).json()
    assert forks["total_count"] == 1


def test_pages_link_to_each_other(client: httpx.Client) -> None:
    """Links stand in GitHub's order, keep the parameters, and name repositories by number."""
    first = client.get("/repos/acme/nets/issues/1/comments")
    assert "link" not in first.headers
    second = client.get(
        f"/repositories/{2**31 + 1}/issues/7/comments", params={"per_page": "100", "page": "2"}
    )
    assert re.findall(r'rel="(\w+)"', second.headers["link"]) == ["prev", "next", "last", "first"]
    address = f"{client.base_url}/repositories/{2**31 + 1}/issues/7/comments"
    assert second.links["next"]["url"] == f"{address}?per_page=100&page=3"
    assert [post["id"] for post in second.json()][:2] == [7101, 7102]
    assert len(client.get(second.links["next"]["url"]).json()) == 50


@pytest.mark.parametrize(("asked", "given"), [("500", 100), ("0", 30), ("-3", 30), ("many", 30), ("40", 40)])
def test_page_sizes_are_clamped(client: httpx.Client, asked: str, given: int) -> None:
    """A page size beyond the bounds is served as the bound or the default, never refused."""
    answer = client.get("/repos/lab/torchy/issues/7/comments", params={"per_page": asked})
    assert len(answer.json()) == given


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({"User-Agent": ""}, "/rate_limit", 403),
        ({"Authorization": "token stolen"}, "/rate_limit", 401),
        ({"X-GitHub-Api-Version": "1999-01-01"}, "/rate_limit", 400),
        ({"X-GitHub-Api-Version": "1999-01-01", "Authorization": "token stolen"}, "/rate_limit", 401),
        ({}, "/search/issues/?q=is:issue", 404),
        ({}, "/repos/acme/nets/", 404),
        ({}, "/repos/no/body", 404),
        ({}, "/repositories/99", 404),
        ({}, "/repos/acme/nets/issues/99", 404),
        ({}, "/graphql", 404),
    ],
)
def test_refusals(
    client: httpx.Client, service: GitHubService, headers: dict[str, str], path: str, status: int
) -> None:
    """Each refusal has its status, and all five rate headers."""
    service.revoked.add("stolen")
    answer = client.get(path, headers=headers)
    assert answer.status_code == status
    assert len([name for name in answer.headers if name.startswith("x-ratelimit-")]) == 5


def test_search_window_is_per_minute_and_token(
    client: httpx.Client, service: GitHubService, clock: VirtualClock
) -> None:
    """The 31st search within a minute is refused for this token only, until the minute is over."""
    for _ in range(30):
        assert search(client, "is:issue").status_code == 200
    refused = search(client, "is:issue")
    assert refused.status_code == 403
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert refused.headers["x-ratelimit-resource"] == "search"
    other = client.get("/search/issues?q=is:issue", headers={"Authorization": "bearer other"})
    assert other.status_code == 200
    assert client.get("/repos/acme/nets").status_code == 200
    clock.sleep(60)
    assert search(client, "is:issue").status_code == 200


def test_anonymous_windows_are_small(client: httpx.Client) -> None:
    """Without a token there are 10 searches a minute, 60 other calls an hour and no GraphQL."""
    del client.headers["Authorization"]
    limits = client.get("/rate_limit").json()["resources"]
    assert (limits["core"]["limit"], limits["search"]["limit"]) == (60, 10)
    assert client.post("/graphql", json={"query": "{rateLimit{cost}}"}).status_code == 401


def test_nine_hundred_requests_a_minute_are_a_secondary_limit(
    service: GitHubService, clock: VirtualClock
) -> None:
    """Whoever asks too fast is refused although their quota is not used up."""
    request = Request(
        "GET", "/repos/acme/nets", {}, {"user-agent": "x", "authorization": "token y"}, b"", "::1"
    )
    assert {service.answer(request).status for _ in range(900)} == {200}
    refused = service.answer(request)
    assert (refused.status, b"secondary rate limit" in refused.body) == (403, True)
    assert int(refused.headers["x-ratelimit-remaining"]) > 0
    clock.sleep(60)
    assert service.answer(request).status == 200


def test_conditional_requests_cost_nothing(client: httpx.Client, service: GitHubService) -> None:
    """A 304 spends no quota; searches carry no ETag."""
    answer = client.get("/repos/acme/nets/issues/1/comments")
    again = client.get(
        "/repos/acme/nets/issues/1/comments", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert service.quota("good", "core").used == 1
    assert "etag" not in search(client, "is:issue").headers


def test_api_versions_differ(client: httpx.Client) -> None:
    """The newer version drops the fields it drops, and each answer names the version."""
    newer = {"X-GitHub-Api-Version": "2026-03-10"}
    answer = client.get("/rate_limit", headers=newer)
    assert "rate" not in answer.json()
    assert answer.headers["x-github-api-version-selected"] == "2026-03-10"
    assert "rate" in client.get("/rate_limit").json()


def test_scripted_timeout_gives_part(client: httpx.Client, service: GitHubService) -> None:
    """A search that times out says so and lacks items; the next one is whole."""
    service.incomplete.append(Incomplete("nan"))
    cut = search(client, f"nan {CLOSED}").json()
    assert (cut["incomplete_results"], len(cut["items"])) == (True, 2)
    assert numbers(search(client, f"nan {CLOSED}")) == [1, 3, 6]


def test_best_match_shifts_between_pages(client: httpx.Client) -> None:
    """Without a sort order, pages repeat and drop items, as the live ones do."""
    pages = [
        client.get("/search/issues", params={"q": "is:issue", "per_page": "1", "page": str(page)}).json()[
            "items"
        ]
        for page in range(1, 7)
    ]
    assert len({item["id"] for page in pages for item in page}) < 6


def test_renamed_repository_redirects_and_is_unsearchable(
    client: httpx.Client, service: GitHubService
) -> None:
    """The old name answers 301 to the numeric address, and nothing in a search."""
    service.store.rename("acme/nets", "acme/graphs")
    answer = client.get("/repos/acme/nets/issues/1/comments?per_page=5")
    assert answer.headers["location"] == f"{client.base_url}/repositories/11/issues/1/comments"
    assert search(client, "is:issue repo:acme/nets").status_code == 422
    assert numbers(search(client, "is:issue repo:acme/graphs")) == [1, 2]


def test_lost_threads_say_how(client: httpx.Client, service: GitHubService) -> None:
    """Deleted answers 410, converted 404, transferred 301, private 404."""
    service.store.delete("acme/nets", 1)
    service.store.delete("acme/nets", 2, status=404)
    service.store.transfer("acme/both", 3, "acme/nets", 30)
    service.store.hide("lab/torchy")
    paths = ["acme/nets/issues/1", "acme/nets/issues/2", "acme/both/issues/3", "lab/torchy/issues/5"]
    assert [client.get(f"/repos/{path}").status_code for path in paths] == [410, 404, 301, 404]
    followed = client.get("/repos/acme/both/issues/3", follow_redirects=True).json()
    assert followed["html_url"] == "https://github.com/acme/nets/issues/30"
    assert numbers(search(client, "is:issue")) == [30, 4]


def test_an_edit_is_seen(client: httpx.Client, service: GitHubService, clock: VirtualClock) -> None:
    """An edited thread is found by its new words and its new time, and no longer by the old ones."""
    service.store.edit("acme/nets", 1, clock.now(), title="Loss is fine")
    assert numbers(search(client, "NaN is:issue repo:acme/nets")) == []
    assert numbers(search(client, f"fine is:issue updated:>={clock.now():%Y-%m-%dT%H:%M:%SZ}")) == [1]


def test_more_than_a_thousand_hits(clock: VirtualClock) -> None:
    """The count is true beyond a thousand, but the pages end there."""
    many = tuple(thread(number, "acme/nets", "nan", "") for number in range(1, 1002))
    server = ServiceServer(GitHubService(World(WORLD.repositories, many), clock))
    server.start()
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        answer = client.get("/search/issues", params={"q": "is:issue", "per_page": 100, "page": 10})
    server.stop()
    assert (answer.json()["total_count"], len(answer.json()["items"])) == (1001, 100)
    assert "next" not in answer.links
    assert answer.json()["items"][0]["body"] is None


@given(st.text(alphabet='()"`:-ORNDAT nif.', max_size=60) | st.text(max_size=300), st.booleans())
def test_any_text_is_a_query_or_refused(text: str, advanced: bool) -> None:
    """Whatever is typed, the search answers or refuses it; it never breaks."""
    service = GitHubService(WORLD, VirtualClock(), strict=False)
    query = {"q": [f"is:issue {text}"], "advanced_search": [str(advanced).lower()]}
    request = Request("GET", "/search/issues", query, {"user-agent": "x"}, b"", "::1")
    assert service.answer(request).status in (200, 422)


@given(st.sets(st.sampled_from(["acme/nets", "acme/both", "lab/torchy", "no/body"]), min_size=1))
def test_planned_queries_mean_the_same_in_both_dialects(names: set[str]) -> None:
    """Words and repositories in parentheses of their own find the same threads in both dialects."""
    assume(names != {"no/body"})
    store = GitHubStore(WORLD)
    text = f"(NaN OR INF) {CLOSED} comments:>0 ({' OR '.join(f'repo:{name}' for name in sorted(names))})"
    queries = [parse(text, advanced=False), parse(text, advanced=True)]
    legacy, advanced = ({thread.id for thread in find_threads(store, query, True)} for query in queries)
    assert legacy == advanced
