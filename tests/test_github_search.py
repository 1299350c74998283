"""Searches of GitHub: what is planned keeps its limits, and a walk loses nothing however much there is."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.sandbox.github_language import parse
from pipeline.sources.base import Entry, RepositoryRecord
from pipeline.sources.github_client import Reply
from pipeline.sources.github_planning import (
    CHARACTERS,
    FAMILIES,
    FIRST_DAY,
    Scope,
    Search,
    batches,
    halves,
)
from pipeline.sources.github_search import fetch_search
from pipeline.transport import Answer

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = datetime(2020, 3, 1, tzinfo=UTC)
TERMS = ("NaN", "INF")
ONE = Search("issue", (("1", "a/b"),), TERMS, Scope())
names = st.from_regex(r"[a-z][a-z0-9-]{0,38}/[a-zA-Z0-9._-]{1,60}", fullmatch=True)
scopes = st.sampled_from(
    [Scope(), Scope(until=DAY), Scope(DAY, NOW), Scope(updated_since=NOW), Scope(DAY, NOW, NOW)]
)


@example([f"a/{word}-{n}" for n in range(3) for word in ("OR", "NOT")], Scope(), "issue")
@given(st.lists(names, max_size=40, unique=True), scopes, st.sampled_from(FAMILIES))
def test_batches_keep_the_limits_and_cover_all(found: list[str], scope: Scope, family: str) -> None:
    """Pitfalls 2, 7: one family, at most five operators and 256 characters, every repository once."""
    pairs = [(str(n), name) for n, name in enumerate(found)]
    searches = list(batches(pairs, family, TERMS, scope, NOW))
    assert sorted(pair for search in searches for pair in search.repositories) == sorted(pairs)
    for search in searches:
        query = search.text(NOW)
        assert len(query) <= CHARACTERS or len(search.repositories) == 1
        assert len(re.findall(r"(?:^|[ (])(?:AND|OR|NOT)(?=[ )]|$)", query)) <= 5  # a name may be OR
        assert re.findall(r"is:(issue|pull-request)", query) == [family]


@given(st.lists(names, min_size=1, max_size=5, unique=True), scopes)
def test_pitfall_28_queries_mean_the_same_in_both_dialects(found: list[str], scope: Scope) -> None:
    """The sandbox's two readings of a planned query have the same qualifiers and alternatives."""
    for search in batches([("1", name) for name in found], "issue", TERMS, scope, NOW):
        legacy, advanced = (parse(search.text(NOW), advanced=mode) for mode in (False, True))
        assert {str(part) for part in legacy.scopes} == {str(part) for part in advanced.scopes}


def test_a_query_reads_as_the_contract_says() -> None:
    """The whole form, with days where a bound is a day."""
    scope = Scope(DAY, datetime(2020, 7, 31, 23, 59, 59, tzinfo=UTC), NOW)
    search = Search("pull-request", (("1", "a/b"), ("2", "c/d")), TERMS, scope)
    assert search.text(NOW) == (
        "(NaN OR INF) is:pull-request is:closed comments:>0 (repo:a/b OR repo:c/d)"
        " created:2020-03-01..2020-07-31 updated:>=2026-11-22T12:00:00Z"
    )
    assert Search.read(search.entry().parameters) == search


@pytest.mark.parametrize("terms", [(), ("NaN",), ("not a number", "NaN"), tuple("abcdefgh")])
def test_other_keywords_make_other_queries(terms: tuple[str, ...]) -> None:
    """One keyword needs no alternative, phrases are quoted, and many are asked in several searches."""
    pairs = [(str(n), f"a/{n}") for n in range(12)]
    searches = list(batches(pairs, "issue", terms, Scope(), NOW))
    assert {word for search in searches for word in search.terms} == set(terms)
    assert all(search.text(NOW).count(" OR ") <= 5 for search in searches)
    assert ('"not a number"' in searches[0].text(NOW)) == ("not a number" in terms)


@given(
    st.datetimes(datetime(2008, 1, 1), datetime(2020, 1, 1)),
    st.integers(0, 10**6),
    st.integers(2, 7),
)
def test_windows_split_without_gap_or_overlap(first: datetime, seconds: int, pieces: int) -> None:
    """Pitfall 4: neighbouring windows share no second and miss none."""
    since = first.replace(tzinfo=UTC, microsecond=0)
    until = since + timedelta(seconds=seconds)
    windows = halves(since, until, NOW, pieces)
    if seconds == 0:
        assert windows == []
        return
    assert (windows[0][0], windows[-1][1]) == (since, until)
    edges = itertools.pairwise(windows)
    assert all(after[0] - before[1] == timedelta(seconds=1) for before, after in edges)
    assert all(start <= end for start, end in windows)


