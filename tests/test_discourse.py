"""A Discourse forum is crawled whole, politely, and whatever revision of the program it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from db.crawls import FrontierEntry, RawPayload
from db.engine import Database
from db.errors import StoppedEarly
from pipeline.crawl import crawl_source
from pipeline.errors import Malformed, QuotaExhausted, Refused, Unreachable
from pipeline.records import ThreadRecord
from pipeline.sandbox import faults
from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.discourse import DiscourseService
from pipeline.sandbox.discourse_answers import application_limit, middleware_limit
from pipeline.sandbox.server import Request, Response
from pipeline.sandbox.world import WorldPost, WorldThread
from pipeline.settings import Settings
from pipeline.sources import open_source
from pipeline.sources.base import Payload, Window
from pipeline.sources.discourse import Discourse
from pipeline.sources.discourse_records import missing_posts, to_rows
from pipeline.sources.discourse_robots import read_robots
from pipeline.study import SourceSettings
from pipeline.transport import Transport
from tests.posts_rig import Dying, Killed, PostsRig, Watcher, die_at_random_points, rigs, world

START = datetime(2018, 1, 1, tzinfo=UTC)
GENERATIONS = ("dict", "list", "post")


def topic(number: int, replies: int = 2, accepted: int | None = 2, **facts: Any) -> WorldThread:
    """Return a topic whose post `accepted` (its number) is the accepted answer."""
    created = START + timedelta(hours=number)
    posts = tuple(
        WorldPost(
            number * 1000 + at,
            f"user{at}",
            created + timedelta(minutes=at),
            f"NaN, post {at}",
            accepted=at == accepted,
        )
        for at in range(1, replies + 2)
    )
    values: dict[str, Any] = {
        "title": f"Loss is nan, topic {number}",
        "created_at": created,
        "updated_at": posts[-1].created_at,
        "posts": posts,
        "tags": ("autograd",),
    }
    return WorldThread("discourse", number, number, "topic", **(values | facts))


@dataclass
class Rig(PostsRig):
    """A sandboxed forum; see `PostsRig`."""

    pace: float = 0.0

    def open(self, max_wait: float | None = None) -> tuple[Discourse, Transport]:
        """Open the source as a new process would."""
        settings = self.settings_here("pytorch-forums")
        transport = Transport("pytorch-forums", self.watcher, self.clock, self.pace, max_wait)
        return cast(Discourse, open_source("pytorch-forums", settings, transport)), transport


MakeRig = Callable[..., Rig]


@pytest.fixture
def rig(database: Database, settings: Settings) -> Iterator[MakeRig]:
    """Make rigs over worlds; they are stopped at the end."""
    service = partial(DiscourseService, per_ten_seconds=None, per_minute=None)
    with rigs(Rig, service, database, settings) as make:
        yield make


def test_solved_topics_are_stored_with_their_posts(rig: MakeRig) -> None:
    """A crawl brings the solved topics alone, each with raw text, accepted post, library and link."""
    made = rig(world(topic(5), topic(6, accepted=None)))
    made.crawl()
    assert made.ids() == {5}
    thread = made.thread(5)
    assert thread.url == "https://discuss.pytorch.org/t/loss-is-nan-topic-5/5"
    assert (thread.kind, thread.libraries, thread.accepted, thread.n_posts) == ("topic", ["pytorch"], True, 3)
    assert [post.role for post in thread.posts] == ["opening", "reply", "reply"]
    assert [post.accepted for post in thread.posts] == [False, True, False]
    assert {post.body_format for post in thread.posts} == {"markdown"}
    assert thread.candidate
    assert thread.tags == ["autograd"]


@pytest.mark.parametrize("posts", [1, 20, 21, 40, 41, 243])
def test_a_topic_is_whole_and_in_order(rig: MakeRig, posts: int) -> None:
    """A topic of any length comes with all its posts, in their order, the rest of them in twenties."""
    made = rig(world(topic(5, replies=posts - 1, accepted=posts)))
    requests = made.crawl()
    thread = made.thread(5)
    assert [post.external_id for post in thread.posts] == [str(5000 + at) for at in range(1, posts + 1)]
    assert thread.posts[-1].accepted
    assert requests == 3 + -(-max(0, posts - 20) // 20)  # robots.txt, the list, the topic, the rest
    assert all(len(request.query.get("post_ids[]", [])) <= 20 for request in made.server.log)
    assert all(post.body_format == "markdown" for post in thread.posts)


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("number", [2, 35])
def test_the_accepted_answer_is_found_in_each_generation(rig: MakeRig, generation: str, number: int) -> None:
    """The accepted post is marked, on the first page of the topic or beyond, whichever field says so."""
    made = rig(world(topic(5, replies=40, accepted=number)), accepted=generation)
    made.crawl()
    thread = made.thread(5)
    assert thread.accepted
    assert [post.external_id for post in thread.posts if post.accepted] == [str(5000 + number)]


@pytest.mark.parametrize(
    "claim",
    [
        {"accepted_answer": {"post_number": 9, "username": "x"}},
        {"accepted_answers": [{"id": 77, "post_number": 9}]},
        {"has_accepted_answer": True},
        {"accepted_answer": {"post_number": None}},
    ],
)
def test_an_accepted_post_that_was_deleted_leaves_a_solved_topic(settings: Settings, claim: Any) -> None:
    """A topic that claims an answer that is not to be had is solved, and none of its posts is marked."""
    (thread,) = parse({"id": 5, "post_stream": {"posts": [{"id": 1, "post_number": 1}]}} | claim, settings)
    assert thread.accepted
    assert not any(post.accepted for post in thread.posts)


@pytest.mark.parametrize("per_page", [True, False])
def test_the_list_is_read_to_its_end(rig: MakeRig, per_page: bool) -> None:
    """Pages of 100, or of 30 where the forum knows better, bring every solved topic once."""
    made = rig(world(*(topic(n) for n in range(1, 126))), honour_per_page=per_page)
    requests = made.crawl()
    assert made.ids() == set(range(1, 126))
    assert requests == 1 + (2 if per_page else 5) + 125
    assert requests <= 125 * 1.06


def test_a_forum_that_ignores_solved_is_noticed(rig: MakeRig) -> None:
    """Rows that are not solved are sorted out, and the crawl says that it had to."""
    topics = {n: topic(n, accepted=2 if n % 2 else None) for n in range(1, 62)}
    made = rig(world(*topics.values(), topic(63)), honour_solved=False)
    made.crawl()
    assert made.ids() == set(range(1, 64, 2))
    assert "ignores solved" in str(note_of(made, "list"))
    made.service.world = world(*(topics | {5: topic(5, accepted=None)}).values(), topic(63))
    made.clock.sleep(86_400)
    made.crawl()
    assert not made.thread(5).accepted


def test_a_forum_without_accepted_answers_is_no_source(rig: MakeRig) -> None:
    """A list that does not say what is solved ends the crawl loudly."""
    made = rig(world(topic(5)))
    rows = {"topic_list": {"topics": [{"id": 5, "created_at": "2018-01-01T00:00:00Z"}]}}
    made.server.faults.append(faults.fault(faults.json_response(200, rows), matches=faults.path("latest")))
    with pytest.raises(Refused, match="does not say"):
        made.crawl()


def test_a_bump_between_list_pages_moves_nothing(rig: MakeRig) -> None:
    """A topic that is bumped while the list is read is neither lost nor doubled; nor is a pinned one."""
    topics = [topic(n) for n in range(1, 71)]
    made = rig(world(*topics), pinned=frozenset((3, 60)))

    def bump(request: Request) -> None:
        later = replace(topics[9], updated_at=made.clock.now())
        made.service.world = world(*(later if t.id == later.id else t for t in topics))

    second_page = lambda request: request.one("page") == "1" and request.path == "/latest.json"  # noqa: E731
    made.server.faults.append(faults.Fault(second_page, bump))
    made.crawl()
    assert made.ids() == set(range(1, 71))
    assert max(made.server.counts[f"/t/{n}.json"] for n in range(1, 71)) == 1


def test_a_pinned_topic_on_every_page_is_fetched_once(settings: Settings) -> None:
    """A row that heads each page is one topic, and does not confuse where the list stands."""
    pinned = {"id": 1, "created_at": "2022-01-01T00:00:00Z", "pinned": True, "has_accepted_answer": True}
    others = [
        {
            "id": n,
            "created_at": f"2018-01-0{n}T00:00:00Z",
            "last_posted_at": None,
            "has_accepted_answer": True,
        }
        for n in (2, 3)
    ]
    rows, has_more = to_rows(
        {"topic_list": {"topics": [pinned, *others], "more_topics_url": "/latest?page=1"}}
    )
    assert has_more
    assert [row.is_pinned for row in rows] == [True, False, False]
    assert rows[1].bumped_at == datetime(2018, 1, 2, tzinfo=UTC)


def test_the_same_page_for_ever_ends(rig: MakeRig) -> None:
    """A list that gives its first page again and again is left, and marked as truncated."""
    made = rig(world(topic(5)))
    row = {"id": 5, "created_at": "2018-01-01T05:00:00Z", "has_accepted_answer": True}
    page = {"topic_list": {"topics": [row], "more_topics_url": "/latest?page=1"}}
    made.server.faults.append(
        faults.for_ever(faults.fault(faults.json_response(200, page), matches=faults.path("latest")))
    )
    made.crawl()
    assert made.ids() == {5}
    assert "same page" in str(note_of(made, "list"))


@pytest.mark.parametrize(("status", "availability"), [(403, "private"), (404, "gone"), (410, "gone")])
def test_a_topic_that_is_not_to_be_had_is_recorded_once(rig: MakeRig, status: int, availability: str) -> None:
    """403, 404 and 410 are asked once, recorded, and blank the text of a topic that was stored."""
    made = rig(world(topic(5), topic(6)), withheld={6: status})
    made.crawl()
    assert made.ids() == {5}
    assert made.server.counts["/t/6.json"] == 1
    assert str(note_of(made, "topic", "6")).startswith(f"{availability}: ")
    made.service.withheld = {5: status}
    made.service.world = world(topic(6))
    made.clock.sleep(86_400)
    made.crawl()
    assert made.thread(5).availability == availability
    assert made.thread(5).posts == []
    assert made.thread(5).url == "https://discuss.pytorch.org/t/loss-is-nan-topic-5/5"


@pytest.mark.parametrize(
    ("limit", "wait"),
    [
        (middleware_limit(33, "ip_60_secs_limit"), 33.0),
        (application_limit(44), 44.0),
        (faults.json_response(429, {"message": "slow down", "failed": "FAILED"}), 0.0),
        (Response(429, b"", {}), 0.0),
    ],
)
def test_each_limit_is_waited_for(rig: MakeRig, limit: Response, wait: float) -> None:
    """Both shapes of a 429 are honoured to the second; one without a hint waits a default."""
    made = rig(world(topic(5)))
    made.server.faults.append(faults.fault(limit, after=2))
    made.crawl()
    assert made.ids() == {5}
    assert made.clock.slept == pytest.approx(wait, abs=0.1)


def test_a_limit_without_a_hint_waits_ten_seconds(rig: MakeRig) -> None:
    """At the usual pace a 429 is followed by ten seconds at least, whatever the forum names."""
    made = rig(world(topic(5)))
    made.pace = 1.0
    made.server.faults.append(faults.fault(faults.json_response(429, {"message": "x"}), after=1))
    made.server.faults.append(faults.fault(application_limit(2), after=2))
    made.crawl()
    assert 20 <= made.clock.slept <= 35


def test_the_default_limits_are_not_met(rig: MakeRig) -> None:
    """At the usual pace the crawl stays below the forum's limits and is never told to wait."""
    made = rig(world(*(topic(n) for n in range(1, 70))), per_ten_seconds=50, per_minute=200)
    made.pace = 1.0
    made.crawl()
    assert made.server.requests == 1 + 3 + 69
    assert made.watcher.waits == []


