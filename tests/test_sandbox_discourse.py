"""The sandbox refuses and serves what a live Discourse forum does."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.discourse import DiscourseService
from pipeline.sandbox.server import Request, Response
from pipeline.sandbox.world import World, generate_world, load_world

LONG = 57799  # a topic of 57 posts, its answer the 56th
QUERY = "in:first%20%60"  # hits every topic: an empty list of words
LONG_SLUG = "month-long-hunt-nan-on-one-machine"
CREATED = "order=created&ascending=true"


def service(world: World | None = None, **options: Any) -> DiscourseService:
    """Return a forum over the small world, at an address of its own."""
    return DiscourseService(world or load_world(), VirtualClock(), base_url="http://forum", **options)


def send(to: DiscourseService, url: str) -> Response:
    """Return the answer to a GET of a path with its query."""
    parts = urlsplit(url)
    query = parse_qs(parts.query, keep_blank_values=True)
    return to.answer(Request("GET", parts.path, query, {}, b"", "127.0.0.1"))


def ask(to: DiscourseService, url: str) -> dict[str, Any]:
    """Return the JSON that a good answer holds."""
    response = send(to, url)
    assert response.status == 200, response.body
    return dict(json.loads(response.body))


def rows(to: DiscourseService, url: str) -> list[dict[str, Any]]:
    """Return the topics of a list."""
    return list(ask(to, url)["topic_list"]["topics"])


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/t/999999.json", 404),
        ("/no/such/page.json", 404),
        ("/latest.json?sort=created", 400),
        ("/latest.json?order=newest", 400),
        ("/latest.json?page=x", 400),
        ("/latest.json?per_page=1000", 400),
        (f"/t/{LONG}.json?raw=1", 400),
        (f"/t/{LONG}.json?print=true", 422),
        ("/search.json?q=na", 400),
        ("/search.json?q=nan%20sort:latest", 400),
        ("/filter.json?q=is:solved", 400),
    ],
)
def test_what_is_not_understood_is_refused(url: str, status: int) -> None:
    """Unknown parameters, orders and operators are errors with a message in JSON."""
    response = send(service(), url)
    assert response.status == status
    assert json.loads(response.body)["errors"]


def test_robots_disallows_search() -> None:
    """The default robots.txt lets lists and topics be read, and search not."""
    assert b"\nDisallow: /search\n" in send(service(), "/robots.txt").body


def test_pages_end_where_more_topics_url_is_missing() -> None:
    """Thirty rows a page unless the server honours `per_page`; the last page names no next one."""
    world = generate_world(65)
    for options, sizes in (({}, [30, 30, 5]), ({"honour_per_page": True}, [50, 15])):
        to, url, seen = service(world, **options), f"/latest.json?{CREATED}&per_page=50", []
        while url:
            listed = ask(to, url)["topic_list"]
            seen.append(len(listed["topics"]))
            more = listed.get("more_topics_url")
            url = more and more.replace("/latest?", "/latest.json?")
        assert seen == sizes


def test_solved_lists_exactly_the_topics_with_an_accepted_answer() -> None:
    """`solved=yes` filters, unless the plugin is missing: then it is ignored."""
    query = f"/latest.json?solved=yes&{CREATED}"
    assert all(row["has_accepted_answer"] for row in rows(service(), query))
    assert not all(row["has_accepted_answer"] for row in rows(service(honour_solved=False), query))


def test_pinned_topics_head_the_default_order_only() -> None:
    """The default order begins with pinned topics, `order=created` does not."""
    to = service(pinned=frozenset((412,)))
    assert rows(to, "/latest.json")[0]["id"] == 412
    assert rows(to, "/latest.json?order=created")[0]["id"] == 118000


def test_a_bump_moves_a_topic_in_the_default_order() -> None:
    """A topic with a new post comes first, so rows move while somebody pages."""
    to = service()
    topic = to.world.threads_of("discourse")[0]
    bumped = replace(topic, updated_at=topic.updated_at + timedelta(days=9999))
    to.world = to.world.with_thread(bumped)
    assert rows(to, "/latest.json")[0]["id"] == topic.id
    assert rows(to, f"/latest.json?{CREATED}")[0]["id"] == topic.id


def test_a_topic_comes_in_twenties_and_its_stream_whole() -> None:
    """The first page has 20 posts and all ids; the rest is asked for by id, missing ids dropped."""
    to = service()
    topic = ask(to, f"/t/{LONG}.json")
    stream = topic["post_stream"]["stream"]
    assert (len(topic["post_stream"]["posts"]), len(stream)) == (20, 57)
    assert "suggested_topics" not in topic
    wanted = "&".join(f"post_ids[]={id}" for id in [*stream[40:], 1])
    rest = ask(to, f"/t/{LONG}/posts.json?{wanted}")["post_stream"]["posts"]
    assert [post["id"] for post in rest] == stream[40:]


def test_a_url_with_a_post_number_gives_the_page_of_that_post() -> None:
    """`/t/SLUG/ID/41.json` begins with the posts around the 41st, not with the first."""
    posts = ask(service(), f"/t/{LONG_SLUG}/{LONG}/41.json")["post_stream"]["posts"]
    assert posts[0]["post_number"] == 41


@pytest.mark.parametrize(
    ("url", "target"),
    [
        (f"/t/wrong/{LONG}.json?include_raw=1&track_visit=1", f"/t/{LONG_SLUG}/{LONG}.json?include_raw=1"),
        (f"/t/{LONG}.json?page=9", f"/t/{LONG_SLUG}/{LONG}.json?page=3"),
        (f"/t/{LONG_SLUG}.json", f"/t/{LONG_SLUG}/{LONG}.json"),
        ("/c/wrong/1/l/latest.json?page=1", "/c/uncategorized/1/l/latest.json?page=1"),
    ],
)
def test_wrong_slugs_and_pages_past_the_end_redirect(url: str, target: str) -> None:
    """A wrong slug, a slug without id and a page past the end are 301 to the right place."""
    response = send(service(), url)
    assert (response.status, response.headers["Location"]) == (301, f"http://forum{target}")


@pytest.mark.parametrize(
    ("shape", "keys"),
    [("dict", {"accepted_answer"}), ("list", {"accepted_answers"}), ("post", set())],
)
def test_the_accepted_answer_has_three_shapes(shape: str, keys: set[str]) -> None:
    """Each generation marks the post, and the topic in its own way, beyond the first twenty posts too."""
    to = service(accepted=shape)
    topic = ask(to, f"/t/{LONG}.json")
    assert {key for key in topic if key.startswith("accepted")} == keys
    stream = topic["post_stream"]["stream"]
    (post,) = ask(to, f"/t/{LONG}/posts.json?post_ids[]={stream[55]}")["post_stream"]["posts"]
    assert post["accepted_answer"]


@pytest.mark.parametrize("value", ["true", "false", ""])
def test_any_value_of_include_raw_switches_it_on(value: str) -> None:
    """Even `false` gives the Markdown, except of a hidden post."""
    posts = ask(service(), f"/t/55550.json?include_raw={value}")["post_stream"]["posts"]
    assert ["raw" in post for post in posts] == [True, False, True]
    assert "raw" not in ask(service(), "/t/55550.json")["post_stream"]["posts"][0]


def test_small_actions_are_in_the_stream_and_not_counted() -> None:
    """A closing note has its own post type and is not one of the posts that are counted."""
    topic = ask(service(), "/t/75001.json")
    assert [post["post_type"] for post in topic["post_stream"]["posts"]] == [1, 1, 3]
    assert topic["posts_count"] == 2


def test_last_posted_at_is_null_without_replies() -> None:
    """A topic that nobody answered has no time of its last reply."""
    assert {row["id"]: row["last_posted_at"] for row in rows(service(), "/latest.json")}[80808] is None


@pytest.mark.parametrize("status", [403, 404, 410])
def test_withheld_topics_have_their_status(status: int) -> None:
    """Private, missing and deleted topics are told apart."""
    assert send(service(withheld={LONG: status}), f"/t/{LONG}.json").status == status


def test_both_windows_limit_with_plain_text() -> None:
    """The 51st request in ten seconds and the 201st in a minute are refused with a code and a wait."""
    to = service()
    assert [send(to, "/robots.txt").status for _ in range(51)] == [200] * 50 + [429]
    refused = send(to, "/robots.txt")
    assert refused.headers["Discourse-Rate-Limit-Error-Code"] == "ip_10_secs_limit"
    assert refused.headers["Retry-After"] == "10"
    assert refused.headers["Content-Type"] == "text/plain"
    to = service(per_ten_seconds=None)
    assert [send(to, "/robots.txt").status for _ in range(201)][-1] == 429
    to.clock.sleep(60)
    assert send(to, "/robots.txt").status == 200


def test_search_has_its_own_limit_without_a_hint() -> None:
    """The sixteenth search in a minute is refused in JSON that names no wait."""
    to = service()
    response = [send(to, "/search.json?q=nan") for _ in range(16)][-1]
    assert response.status == 429
    assert "Retry-After" not in response.headers
    assert "extras" not in json.loads(response.body)


def test_search_matches_prefixes() -> None:
    """`inf` finds info and inference, `nan` finds nano, and `isnan` is found by neither."""
    to = service()
    assert 39999 in {topic["id"] for topic in ask(to, "/search.json?q=inf")["topics"]}
    assert 39999 in {topic["id"] for topic in ask(to, "/search.json?q=nan")["topics"]}
    assert 46001 not in {topic["id"] for topic in ask(to, "/search.json?q=nan")["topics"]}


def test_search_without_hits_has_no_topics_key() -> None:
    """An empty result leaves the key out."""
    assert "topics" not in ask(service(), "/search.json?q=zebra")


@pytest.mark.parametrize("overflow", ["error", "first"])
def test_search_ends_after_ten_pages_of_fifty(overflow: str) -> None:
    """Page 11 is an error, or page 1 again."""
    to = service(generate_world(600), search_overflow=overflow, searches_per_minute=None)
    last = ask(to, f"/search.json?q={QUERY}&page=10") if overflow == "first" else None
    eleventh = send(to, f"/search.json?q={QUERY}&page=11")
    assert eleventh.status == (200 if last else 400)
    if last:
        assert len(last["topics"]) == 50
        assert json.loads(eleventh.body) == ask(to, f"/search.json?q={QUERY}&page=1")


def test_an_overloaded_search_is_an_empty_success() -> None:
    """Overload is a 200 with an error inside and no topics."""
    body = ask(service(search_overloaded=True), "/search.json?q=nan")
    assert body["grouped_search_result"]["error"]
    assert "topics" not in body


def test_filter_selects_by_day_and_solution() -> None:
    """`/filter.json` takes inclusive days of creation and lists oldest first when asked."""
    url = "/filter.json?q=status:solved%20created-after:2019-01-01%20created-before:2019-03-01"
    assert [row["id"] for row in rows(service(), f"{url}%20order:created-asc")] == [34960, 38221]