class FakeGitHub:
    """Answers searches over threads created at given times, within GitHub's limits; `shuffled` lies."""

    has_token = True
    now = NOW

    def __init__(self, times: Sequence[datetime], shuffled: bool = False, short: bool = False) -> None:
        self.times = list(times)
        self.shuffled = shuffled
        self.short = short
        self.requests = 0
        self.chance = random.Random(1)

    def get(self, path: str, parameters: dict[str, str], is_expected: Any, resource: str) -> Reply:
        """Return one page."""
        self.requests += 1
        page = int(parameters["page"])
        assert page <= 10, "page 11 is refused"
        assert (parameters["sort"], parameters["order"]) == ("created", "asc")
        found = re.search(r"created:(\S+)\.\.(\S+)", parameters["q"])
        first, last = (_moment(found[1]), _moment(found[2], True)) if found else (FIRST_DAY, NOW)
        hits = sorted((time, n) for n, time in enumerate(self.times) if first <= time <= last)
        if self.shuffled:
            self.chance.shuffle(hits)
        items = [
            {
                "number": n + 1,
                "node_id": f"N{n}",
                "repository_url": "x/repos/a/b",
                "html_url": "https://github.com/a/b/issues/1",
                "created_at": time.isoformat(),
                "updated_at": time.isoformat(),
            }
            for time, n in hits[100 * (page - 1) : 100 * page]
        ]
        value = {
            "total_count": len(hits),
            "incomplete_results": False,
            "items": items[:-3] if self.short else items,
        }
        return Reply(parameters["q"], value, Answer(200, {}, b""))


def _moment(value: str, end: bool = False) -> datetime:
    moment = datetime.fromisoformat(value).replace(tzinfo=UTC)
    return moment + timedelta(days=1, seconds=-1) if end and len(value) == 10 else moment


LOOKUP = SimpleNamespace(known=lambda ids: {}, repositories=lambda: [RepositoryRecord("1", "a/b", ())])


def walk(client: FakeGitHub, search: Search = ONE) -> tuple[set[str], list[str]]:
    """Work off a search; return the threads found and what was marked as lost."""
    pending, found, lost = [search.entry()], set(), []
    while pending:
        entry = pending.pop()
        page = fetch_search(client, entry, LOOKUP)  # type: ignore[arg-type]
        result = page.results[0]
        found |= {new.key for new in page.found if new.kind == "thread"}
        pending += [new for new in page.found if new.kind == "search"]
        if result.state == "pending":
            pending.append(Entry("search", entry.key, entry.parameters, cursor=result.cursor))
        elif result.state == "truncated":
            lost.append(result.note or "")
    return found, lost


def minutes(count: int) -> list[datetime]:
    """Return times a minute apart."""
    return [DAY + timedelta(minutes=n) for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 999, 1000, 1001, 2500])
def test_pitfall_4_however_many_there_are_all_are_found(count: int) -> None:
    """Below, at and above the cap, the union is complete at about a request a hundred threads."""
    client = FakeGitHub(minutes(count))
    found, lost = walk(client)
    assert (len(found), lost) == (count, [])
    assert client.requests <= 1 + count / 99


@pytest.mark.parametrize("ties", [2, 99, 100, 101, 250, 1000])
@pytest.mark.parametrize("before", [0, 5, 100])
def test_many_threads_of_one_second_are_walked_by_page(ties: int, before: int) -> None:
    """Threads opened in the same second (a migration) are all found, and those around them."""
    start = DAY + timedelta(days=1)
    times = [*minutes(before), *[start] * ties, *[start + timedelta(seconds=1 + n) for n in range(120)]]
    found, lost = walk(FakeGitHub(times))
    assert (len(found), lost) == (len(times), [])


def test_pitfall_5_more_than_a_thousand_in_a_second_are_marked() -> None:
    """What no query can reach is said, and the rest is found."""
    start = DAY + timedelta(days=1)
    times = [*minutes(50), *[start] * 1300, *[start + timedelta(seconds=9 + n) for n in range(150)]]
    found, lost = walk(FakeGitHub(times))
    assert len(found) == len(times) - 300
    assert lost == ["300 threads of one second (2020-03-02T00:00:00Z) are out of reach"]


@pytest.mark.parametrize("count", [100, 101, 1500])
def test_pitfall_11_hits_in_no_order_are_found_in_smaller_windows(count: int) -> None:
    """A service that ignores the order asked for still gives everything."""
    found, lost = walk(FakeGitHub(minutes(count), shuffled=True))
    assert (len(found), lost) == (count, [])


@given(st.lists(st.integers(0, 400), max_size=700), st.booleans())
def test_a_walk_finds_every_thread(offsets: list[int], shuffled: bool) -> None:
    """Whatever the times, however they tie, and whether or not the service keeps an order."""
    times = [DAY + timedelta(seconds=offset) for offset in offsets]
    found, lost = walk(FakeGitHub(times, shuffled))
    assert len(found) == len(times) or lost


def test_a_window_bounds_the_walk() -> None:
    """A walk within a window ends at its last second."""
    scope = Scope(DAY + timedelta(minutes=10), DAY + timedelta(minutes=499))
    found, lost = walk(FakeGitHub(minutes(1000)), Search("issue", (("1", "a/b"),), TERMS, scope))
    assert (len(found), lost) == (490, [])