def test_a_long_wait_stops_the_crawl(rig: MakeRig) -> None:
    """With --max-wait a wait that the forum names is a stop, and a rerun goes on."""
    made = rig(world(*(topic(n) for n in range(1, 6))))
    made.server.faults.append(faults.fault(application_limit(3000), after=4))
    with pytest.raises(QuotaExhausted):
        made.crawl(max_wait=60)
    assert made.ids() == {1, 2}
    made.crawl(max_wait=60)
    assert made.ids() == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("fault", "after"),
    [
        (faults.server_error(502), 0),
        (faults.server_error(502), 1),
        (faults.html_success(), 1),
        (faults.truncated_json(), 2),
        (faults.cut_short(), 2),
        (faults.drop(), 0),
        (faults.drop(), 3),
    ],
)
def test_a_fault_is_asked_again(rig: MakeRig, fault: Any, after: int) -> None:
    """Whatever comes instead of an answer, the crawl ends with everything."""
    made = rig(world(*(topic(n) for n in range(1, 5))))
    made.server.faults.append(replace(fault, after=after))
    made.crawl()
    assert made.ids() == {1, 2, 3, 4}


@pytest.mark.parametrize("fault", [faults.gzip_bomb(), faults.deep_json()])
def test_a_bomb_is_left_out(rig: MakeRig, fault: Any) -> None:
    """A topic that is too large or too deep is asked for once, marked, and ends no crawl; a list ends it."""
    made = rig(world(topic(5), topic(6)))
    made.server.faults.append(faults.for_ever(replace(fault, matches=faults.path("/t/5"))))
    made.crawl()
    assert made.server.counts["/t/5.json"] == 1
    assert made.ids() == {6}
    assert str(note_of(made, "topic", "5")).startswith("left out: ")
    made.server.faults.append(faults.for_ever(replace(fault, matches=faults.path("latest"))))
    with pytest.raises(Malformed):
        made.crawl(Window(until=START + timedelta(days=9)))


