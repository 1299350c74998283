"""GitHub's answers as records: recorded ones where they are present, odd ones, and what a status means."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Gone, Malformed, Refused, SourceError, Unauthorized
from pipeline.records import ThreadRecord
from pipeline.sources.base import Payload
from pipeline.sources.github_answers import (
    NoSuchRepositories,
    error_types,
    limit_of,
    refusal,
    reset_of,
)
from pipeline.sources.github_records import gone_thread, pack, read_hit, read_repository, read_threads
from pipeline.study import Study
from pipeline.transport import Answer

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def thread_of(study: Study, item: dict[str, Any], *pages: list[dict[str, Any]]) -> ThreadRecord:
    """Return the thread of a REST item and its pages of comments, by way of a payload."""
    answers = [json.dumps(part).encode() for part in (item, *pages)]
    payload = pack("thread", "GET", answers, found_by="", topics=["pytorch", "vision"])
    return read_threads(payload, study.sources["github"])[0]


def test_pitfall_35_the_hub4j_recording(shared: Path, study: Study) -> None:
    """50 recorded threads, 23 of them pull requests, come with all of their 227 comments."""
    folder = shared / "contracts/recordings/github/hub4j/AppTest_testIssueSearch/__files"
    documents = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    answers = [document["items"] for document in documents if "items" in document]
    items = list({item["node_id"]: item for answer in answers for item in answer}.values())
    lists = {
        page[0]["issue_url"]: page
        for page in documents
        if isinstance(page, list) and page and "issue_url" in page[0]
    }
    threads = [thread_of(study, item, lists.get(item["url"], [])) for item in items]
    assert len({thread.external_id for thread in threads}) == 50
    assert sum(thread.kind == "pull" for thread in threads) == 23
    assert sum(thread.n_posts - 1 for thread in threads) == 227
    assert all(thread.n_posts - 1 == item["comments"] for thread, item in zip(threads, items, strict=True))


def test_octokit_and_older_recordings_are_read(shared: Path) -> None:
    """Answers from 2014 on, with and without node ids and newer fields, all give hits."""
    folder = shared / "contracts/recordings/github"
    found = 0
    paths = [path for path in sorted(folder.rglob("*.json")) if path.parent.name != "official"]
    for path in paths:
        document = json.loads(path.read_text())
        for item in _items(document):
            if isinstance(item, dict) and isinstance(item.get("repository_url"), str):
                hit = read_hit(item)
                assert hit is not None, item["repository_url"]
                assert hit.created_at is not None
                found += 1
    assert found > 50


def _items(document: Any) -> list[Any]:
    if isinstance(document, list):
        return [
            item for part in document for item in ([part, *_items(part)] if isinstance(part, dict) else [])
        ]
    if isinstance(document, dict):
        return [
            item for value in document.values() if isinstance(value, list | dict) for item in _as_list(value)
        ]
    return []


def _as_list(value: Any) -> list[Any]:
    return [*value, *_items(value)] if isinstance(value, list) else [value, *_items(value)]


ITEM = {
    "id": 2**53 + 1,
    "node_id": "I_1",
    "number": 3,
    "title": "t",
    "html_url": "https://github.com/a/b/issues/3",
    "repository_url": "https://api.github.com/repos/a/b",
    "created_at": "2020-01-01T00:00:00Z",
    "updated_at": "2020-01-02T00:00:00Z",
    "closed_at": None,
    "comments": 1,
}


def test_missing_and_unknown_fields_are_tolerated(study: Study) -> None:
    """Pitfalls 22, 23, 29: no body, no author, ids beyond 2^53, a field that nobody knows."""
    comment = {
        "id": 2**63 - 1,
        "body": None,
        "user": None,
        "created_at": "2020-01-01T00:00:00Z",
        "minimized": {},
    }
    thread = thread_of(study, ITEM | {"search_type": "lexical", "user": None}, [comment])
    assert thread.posts[0].body == ""
    assert thread.author is None
    assert thread.posts[1].external_id == str(2**63 - 1)
    assert (thread.closed_at, thread.libraries, thread.tags) == (None, ("pytorch",), ("pytorch", "vision"))
    assert thread.url == "https://github.com/a/b/issues/3"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, "issue"),
        ({"pull_request": {"merged_at": None}}, "pull"),
        ({"pull_request": None, "html_url": "https://github.com/a/b/pull/3"}, "pull"),
    ],
)
def test_pull_requests_are_told_from_issues(change: dict[str, Any], kind: str) -> None:
    """Pitfall 3: a hit says by itself what it is, without another request."""
    hit = read_hit(ITEM | change)
    assert hit is not None
    assert (hit.kind, hit.external_id) == (kind, "a/b#3")


@pytest.mark.parametrize(
    "item",
    [{}, {"number": "3"}, ITEM | {"repository_url": "x", "html_url": "a b c"}, ITEM | {"number": None}],
)
def test_what_names_no_thread_is_no_hit(item: dict[str, Any]) -> None:
    """An item without number or repository is left out."""
    assert read_hit(item) is None


@pytest.mark.parametrize("name", ["a/b OR repo:c/d", "a", "a/b/c", "-a/b", 'a/"b"'])
def test_a_repository_name_that_could_change_a_query_is_refused(name: str) -> None:
    """A name is used in queries, so only what GitHub allows in names is taken."""
    assert read_repository({"id": 1, "full_name": name}) is None


def test_a_broken_payload_is_malformed(study: Study) -> None:
    """A payload without what a thread needs is an error that names it."""
    payload = Payload("threads", "POST", b'{"answers": [{"data": {"nodes": [{"number": 1, "id": "x"}]}}]}')
    with pytest.raises(Malformed, match="repository"):
        read_threads(payload, study.sources["github"])
    assert read_threads(Payload("search", "GET", b"{}"), study.sources["github"]) == ()


def test_a_thread_that_is_gone_keeps_its_identity(study: Study) -> None:
    """What is left of a thread names it and holds no text."""
    thread = gone_thread("a/b#3", "pull", "gone", study.sources["github"])
    assert (thread.url, thread.title, thread.posts) == ("https://github.com/a/b/pull/3", "", ())


def answer(status: int, message: str = "", **headers: str) -> Answer:
    """Return an answer with a message and headers, written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, json.dumps({"message": message}).encode())


