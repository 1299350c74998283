"""Stack Overflow is crawled whole, frugally, and past everything that its API does to a client."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import select

from db.crawls import FrontierEntry, Provenance, RawPayload
from db.engine import Database
from db.errors import StoppedEarly
from db.threads import Thread
from pipeline.crawl import crawl_source
from pipeline.errors import Malformed, QuotaExhausted, Refused, Unauthorized, Unreachable
from pipeline.records import ThreadRecord
from pipeline.sandbox import faults
from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.server import Request, Response
from pipeline.sandbox.stackexchange import StackExchangeService, to_error, too_many_requests
from pipeline.sandbox.world import WorldPost, WorldThread
from pipeline.settings import Settings
from pipeline.sources import open_source
from pipeline.sources.base import Entry, Lookup, Payload, Window
from pipeline.sources.stackexchange import StackExchange
from pipeline.sources.stackexchange_client import site_parameter
from pipeline.study import Study
from pipeline.transport import Transport
from tests.posts_rig import Dying, Killed, PostsRig, Watcher, die_at_random_points, rigs, world

START = datetime(2017, 1, 1, tzinfo=UTC)
KEY = "secret-key((42"


def question(number: int, answers: int = 1, created: datetime | None = None, **facts: Any) -> WorldThread:
    """Return a question, its last answer accepted; every fifth text says INF, the others NaN."""
    word = "INF" if number % 5 == 0 else "NaN"
    created = created or START + timedelta(hours=number)
    posts = [WorldPost(number * 1000, f"asker{number}", created, f"My loss is {word} after a step.")]
    for at in range(1, answers + 1):
        when = created + timedelta(minutes=at)
        posts.append(WorldPost(number * 1000 + at, "helper", when, f"Answer {at}.", accepted=at == answers))
    values: dict[str, Any] = {
        "title": f"{word} in model {number}",
        "created_at": created,
        "updated_at": created + timedelta(days=1),
        "posts": tuple(posts),
        "tags": ("python", "tensorflow"),
    }
    return WorldThread("stackexchange", number, number, "question", **(values | facts))


@dataclass
class Rig(PostsRig):
    """A sandboxed site; see `PostsRig`."""

    def open(self, key: str | None = None, max_wait: float | None = None) -> tuple[StackExchange, Transport]:
        """Open the source as a new process would."""
        settings = replace(self.settings_here("stackoverflow"), stackexchange_key=key)
        transport = Transport("stackoverflow", self.watcher, self.clock, 0.0, max_wait)
        return cast(StackExchange, open_source("stackoverflow", settings, transport)), transport


MakeRig = Callable[..., Rig]


@pytest.fixture
def rig(database: Database, settings: Settings) -> Iterator[MakeRig]:
    """Make rigs over worlds; they are stopped at the end."""
    with rigs(Rig, StackExchangeService, database, settings) as make:
        yield make


def test_a_question_that_breaks_its_batch_is_put_aside(rig: MakeRig) -> None:
    """A batch of ids that is never answered is asked for in parts, until the broken one is alone."""
    made = rig(world(*map(question, range(1, 31))))
    broken = faults.path(r"questions/(.*;)?7(;|/)")
    made.server.faults.append(faults.for_ever(faults.server_error(matches=broken)))
    with pytest.raises(StoppedEarly, match="all is done but 1 thread"):
        made.hydrate(*(f"https://stackoverflow.com/q/{number}" for number in range(1, 31)))
    assert made.ids() == set(range(1, 31)) - {7}


def test_every_question_is_stored_with_its_posts(rig: MakeRig) -> None:
    """A crawl brings each question with answers, comments, accepted flag, tags, library and link."""
    comment = WorldPost(77, "passer-by", START, "Which version?")
    asked = question(7, answers=2)
    asked = replace(asked, posts=(replace(asked.posts[0], comments=(comment,)), *asked.posts[1:]))
    made = rig(world(asked))
    made.crawl()
    thread = made.thread(7)
    assert (thread.kind, thread.libraries, thread.accepted) == ("question", ["tensorflow"], True)
    assert thread.url == "https://stackoverflow.com/questions/7/nan-in-model-7"
    assert thread.n_posts == 3
    assert [post.role for post in thread.posts] == ["opening", "comment", "reply", "reply"]
    assert [post.accepted for post in thread.posts] == [False, False, False, True]
    assert thread.posts[0].body_format == "html"
    assert thread.candidate


def test_six_hundred_hits_are_all_found(rig: MakeRig) -> None:
    """Nothing is lost at five pages, stackapi's own silent end."""
    made = rig(world(*(question(number) for number in range(1, 651))))
    requests = made.crawl()
    assert made.ids() == set(range(1, 651))
    assert requests <= 30