def test_a_topic_that_is_broken_for_ever_is_put_aside(rig: MakeRig) -> None:
    """A 500 of one topic keeps no other topic from coming, and the crawl ends with work left."""
    made = rig(world(*map(topic, range(1, 6))))
    broken = faults.for_ever(faults.server_error(500, matches=faults.path("/t/1.json")))
    made.server.faults.append(broken)
    for _ in range(2):
        with pytest.raises(StoppedEarly, match=r"but 1 thread that failed; .*/t/1\.json: HTTP 500"):
            made.crawl()
        assert made.ids() == {2, 3, 4, 5}
    broken.times = 0
    made.crawl()
    assert made.ids() == {1, 2, 3, 4, 5}


def test_a_dead_forum_is_unreachable(rig: MakeRig) -> None:
    """A forum that answers nothing ends in one error that says so."""
    made = rig(world(topic(5)))
    made.server.stop()
    with pytest.raises(Unreachable, match="pytorch-forums"):
        source, transport = made.open()
        crawl_source(made.database, made.settings.study, source, Window(), transport)


def test_redirects_are_followed_within_the_forum(rig: MakeRig) -> None:
    """A topic is reached by its slug and by redirects, never outside the forum, and never in a loop."""
    made = rig(world(topic(5), topic(6), topic(7), topic(8)))
    here = {"Location": "/t/loss-is-nan-topic-6/6"}
    made.server.faults += [
        faults.fault(Response(301, b"", here), matches=faults.path("/t/6.json")),
        faults.for_ever(faults.redirect("https://example.org/t/x/7", matches=faults.path("/t/7.json"))),
        faults.for_ever(faults.redirect("/t/8.json", matches=faults.path("/t/8.json"))),
        faults.for_ever(faults.redirect("/login", 302, matches=faults.path("/t/9.json"))),
    ]
    states = made.hydrate(
        "https://discuss.pytorch.org/t/loss-is-nan-topic-5",
        "https://discuss.pytorch.org/t/other-slug/6/3",
        "https://discuss.pytorch.org/t/x/7",
        "https://discuss.pytorch.org/t/x/8",
        "https://discuss.pytorch.org/t/x/9",
        "https://discuss.pytorch.org/t/no-such-topic",
    )
    assert made.ids() == {5, 6}
    assert {key: (state, (note or "").split(":")[0]) for key, (state, note) in states.items()} == {
        "slug:loss-is-nan-topic-5": ("done", ""),
        "6": ("done", ""),
        "7": ("gone", "moved"),
        "8": ("gone", "moved"),
        "9": ("gone", "private"),
        "slug:no-such-topic": ("gone", "gone"),
    }