AHEAD = str(int((NOW + timedelta(minutes=5)).timestamp()))
PAST = str(int((NOW - timedelta(minutes=5)).timestamp()))
SECONDARY = "You have exceeded a secondary rate limit. Please wait."


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (answer(403, "API rate limit exceeded", x_ratelimit_remaining="0", x_ratelimit_reset=AHEAD), 301),
        (answer(429, "API rate limit exceeded", x_ratelimit_remaining="0", x_ratelimit_reset=AHEAD), 301),
        (answer(403, "API rate limit exceeded", x_ratelimit_remaining="0", x_ratelimit_reset=PAST), None),
        (answer(403, SECONDARY, x_ratelimit_remaining="9", x_ratelimit_reset=AHEAD), None),
        (answer(403, SECONDARY, retry_after="30"), 30),
        (answer(200, SECONDARY), None),
        (answer(403, "You have triggered an abuse detection mechanism."), None),
        (answer(429, "slow down"), None),
        (answer(429, "slow down", retry_after="Thu, 01 Jan 2026 00:01:00 GMT"), 60),
    ],
)
def test_limits_are_recognised(given: Answer, seconds: int | None) -> None:
    """Pitfalls 12 to 16: primary and secondary limits, with and without a time that the server names."""
    limited = limit_of(given, NOW)
    assert limited is not None
    assert limited.until == (None if seconds is None else NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "given", [answer(403, "Resource not accessible"), answer(404, SECONDARY), answer(200)]
)
def test_other_refusals_are_no_limits(given: Answer) -> None:
    """A 403 without a word on limits is not waited for."""
    assert limit_of(given, NOW) is None


@pytest.mark.parametrize("minutes", [-120, -10, 10, 120])
def test_a_wrong_clock_does_not_matter(minutes: int) -> None:
    """Pitfall 12: where our clock is off, the server's own date says how long to wait."""
    servers = NOW + timedelta(minutes=minutes)
    date = servers.strftime("%a, %d %b %Y %H:%M:%S GMT")
    reset = str(int((servers + timedelta(seconds=40)).timestamp()))
    given = answer(403, x_ratelimit_remaining="0", x_ratelimit_reset=reset, date=date)
    assert reset_of(given, NOW) == NOW + timedelta(seconds=41)


@pytest.mark.parametrize("reset", ["", "soon", "9" * 30, "-1"])
def test_an_unreadable_reset_names_no_time(reset: str) -> None:
    """A reset that is no time, or far from any window, is not believed."""
    assert reset_of(answer(403, x_ratelimit_reset=reset), NOW) is None


@pytest.mark.parametrize(
    ("given", "error", "availability"),
    [
        (answer(401, "Bad credentials"), Unauthorized, None),
        (answer(404, "Not Found"), Gone, "gone"),
        (answer(410, "This issue was deleted"), Gone, "gone"),
        (answer(451, "Repository access blocked"), Gone, "gone"),
        (answer(403, "Resource not accessible"), Gone, "private"),
        (answer(422, "Query must include 'is:issue'"), Refused, None),
        (answer(422, "The listed users and repositories cannot be searched"), NoSuchRepositories, None),
        (answer(400, "The API version is not supported"), Refused, None),
    ],
)
def test_refusals_are_told_apart(given: Answer, error: type[SourceError], availability: str | None) -> None:
    """Who can do something about a refusal follows from its class."""
    found = refusal(given, "GET /x")
    assert type(found) is error
    assert getattr(found, "availability", None) == availability


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "RATE_LIMIT", "code": "graphql_rate_limit"}, "RATE_LIMIT"),
        ({"type": "RATE_LIMITED"}, "RATE_LIMITED"),
        ({"extensions": {"code": "graphql_rate_limit"}}, "GRAPHQL_RATE_LIMIT"),
        ({"message": "API rate limit exceeded for user"}, "RATE_LIMIT"),
        ({"message": "Something went wrong while executing your query. This may be"}, "TIMEOUT"),
        ({"type": "NOT_FOUND", "message": "Could not resolve"}, "NOT_FOUND"),
        ("odd", ""),
    ],
)
def test_graphql_errors_have_types(error: Any, kind: str) -> None:
    """Pitfall 15: both spellings, the code alone, and errors that only say it in words."""
    assert error_types([error]) == [kind]
    assert error_types(None) == []