def test_an_error_on_a_later_page_keeps_the_earlier_ones(rig: MakeRig) -> None:
    """A crawl that fails on its third page keeps two, and a rerun ends with everything."""
    made = rig(world(*(question(number) for number in range(1, 401))))
    made.server.faults.append(
        faults.for_ever(faults.server_error(500, matches=faults.path("search"), after=2))
    )
    with pytest.raises(StoppedEarly):
        made.crawl()
    kept = made.ids()
    assert 190 <= len(kept) <= 200
    made.server.faults.clear()
    made.crawl()
    assert made.ids() == set(range(1, 401))


@pytest.mark.parametrize(
    ("fault", "after"),
    [
        (faults.fault(faults.json_response(500, {"oops": 1})), 0),
        (faults.fault(faults.json_response(500, {"oops": 1})), 2),
        (faults.fault(faults.json_response(200, {"oops": 1})), 2),
        (faults.server_error(503), 1),
        (faults.fault(too_many_requests()), 0),
        (faults.fault(too_many_requests()), 3),
        (faults.html_success(), 1),
        (faults.truncated_json(), 2),
        (faults.cut_short(), 2),
        (faults.drop(), 0),
        (faults.drop(), 4),
        (faults.fault(to_error(502, "too many requests")), 0),
        (faults.fault(to_error(500, "internal")), 1),
        (faults.fault(to_error(503, "unavailable")), 2),
    ],
)
def test_a_fault_is_asked_again_and_never_an_empty_success(rig: MakeRig, fault: Any, after: int) -> None:
    """Whatever comes instead of an answer, at whichever request, the crawl ends with everything."""
    made = rig(world(*(question(number) for number in range(1, 8))))
    made.server.faults.append(replace(fault, after=after))
    made.crawl()
    assert made.ids() == set(range(1, 8))


def test_truncated_gzip_is_asked_again(rig: MakeRig) -> None:
    """A gzip body that stops in the middle, at its full Content-Length, is no answer."""
    made = rig(world(question(1)))
    half = gzip.compress(json.dumps({"items": ["x" * n for n in range(500)]}).encode())[:200]
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    made.server.faults.append(faults.fault(Response(200, half, headers), matches=faults.path("search")))
    made.crawl()
    assert made.ids() == {1}


@pytest.mark.parametrize("fault", [faults.gzip_bomb(), faults.deep_json()])
def test_a_bomb_is_refused_at_once(rig: MakeRig, fault: Any) -> None:
    """An answer that is too large or too deep ends the crawl without another try."""
    made = rig(world(question(1)))
    made.server.faults.append(faults.for_ever(replace(fault, matches=faults.path("search"))))
    before = made.server.requests
    with pytest.raises(Malformed):
        made.crawl()
    assert made.server.requests - before == 3  # the site, the filter, the bomb