def test_a_topic_merged_into_another_has_moved(rig: MakeRig) -> None:
    """A topic whose URL leads to another topic is not taken for that other one."""
    made = rig(world(topic(5), topic(6)))
    there = faults.redirect("/t/loss-is-nan-topic-6/6", matches=faults.path("/t/5.json"))
    made.server.faults.append(faults.for_ever(there))
    states = made.hydrate("https://discuss.pytorch.org/t/x/5")
    assert states["5"][0] == "gone"
    assert str(states["5"][1]).startswith("moved: ")
    assert made.ids() == set()


def test_hidden_posts_and_small_actions(rig: MakeRig) -> None:
    """A hidden post has no text, a small action is no post, and neither is lost count of."""
    asked = topic(5, replies=4, accepted=2)
    posts = list(asked.posts)
    posts[2] = replace(posts[2], hidden=True)
    posts[3] = replace(posts[3], small_action=True, body="")
    made = rig(world(replace(asked, posts=tuple(posts))))
    made.crawl()
    thread = made.thread(5)
    assert [post.external_id for post in thread.posts] == ["5001", "5002", "5003", "5005"]
    assert thread.n_posts == 4
    assert (thread.posts[2].body, thread.posts[2].body_format) == ("", "html")


def test_text_without_markdown_is_html(settings: Settings) -> None:
    """A post whose raw text is withheld is kept as it is shown, and a deleted one is left out."""
    posts = [
        {"id": 1, "post_number": 1, "cooked": "<p>nan</p>", "username": "ann"},
        {"id": 2, "post_number": 2, "cooked": "<p>x</p>", "deleted_at": "2018-01-01T00:00:00Z"},
        {"id": 3, "post_number": 3, "cooked": "", "post_type": 4},
    ]
    (thread,) = parse({"id": 5, "title": "t", "post_stream": {"posts": posts}}, settings)
    assert [(post.body, post.body_format, post.author) for post in thread.posts] == [
        ("<p>nan</p>", "html", "ann")
    ]


def test_robots_txt_is_read_once_a_run_and_obeyed(rig: MakeRig) -> None:
    """What robots.txt forbids is not asked; a forum without one forbids nothing."""
    made = rig(world(topic(5)), robots="User-agent: *\nDisallow: /latest\n")
    with pytest.raises(Refused, match="robots"):
        made.crawl()
    assert made.server.requests == 1
    made.service.robots = "User-agent: *\nDisallow: /t/\nAllow: /t/5\nDisallow: /search\n"
    made.crawl()
    assert made.ids() == {5}
    assert made.server.counts["/robots.txt"] == 2
    made.server.faults.append(faults.fault(Response(404), matches=faults.path("robots")))
    made.crawl(Window(until=START + timedelta(days=3)))


def test_the_crawl_delay_is_kept_whatever_the_pace(rig: MakeRig) -> None:
    """A Crawl-delay is a wait that the forum names."""
    made = rig(world(topic(5)), robots="User-agent: *\nCrawl-delay: 7\n")
    made.crawl()
    assert made.clock.slept == pytest.approx(14, abs=0.1)  # before each request but the one for robots.txt


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("", "/t/1.json", True),
        ("User-agent: *\nDisallow: /", "/t/1.json", False),
        ("User-agent: *\nDisallow:", "/t/1.json", True),
        ("User-agent: *\nDisallow: /search", "/search.json?q=nan", False),
        ("User-agent: *\nDisallow: /search", "/latest.json", True),
        ("User-agent: *\nAllow: /t/\nDisallow: /", "/t/1.json", True),
        ("User-agent: *\nDisallow: /\nAllow: /t/", "/t/1.json", True),
        ("User-agent: *\nDisallow: /t/\nAllow: /t/", "/t/1.json", True),
        ("User-agent: *\nDisallow: /*?*solved", "/latest.json?solved=yes", False),
        ("User-agent: *\nDisallow: /t/*.rss$", "/t/1.rss?x", True),
        ("User-agent: *\nDisallow: /t/*.rss$", "/t/1.rss", False),
        ("User-agent: *\nDisallow: /t$", "/t", False),
        ("User-agent: *\nDisallow: /t$", "/t/1", True),
        ("User-agent: nanmine\nAllow: /\n\nUser-agent: *\nDisallow: /", "/t/1.json", True),
        ("User-agent: NanMine\nDisallow: /t/ # no\n\nUser-agent: *\nDisallow:", "/t/1.json", False),
        ("User-agent: other\nUser-agent: *\nDisallow: /t/", "/t/1.json", False),
        ("User-agent: other\nDisallow: /", "/t/1.json", True),
    ],
)
def test_robots_txt_is_read_as_its_author_meant_it(text: str, path: str, allowed: bool) -> None:
    """The longest rule that matches wins, wildcards count, and a group that names us comes before `*`."""
    assert read_robots(text, "nanmine/0.1").allows(path) is allowed