def test_the_key_is_shown_nowhere(
    rig: MakeRig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key goes to the service and into no log, error, representation or row."""
    made = rig(world(question(1)))
    with caplog.at_level(logging.DEBUG):
        made.crawl(key=KEY)
        source, transport = made.open(key=KEY)
        refused = to_error(400, f"`key` {KEY} doesn't match a known application")
        made.server.faults.append(faults.fault(refused))
        with pytest.raises(Unauthorized) as told:
            crawl_source(made.database, made.settings.study, source, Window(limit=3), transport)
        made.server.stop()
        with pytest.raises(Unreachable) as unreached:
            crawl_source(made.database, made.settings.study, source, Window(limit=3), transport)
    assert any(request.one("key") == KEY for request in made.server.log)
    shown = [
        caplog.text,
        str(told.value),
        repr(source),
        repr(unreached.value),
        repr(unreached.value.__context__),
    ]
    with made.database.reading() as session:
        shown += list(session.scalars(select(RawPayload.request)))
        shown += [body.decode("latin-1") for body in session.scalars(select(RawPayload.body))]
    assert not any("secret-key" in text for text in shown)


def test_a_back_off_is_kept_on_the_last_page_and_by_the_next_process(rig: MakeRig) -> None:
    """The service's back-off is waited for before the same method, even by a process that starts later."""
    made = rig(world(question(1)), backoff={"search/advanced": 40})
    made.crawl(Window(until=START + timedelta(days=300)))
    waited = made.clock.slept
    assert waited >= 6 * 41  # six searches and a count, nothing before the first
    made.crawl(Window(until=START + timedelta(days=200)))
    assert not [r for r in made.server.log if "Violation" in str(r)]
    assert made.clock.slept - waited >= 7 * 41
    assert ("the back-off of search/advanced") in {why for why, _ in made.watcher.waits}


def test_a_back_off_of_any_method_is_kept(rig: MakeRig) -> None:
    """Making two filters waits for the back-off that the first of them asked for."""
    made = rig(world(question(1)), backoff={"filters/create": 30, "questions/{ids}": 20, "sites": 10})
    made.crawl()
    assert made.clock.slept >= 31
    assert made.server.counts["/2.3/filters/create"] == 2


def test_a_back_off_beyond_the_longest_wait_stops_the_crawl(rig: MakeRig) -> None:
    """With --max-wait a long back-off is no wait but a stop that a rerun resumes."""
    made = rig(world(question(1)), backoff={"search/advanced": 400})
    with pytest.raises(QuotaExhausted) as stopped:
        made.crawl(max_wait=60)
    assert stopped.value.resume_at is not None
    assert made.ids() == {1}
    made.clock.sleep(401)
    with pytest.raises(QuotaExhausted):
        made.crawl(max_wait=60)


def test_the_seconds_of_a_ban_are_read(rig: MakeRig) -> None:
    """A used-up quota stops the crawl until the second that the ban text names."""
    made = rig(world(question(1)))
    ban = to_error(502, "too many requests from this IP, more requests available in 80000 seconds")
    made.server.faults.append(faults.fault(ban, matches=faults.path("search")))
    now = made.clock.now()
    with pytest.raises(QuotaExhausted) as stopped:
        made.crawl(max_wait=3600)
    assert stopped.value.resume_at == now + timedelta(seconds=80_000)
    assert made.server.counts["/2.3/search/advanced/"] == 1
    made.crawl()
    assert made.ids() == {1}


@pytest.mark.parametrize("key", [None, KEY])
def test_more_than_the_last_keyless_page_is_found(rig: MakeRig, key: str | None) -> None:
    """Three thousand hits of one search are found whole, and page 26 is never asked for."""
    many = (question(n, created=START + timedelta(seconds=n // 3)) for n in range(1, 3751))
    made = rig(world(*many), quota_keyless=10_000)
    searched = search(made, "q:NaN", key)
    assert (len(searched.ids), searched.states) == (3000, {"q:NaN": "done"})
    assert all(int(request.one("page", "1")) <= 25 for request in made.server.log)
    assert made.server.requests <= 35


def test_a_search_that_q_has_found_all_of_is_not_paged_through(rig: MakeRig) -> None:
    """Two numbers tell that `q` has every hit of a search; without them nothing is left out."""
    made = rig(world(*(question(number) for number in range(1, 1001))))
    requests = made.crawl()
    assert len(made.ids()) == 1000
    assert requests <= 30
    with made.database.reading() as session:
        notes = dict(session.execute(select(FrontierEntry.key, FrontierEntry.note)).tuples().all())
    assert notes["body:NaN"] == "q has found all of its 800 hits"
    assert notes["q:NaN"] is None


def test_a_search_that_finds_more_than_q_is_paged_through(rig: MakeRig) -> None:
    """Where `body` finds a part of a word that `q` does not, all of its pages are read."""
    posts = (WorldPost(1, "a", START, "lossNaNny"), WorldPost(2, "b", START, "yes", accepted=True))
    odd = [replace(question(n), title=f"Model {n}", posts=posts) for n in range(1, 251)]
    made = rig(world(*odd, *(question(n) for n in range(251, 300))))
    searched = search(made, "body:NaN")
    assert len(searched.ids) == 250 + 40


def test_a_page_in_another_order_loses_nothing(rig: MakeRig) -> None:
    """A service that does not keep the order asked for is paged through by number."""
    made = rig(world(*(question(number) for number in range(1, 351))))
    made.server.faults.append(faults.for_ever(faults.Fault(faults.path("search"), newest_first(made))))
    searched = search(made, "q:NaN")
    assert len(searched.ids) == 280
    assert searched.states == {"q:NaN": "done"}


@pytest.mark.parametrize(("number", "state"), [(3000, "done"), (3200, "truncated")])
def test_a_crowded_second_is_paged_and_then_marked(rig: MakeRig, number: int, state: str) -> None:
    """Questions of one second are paged through; more than the API gives of it are marked as truncated."""
    made = rig(world(*(question(n, created=START) for n in range(1, number))), quota_keyless=10_000)
    searched = search(made, "q:NaN")
    assert searched.states == {"q:NaN": state}
    assert len(searched.ids) == min(number * 4 // 5, 2500)


def test_the_quota_reserve_is_left_and_a_rerun_goes_on(rig: MakeRig) -> None:
    """The crawl stops while the reserve is left, cleanly, and resumes when there is quota again."""
    made = rig(world(*(question(number) for number in range(1, 901))), quota_keyless=30)
    with pytest.raises(QuotaExhausted):
        made.crawl()
    assert made.watcher.left[-1] == 20
    kept = made.ids()
    assert 0 < len(kept) < 900
    for _ in range(20):
        made.clock.sleep(86_401)
        with contextlib.suppress(QuotaExhausted):
            made.crawl()
            break
    assert made.ids() == set(range(1, 901))
    assert min(made.watcher.left) == 20


def test_a_deleted_owner_has_no_author(rig: MakeRig) -> None:
    """A post of a deleted account, with a stub of an owner or with none, has no author."""
    asked = question(3)
    posts = tuple(replace(post, author=None) for post in asked.posts)
    made = rig(world(replace(asked, posts=posts), question(4, posts=posts[:1] + question(4).posts[1:])))
    made.crawl()
    assert {post.author for post in made.thread(3).posts} == {None}


def test_positively_scored_is_not_accepted(study: Study) -> None:
    """`is_answered` without an accepted id is no accepted answer."""
    item = {
        "question_id": 1,
        "is_answered": True,
        "answer_count": 1,
        "answers": [{"answer_id": 2, "score": 9}],
    }
    (thread,) = parse({"items": [item]}, study)
    assert not thread.accepted
    assert not any(post.accepted for post in thread.posts)


@pytest.mark.parametrize("nested", [0, 1, 2])
def test_answers_that_were_not_nested_are_asked_for(rig: MakeRig, nested: int) -> None:
    """A question with fewer answers than it counts, or without its accepted one, is completed."""
    made = rig(world(*(question(number, answers=3) for number in range(1, 252))), nested_answers=nested)
    made.crawl()
    assert made.ids() == set(range(1, 252))
    thread = made.thread(9)
    assert [post.external_id for post in thread.posts] == ["9", "9001", "9002", "9003"]
    assert thread.posts[3].accepted
    batches = [r.path for r in made.server.log if "/answers" in r.path]
    assert all(path.count(";") < 100 for path in batches)
    assert len(batches) <= 8


def test_a_question_with_more_answers_than_a_page_is_whole(rig: MakeRig) -> None:
    """Two hundred and thirty answers of one question come in pages of their own."""
    made = rig(world(question(1, answers=230), question(2, answers=2)), nested_answers=1)
    made.crawl()
    assert made.thread(1).n_posts == 231
    assert made.thread(2).n_posts == 3


def test_entities_are_decoded_once(rig: MakeRig, study: Study) -> None:
    """A title that speaks of `&lt;nan&gt;` keeps its entities; the API's own encoding goes."""
    made = rig(world(question(1, title="Is &lt;nan&gt; < inf & 'safe'?")))
    made.crawl()
    assert made.thread(1).title == "Is &lt;nan&gt; < inf & 'safe'?"
    item = {"question_id": 2, "title": "&amp;lt;", "body_markdown": "a &amp;lt; b"}
    (thread,) = parse({"items": [item]}, study)
    assert (thread.title, thread.posts[0].body, thread.posts[0].body_format) == (
        "&lt;",
        "a &lt; b",
        "markdown",
    )


def test_a_date_is_no_bound(rig: MakeRig) -> None:
    """A window bounded by a date instead of a time is refused before anything is asked."""
    made = rig(world(question(1)))
    source, _ = made.open()
    with pytest.raises(TypeError):
        source.seed(Window(since=cast(datetime, date(2020, 1, 1))))
    source.close()
    assert made.server.requests == 0


def test_bounds_are_kept_to_the_second(rig: MakeRig) -> None:
    """Questions created at the bounds are in, those a second outside are not."""
    made = rig(world(*(question(n, created=START + timedelta(seconds=n)) for n in range(1, 11))))
    made.crawl(Window(since=START + timedelta(seconds=3), until=START + timedelta(seconds=7)))
    assert made.ids() == {3, 4, 5, 6, 7}


def test_a_hundred_and_one_ids_are_two_requests(rig: MakeRig) -> None:
    """No request carries more than a hundred ids."""
    made = rig(world(*(question(number) for number in range(1, 102))))
    made.hydrate(*(f"https://stackoverflow.com/questions/{number}" for number in range(1, 102)))
    assert made.ids() == set(range(1, 102))
    assert sum("questions/" in request.path for request in made.server.log) == 2


def test_every_form_of_a_url_leads_to_its_question(rig: MakeRig) -> None:
    """Long, short and answer links become the question; what does not exist or is too large is gone."""
    made = rig(world(*(question(number) for number in range(1, 5))))
    states = made.hydrate(
        "https://stackoverflow.com/questions/1/old-slug/1001#1001",
        "https://stackoverflow.com/q/2/77",
        "https://stackoverflow.com/a/3001/77",
        "https://stackoverflow.com/a/999999",
        "https://stackoverflow.com/questions/888",
        f"https://stackoverflow.com/questions/{2**53 + 1}",
    )
    assert made.ids() == {1, 2, 3}
    assert sorted(state for state, _ in states.values()) == ["done"] * 3 + ["gone"] * 3


def test_planted_questions_are_dropped(study: Study) -> None:
    """The two bogus ids of the data dumps are no questions."""
    items = [{"question_id": 1_000_000_001}, {"question_id": 1_000_000_010}, {"question_id": 5}]
    assert [thread.external_id for thread in parse({"items": items}, study)] == ["5"]


def test_a_second_crawl_of_an_unchanged_site_changes_nothing(rig: MakeRig) -> None:
    """A later crawl costs one request, a tenth of the first at the most, and adds or changes no row."""
    made = rig(world(*(question(number) for number in range(1, 501))))
    first = made.crawl()
    before, payloads = made.rows(), made.count(RawPayload)
    made.clock.sleep(86_400)
    second = made.crawl()
    assert (second, made.rows()) == (1, before)
    assert second <= first / 10
    assert made.count(RawPayload) == payloads


def test_what_was_edited_deleted_or_asked_is_noticed(rig: MakeRig) -> None:
    """A later crawl brings the edit and the new question, and blanks the deleted one, which keeps its row."""
    asked = {number: question(number) for number in range(1, 151)}
    made = rig(world(*asked.values()))
    made.crawl()
    made.clock.sleep(86_400)
    edited = replace(asked[7].posts[0], body="Now it is inf.")
    asked[7] = replace(asked[7], posts=(edited, asked[7].posts[1]), updated_at=made.clock.now())
    del asked[8]
    asked[200] = question(200, updated_at=made.clock.now())  # an old one, retagged: the number stays the same
    made.service.world = world(*asked.values())
    made.clock.sleep(3600)
    made.crawl()
    assert "inf" in made.thread(7).posts[0].body
    assert made.thread(8).availability == "gone"
    assert made.thread(8).posts == []
    assert made.ids() == set(range(1, 151)) | {200}
    made.clock.sleep(86_400)
    assert made.crawl() == 1


@pytest.mark.parametrize("change", ["deleted", "accepted", "unaccepted"])
def test_a_change_without_activity_is_noticed_by_the_number(rig: MakeRig, change: str) -> None:
    """A question that is deleted, or gets or loses its accepted answer, without being active is noticed."""
    asked = {number: question(number) for number in range(1, 51)}
    quiet = replace(asked[9], posts=tuple(replace(post, accepted=False) for post in asked[9].posts))
    made = rig(world(*(asked | ({9: quiet} if change == "accepted" else {})).values()))
    made.crawl()
    assert (9 in made.ids()) == (change != "accepted")
    made.clock.sleep(86_400)
    later = {number: asked[number] for number in asked if number != 9}
    later |= {"deleted": {}, "accepted": {9: asked[9]}, "unaccepted": {9: quiet}}[change]
    made.service.world = world(*later.values())
    made.crawl()
    thread = made.thread(9)
    assert (thread.availability, thread.accepted) == {
        "deleted": ("gone", True),
        "accepted": ("present", True),
        "unaccepted": ("present", False),
    }[change]


def test_a_crawl_that_dies_anywhere_ends_as_if_it_had_not(rig: MakeRig) -> None:
    """After a death between answer and commit, a rerun asks for that one page again and no other."""
    threads = world(*(question(number, answers=2) for number in range(1, 220)))
    made = rig(threads, nested_answers=1)
    requests, deaths = 0, 0
    for lives in range(1, 40):
        before = made.server.requests
        source, transport = made.open()
        try:
            crawl_source(
                made.database,
                made.settings.study,
                cast(StackExchange, Dying(source, lives % 3)),
                Window(),
                transport,
            )
            requests += made.server.requests - before
            break
        except Killed:
            deaths += 1
            requests += made.server.requests - before
        finally:
            source.close()
    rows = made.rows()
    with made.database.writing() as session:
        for table in (Thread,):
            session.query(table).delete()
    fresh = made.crawl(Window(until=START + timedelta(days=3000)))
    assert made.rows() == rows
    assert deaths > 3
    assert requests <= fresh + 3 + deaths  # the second crawl remembers the site and two filters


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_deaths_at_random_points(rig: MakeRig, _empty_database: Path, tmp_path: Path) -> None:
    """Wherever a crawl dies, a rerun ends with the same rows and asks for one page more at the most."""
    made = rig(
        world(*(question(n, answers=n % 3 + 1) for n in range(1, 131))),
        nested_answers=1,
        quota_keyless=100_000,
    )
    die_at_random_points(made, _empty_database, tmp_path, again=1)


def test_every_question_knows_where_it_was_found(rig: MakeRig) -> None:
    """Each thread has a payload whose request names the search that found it."""
    made = rig(world(*(question(number) for number in range(1, 12))))
    made.crawl()
    with made.database.reading() as session:
        found = session.execute(
            select(Provenance.thread_id, RawPayload.request).join(
                RawPayload, RawPayload.id == Provenance.raw_payload_id
            )
        ).all()
    requests = {request for _, request in found}
    assert len({thread for thread, _ in found}) == 11
    assert any("q=NaN" in request and "tagged=tensorflow" in request for request in requests)
    assert any("title=INF" in request for request in requests)


def test_hostile_text_is_kept_storable(rig: MakeRig) -> None:
    """NUL, lone surrogates, bidi controls, the longest body and an id beyond 2^53 do no harm."""
    made = rig(world(question(1)))
    item = {
        "question_id": 2**53 + 1,
        "title": "nan \x00 \ud800 \u202e",
        "body": "nan " + "x" * 65_536,
        "creation_date": int(START.timestamp()),
        "tags": ["tensorflow"],
        "accepted_answer_id": 7,
        "answer_count": 1,
        "answers": [{"answer_id": 7, "body": "\ud800", "owner": {"user_id": 2**60}}],
    }
    answer = faults.json_response(200, {"items": [item], "has_more": False, "quota_remaining": 99})
    made.server.faults.append(faults.fault(answer, matches=faults.path("search")))
    made.crawl()
    assert made.ids() == {1, 2**53 + 1}
    assert made.thread(2**53 + 1).title == "nan \ufffd \ufffd \u202e"


def test_a_redirect_is_not_followed(rig: MakeRig) -> None:
    """A redirect to another host ends the crawl; the key goes nowhere."""
    made = rig(world(question(1)))
    made.server.faults.append(faults.redirect("http://127.0.0.1:9/elsewhere", matches=faults.path("search")))
    made.server.faults.append(faults.fault(Response(302, b"", {"Location": "http://127.0.0.1:9/"}), after=2))
    with pytest.raises((Refused, Unreachable)):
        made.crawl(key=KEY)


def test_an_unknown_site_is_said(rig: MakeRig, settings: Settings) -> None:
    """A site that the network does not have is refused with its name."""
    made = rig(world(question(1)))
    source = replace(settings.study.sources["stackoverflow"], site="https://nonsense.stackexchange.com")
    made.settings = replace(settings, study=replace(settings.study, sources={"stackoverflow": source}))
    with pytest.raises(Refused, match="nonsense"):
        made.crawl()


@pytest.mark.parametrize(
    ("site", "parameter"),
    [
        ("https://stackoverflow.com", "stackoverflow"),
        ("https://stats.stackexchange.com", "stats"),
        ("https://mathoverflow.net", "mathoverflow.net"),
        ("https://meta.stackoverflow.com", "meta.stackoverflow"),
    ],
)
def test_a_site_has_its_name_in_the_api(site: str, parameter: str) -> None:
    """The API's name of a site follows from where its pages stand."""
    assert site_parameter(site) == parameter


@pytest.mark.parametrize(
    ("name", "questions", "answers", "comments"),
    [
        ("question", 1, 1, 1),
        ("question_page", 2, 2, 2),
        ("question_page_2", 2, 2, 2),
        ("question_backoff_page", 2, 2, 2),
        ("question_parse", 2, 2, 2),
    ],
)
def test_recorded_pages_are_read(
    shared: Path, study: Study, name: str, questions: int, answers: int, comments: int
) -> None:
    """The pages that perceval recorded give their questions, answers and comments."""
    folder = shared / "contracts/recordings/stackexchange-discourse/perceval"
    threads = parse(json.loads((folder / f"stackexchange__stackexchange_{name}").read_bytes()), study)
    roles = [post.role for thread in threads for post in thread.posts]
    assert len(threads) == questions
    assert (roles.count("reply"), roles.count("comment")) == (answers, comments)
    assert {thread.tags for thread in threads} == {("python", "pandas")}
    assert all(thread.created_at and not thread.accepted for thread in threads)


def test_a_proxy_of_the_environment_is_not_for_this_machine(
    rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service on loopback is reached whatever proxy the environment names."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    made = rig(world(question(1)))
    made.crawl()
    assert made.ids() == {1}


# What the tests above share.


def parse(value: Any, study: Study) -> list[ThreadRecord]:
    """Return the threads of a payload that holds `value`."""
    transport = Transport("stackoverflow", Watcher(), VirtualClock())
    source = StackExchange(study.sources["stackoverflow"], study, transport)
    try:
        return list(source.to_threads(Payload("questions", "", json.dumps(value).encode())))
    finally:
        source.close()


@dataclass
class Searched:
    """What one search brought, without a database; stands for the lookup too."""

    ids: set[str] = field(default_factory=set)
    states: dict[str, str] = field(default_factory=dict)
    remembered: dict[str, dict[str, Any]] = field(default_factory=dict)

    def memory(self, name: str) -> dict[str, Any] | None:
        """Return what the source remembers."""
        return self.remembered.get(name)


def search(made: Rig, name: str, key: str | None = None) -> Searched:
    """Work off the one search called `name`."""
    source, _ = made.open(key)
    searched = Searched()
    entry: Entry | None = next(entry for entry in source.seed(Window()) if entry.key == name)
    while entry is not None:
        page = source.fetch_page([entry], cast(Lookup, searched))
        searched.remembered |= page.memory
        searched.ids |= {thread.external_id for thread, _ in page.threads}
        result = page.results[0]
        searched.states[name] = result.state
        entry = replace(entry, cursor=result.cursor) if result.state == "pending" else None
    source.close()
    return searched


def newest_first(made: Rig) -> Callable[[Request], Response]:
    """Return a response function that ignores the order asked for."""
    return lambda request: made.service.answer(replace(request, query={**request.query, "order": ["desc"]}))