@given(st.text(max_size=200), st.text(max_size=50))
def test_any_robots_txt_can_be_read(text: str, path: str) -> None:
    """No text makes the reader fail."""
    read_robots(text, "nanmine/0.1").allows(f"/{path}")


def test_a_second_crawl_of_an_unchanged_forum_changes_nothing(rig: MakeRig) -> None:
    """A later crawl reads the list alone: less than a tenth of the requests, and no row."""
    made = rig(world(*(topic(n) for n in range(1, 71))))
    first = made.crawl()
    before, payloads = made.rows(), made.count(RawPayload)
    made.clock.sleep(86_400)
    second = made.crawl()
    assert (second, made.rows(), made.count(RawPayload)) == (4, before, payloads)
    assert second <= first / 10


def test_what_was_bumped_solved_unsolved_or_deleted_is_noticed(rig: MakeRig) -> None:
    """A later crawl fetches exactly the topics that the list shows as changed, or no longer shows."""
    topics = {n: topic(n) for n in range(1, 71)}
    made = rig(world(*(topics | {9: topic(9, accepted=None)}).values()))
    made.crawl()
    made.clock.sleep(86_400)
    topics[7] = replace(
        topics[7],
        posts=(*topics[7].posts, WorldPost(7999, "late", made.clock.now(), "Still inf.")),
        updated_at=made.clock.now(),
    )
    topics[8] = topic(8, accepted=None)
    del topics[31]
    made.service.world = world(*topics.values())
    requests = made.crawl()
    assert requests == 4 + 4
    assert made.thread(7).n_posts == 4
    assert (made.thread(8).accepted, made.thread(8).availability) == (False, "present")
    assert made.thread(9).accepted
    assert made.thread(31).availability == "gone"
    made.clock.sleep(86_400)
    assert made.crawl() == 4


def test_the_window_is_on_the_creation_of_the_topic(rig: MakeRig) -> None:
    """Topics created at the bounds are in, and the list is left where the bounds end."""
    made = rig(world(*(topic(n) for n in range(1, 201))))
    requests = made.crawl(Window(since=START + timedelta(hours=40), until=START + timedelta(hours=45)))
    assert made.ids() == {40, 41, 42, 43, 44, 45}
    assert requests == 1 + 2 + 6


def test_a_limit_bounds_the_list_too(rig: MakeRig) -> None:
    """A crawl for ten topics does not list the whole forum first."""
    made = rig(world(*(topic(n) for n in range(1, 201))))
    assert made.crawl(Window(limit=10)) == 1 + 1 + 10
    assert len(made.ids()) == 10


def test_a_crawl_that_dies_anywhere_ends_as_if_it_had_not(rig: MakeRig) -> None:
    """After a death between answer and commit, a rerun asks for that one page again and no other."""
    made = rig(world(*(topic(n, replies=45 if n % 7 == 0 else 2) for n in range(1, 36))))
    deaths = 0
    for lives in range(1, 60):
        source, transport = made.open()
        dying = cast(Discourse, Dying(source, lives % 4))
        try:
            crawl_source(made.database, made.settings.study, dying, Window(), transport)
            break
        except Killed:
            deaths += 1
        finally:
            source.close()
    assert deaths > 10
    assert made.ids() == set(range(1, 36))
    assert made.thread(35).n_posts == 46
    robots = made.server.counts["/robots.txt"]
    assert made.server.requests - robots <= 2 + 35 + 2 * 5 + deaths


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_deaths_at_random_points(rig: MakeRig, _empty_database: Path, tmp_path: Path) -> None:
    """Wherever a crawl dies, a rerun ends with the same rows and asks for one page more at the most."""
    made = rig(world(*(topic(n, replies=45 if n % 9 == 0 else 2) for n in range(1, 12))))
    die_at_random_points(made, _empty_database, tmp_path, again=2)  # robots.txt is read by each process


def test_each_topic_knows_where_it_was_found(rig: MakeRig) -> None:
    """A topic's payload names its request, and its entry leads to the page of the list."""
    made = rig(world(topic(5)))
    made.crawl()
    with made.database.reading() as session:
        payload = session.scalars(select(RawPayload).where(RawPayload.kind == "topic")).one()
        entry = session.get_one(FrontierEntry, payload.frontier_entry_id)
        parent = session.get_one(FrontierEntry, entry.parent_id)
        listed = session.scalars(select(RawPayload).where(RawPayload.frontier_entry_id == parent.id)).one()
        assert payload.request == "GET /t/5.json?include_raw=true"
        assert "solved=yes&order=created&ascending=true" in listed.request


def test_requests_say_who_asks(rig: MakeRig) -> None:
    """The User-Agent names the project and a contact, and nothing that a list of crawlers would match."""
    made = rig(world(topic(5)))
    made.crawl()
    agents = {request.headers["user-agent"] for request in made.server.log}
    assert len(agents) == 1
    agent = agents.pop()
    assert agent.startswith("nanmine/")
    assert "http" in agent
    assert not any(word in agent.lower() for word in ("bot", "spider", "gpt", "mozilla"))


def test_another_forum_is_one_more_entry(rig: MakeRig, settings: Settings) -> None:
    """Any Discourse forum is crawled under the name and for the library that the study gives it."""
    made = rig(world(topic(5)))
    forum = SourceSettings(
        "tensorflow-forum",
        "discourse",
        made.server.url,
        "https://discuss.tensorflow.org",
        library="tensorflow",
    )
    study = replace(settings.study, sources={**settings.study.sources, forum.name: forum})
    transport = Transport(forum.name, Watcher(), made.clock, 0.0)
    source = open_source(forum.name, replace(settings, study=study), transport)
    crawl_source(made.database, study, source, Window(), transport)
    source.close()
    thread = made.thread(5)
    assert (thread.source, thread.libraries) == ("tensorflow-forum", ["tensorflow"])
    assert thread.url == "https://discuss.tensorflow.org/t/loss-is-nan-topic-5/5"


@pytest.mark.parametrize(
    ("name", "posts", "missing", "accepted"),
    [
        ("perceval/discourse__discourse_topic_1148", 20, 2, False),
        ("perceval/discourse__discourse_topic_1149", 2, 0, False),
        ("perceval/discourse__discourse_topic_1150", 2, 0, False),
        ("perceval/discourse__discourse_posts", 4, 0, False),
        ("discourse_api_gem/topic", 4, 0, False),
        ("discourse_api_docs/topic_response", 1, 0, False),
    ],
)
def test_recorded_topics_are_read(
    shared: Path, settings: Settings, name: str, posts: int, missing: int, accepted: bool
) -> None:
    """The recorded topics, old shapes too, give their posts and say which are missing."""
    value = json.loads((shared / RECORDINGS / f"{name}.json").read_bytes())
    (thread,) = parse(value, settings)
    assert (thread.n_posts, len(missing_posts(value)), thread.accepted) == (posts, missing, accepted)
    assert thread.created_at is not None
    assert all(post.body and post.created_at and post.author for post in thread.posts)


@pytest.mark.parametrize(
    ("name", "rows", "pinned", "has_more"),
    [
        ("perceval/discourse__discourse_topics", 2, 0, False),
        ("perceval/discourse__discourse_topics_empty", 0, 0, False),
        ("perceval/discourse__discourse_topics_last_posted_at_null", 2, 0, False),
        ("perceval/discourse__discourse_topics_pinned", 3, 2, False),
        ("discourse_api_gem/latest", 3, None, True),
        ("discourse_api_gem/category_latest_topics", 2, None, False),
        ("discourse_api_docs/latest_topics_response", 3, None, False),
    ],
)
def test_recorded_lists_are_read(
    shared: Path, name: str, rows: int, pinned: int | None, has_more: bool
) -> None:
    """The recorded lists give their rows: pinned, empty, without a last post, of 2013 and of today."""
    found, more = to_rows(json.loads((shared / RECORDINGS / f"{name}.json").read_bytes()))
    assert (len(found), more) == (rows, has_more)
    assert pinned is None or sum(row.is_pinned for row in found) == pinned
    assert all(row.bumped_at for row in found)


def test_a_recorded_accepted_post_is_found(shared: Path, settings: Settings) -> None:
    """The recorded post that carries the flag makes its topic solved."""
    post = json.loads((shared / RECORDINGS / "perceval/discourse__discourse_post.json").read_bytes())
    (thread,) = parse({"id": post["topic_id"], "post_stream": {"posts": [post]}}, settings)
    assert thread.accepted == bool(post["accepted_answer"])


def test_a_proxy_of_the_environment_is_not_for_this_machine(
    rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service on loopback is reached whatever proxy the environment names."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    made = rig(world(topic(5)))
    made.crawl()
    assert made.ids() == {5}


# What the tests above share.

RECORDINGS = "contracts/recordings/stackexchange-discourse"


def parse(value: Any, settings: Settings) -> list[ThreadRecord]:
    """Return the threads of a payload that holds `value`."""
    source = Discourse(
        settings.study.sources["pytorch-forums"],
        settings.study,
        Transport("pytorch-forums", Watcher(), VirtualClock()),
    )
    try:
        return list(source.to_threads(Payload("topic", "", json.dumps(value).encode())))
    finally:
        source.close()


def note_of(made: Rig, kind: str, key: str = "solved") -> str | None:
    """Return the note of an entry."""
    with made.database.reading() as session:
        notes = select(FrontierEntry.note).where(FrontierEntry.kind == kind, FrontierEntry.key == key)
        return session.scalars(notes).first()
