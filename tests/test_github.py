"""GitHub end to end: crawls of a sandboxed GitHub into a database, whatever the service does meanwhile."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from db.crawls import Crawl
from db.engine import Database, open_database
from db.errors import StoppedEarly
from db.final_labels import final_labels, import_final_labels
from db.records import Label
from db.threads import Thread
from pipeline.crawl import CrawlReport, crawl_source, work_off
from pipeline.errors import QuotaExhausted, Refused, Unauthorized
from pipeline.frontier import add_entries
from pipeline.links import find_urls
from pipeline.records import ThreadRecord
from pipeline.sandbox import faults
from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.github import GitHubService
from pipeline.sandbox.github_rest import Incomplete
from pipeline.sandbox.github_store import thread_node_id
from pipeline.sandbox.server import Fault, Request, Response, ServiceServer
from pipeline.sandbox.world import World, WorldPost, WorldRepository, WorldThread
from pipeline.settings import Settings, load_settings
from pipeline.sources import open_source
from pipeline.sources.base import Payload, Window
from pipeline.transport import Transport

DAY = datetime(2020, 3, 1, 12, tzinfo=UTC)
TOKEN = "ghp_secretsecretsecret"


def make_repository(number: int, name: str, *topics: str) -> WorldRepository:
    """Return a repository."""
    return WorldRepository(number, name, topics or ("tensorflow",), DAY)


def make_thread(id_: int, repository: str, number: int, replies: int = 1, **facts: Any) -> WorldThread:
    """Return a closed issue about NaN with so many replies, opened `id_` minutes after the first day."""
    created = facts.pop("created_at", DAY + timedelta(minutes=id_ % 10**6))
    posts = [
        WorldPost(1000 * id_ + at, f"user{at}", created, "The loss is NaN" if at == 0 else f"reply {at}")
        for at in range(replies + 1)
    ]
    values: dict[str, Any] = {"kind": "issue", "closed_at": created, "posts": tuple(posts)} | facts
    return WorldThread(
        service="github",
        id=id_,
        number=number,
        title=f"NaN {number}",
        created_at=created,
        updated_at=created,
        repository=repository,
        **values,
    )


SMALL = World(
    (
        make_repository(11, "acme/nets", "tensorflow"),
        make_repository(12, "acme/both", "pytorch", "tensorflow"),
        make_repository(2**31 + 5, "lab/torchy", "pytorch", "vision"),
        make_repository(14, "lab/other", "vision"),
    ),
    (
        make_thread(2**33 + 1, "acme/nets", 1, created_at=DAY),
        make_thread(2, "acme/nets", 2, replies=0),
        make_thread(3, "acme/nets", 3, closed_at=None),
        make_thread(4, "acme/both", 4, replies=3),
        make_thread(5, "acme/both", 5, kind="pull", merged_at=DAY),
        make_thread(2**31 + 6, "lab/torchy", 6, created_at=DAY),
        make_thread(7, "lab/other", 7),
    ),
)


def dense(repositories: int, each: int) -> World:
    """Return a world of candidates, so many in each repository."""
    names = [f"bench/repository-{n}" for n in range(repositories)]
    found = [
        make_thread(1 + each * n + i, name, i + 1, kind="pull" if i % 9 == 0 else "issue")
        for n, name in enumerate(names)
        for i in range(each)
    ]
    return World(tuple(make_repository(100 + n, name) for n, name in enumerate(names)), tuple(found))


class Watcher:
    """Keeps what the transport tells; `stop_at` ends the process at that request."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.requests = 0
        self.stop_at = stop_at
        self.waits: list[str] = []

    def requested(self, source: str) -> None:
        """Count, and stop like a killed process."""
        if self.requests == self.stop_at:
            raise Killed
        self.requests += 1

    def quota(self, source: str, limit: str, left: int) -> None:
        """Ignore."""

    def waiting(self, source: str, why: str, until: datetime) -> None:
        """Keep."""
        self.waits.append(why)

    def committed(self, source: str, new: int, changed: int) -> None:
        """Ignore."""


class Killed(BaseException):
    """The process ends without a word."""


@dataclass
class Lab:
    """A sandboxed GitHub, a database, and crawls from the one into the other."""

    service: GitHubService
    server: ServiceServer
    clock: VirtualClock
    folder: Path
    watcher: Watcher = field(default_factory=Watcher)

    def settings(self, tokens: str = TOKEN) -> Settings:
        """Return settings that point here."""
        environment = {"NANMINE_GITHUB_URL": self.server.url, "NANMINE_GITHUB_TOKEN": tokens}
        return load_settings(environment, database=f"sqlite:///{self.folder}/study.db")

    def crawl(
        self,
        database: Database,
        window: Window | None = None,
        tokens: str = TOKEN,
        watcher: Watcher | None = None,
        max_wait: float | None = None,
    ) -> CrawlReport:
        """Crawl once, to the end."""
        settings = self.settings(tokens)
        self.watcher = watcher or Watcher()
        transport = Transport("github", self.watcher, self.clock, 1, max_wait)
        source = open_source("github", settings, transport)
        try:
            return crawl_source(database, settings.study, source, window or Window(), transport)
        finally:
            source.close()

    def queries(self) -> list[str]:
        """Return the REST searches for threads that came in."""
        return [request.one("q") for request in self.server.log if request.path == "/search/issues"]


MakeLab = Callable[..., Lab]


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[MakeLab]:
    """A maker of labs, which are closed in the end."""
    servers: list[ServiceServer] = []

    def make(world: World = SMALL, **options: Any) -> Lab:
        clock = VirtualClock()
        service = GitHubService(world, clock, **options)
        server = ServiceServer(service)
        server.start()
        servers.append(server)
        return Lab(service, server, clock, tmp_path)

    yield make
    for server in servers:
        server.stop()


def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    """Return rows of the database."""
    with database.reading() as session:
        return [tuple(row) for row in session.execute(text(query))]


def threads(database: Database) -> dict[str, tuple[Any, ...]]:
    """Return kind, libraries, number of posts, candidate and availability by external id."""
    found = rows(
        database,
        "select external_id, kind, libraries, n_posts, candidate, availability from thread order by 1",
    )
    return {row[0]: row[1:] for row in found}


@pytest.mark.parametrize("tokens", [TOKEN, "", f"{TOKEN},ghp_other"])
def test_a_crawl_brings_what_the_study_asks_for(make_lab: MakeLab, database: Database, tokens: str) -> None:
    """Closed issues and pull requests with replies, each once, with the libraries of its repository."""
    lab = make_lab()
    report = lab.crawl(database, tokens=tokens)
    assert threads(database) == {
        "acme/both#4": ("issue", '["pytorch", "tensorflow"]', 4, 1, "present"),
        "acme/both#5": ("pull", '["pytorch", "tensorflow"]', 2, 1, "present"),
        "acme/nets#1": ("issue", '["tensorflow"]', 2, 1, "present"),
        "lab/torchy#6": ("issue", '["pytorch"]', 2, 1, "present"),
    }
    assert (report.truncated, report.gone) == (0, 0)
    assert report.requests == len(lab.server.log)
    assert ("/graphql" in lab.server.counts) == bool(tokens)


def test_no_token_is_the_same_threads(make_lab: MakeLab, tmp_path: Path) -> None:
    """By REST and by GraphQL a thread is the same to the last post."""
    found = []
    for name, tokens in (("one", TOKEN), ("two", "")):
        database = open_database(f"sqlite:///{tmp_path}/{name}.db")
        make_lab().crawl(database, tokens=tokens)
        query = "select t.external_id, t.title, t.url, t.created_at, t.updated_at, t.closed_at, t.repository"
        query += ", t.tags, p.position, p.external_id, p.body, p.created_at from thread t"
        found.append(rows(database, query + " join post p on p.thread_id = t.id order by 1, 9"))
        database.close()
    assert found[0] == found[1]
    assert found[0]


def test_no_thread_costs_a_request_of_its_own(make_lab: MakeLab, database: Database) -> None:
    """500 threads in 5 repositories cost few requests, and a second crawl a tenth of that."""
    lab = make_lab(dense(5, 100))
    first = lab.crawl(database)
    assert first.counts.new == 500
    assert first.requests <= 25
    again = lab.crawl(database)
    assert again.requests <= first.requests / 10
    assert (again.counts.new, again.counts.changed) == (0, 0)


@pytest.mark.slow
def test_sparse_repositories_stay_within_the_budget(make_lab: MakeLab, database: Database) -> None:
    """Two repositories for each thread cost at most 900 requests a 1,000, and a tenth of that again."""
    names = [f"owner{n}/repository-{n}" for n in range(600)]
    repositories = tuple(
        make_repository(100 + n, name, ("tensorflow", "pytorch")[n % 2]) for n, name in enumerate(names)
    )
    found = tuple(
        make_thread(n + 1, names[n % 600], n + 1, replies=60 if n % 67 == 0 else 1 if n % 2 else 0)
        for n in range(600)
    )
    lab = make_lab(World(repositories, found), limits={"search": (10**6, 10)}, secondary=False)
    first = lab.crawl(database)
    assert 300 <= first.counts.new <= 310
    assert first.requests * 1000 / first.counts.new <= 900
    again = lab.crawl(database)
    assert again.requests <= first.requests / 10


def test_what_changed_is_noticed(make_lab: MakeLab, database: Database) -> None:
    """A second crawl finds edits, deletions, new threads, new repositories and renamed ones."""
    lab = make_lab()
    lab.crawl(database)
    now = lab.clock.now()
    lab.clock.sleep(7200)
    later = now + timedelta(hours=1, minutes=30)
    lab.service.store.edit("acme/both", 4, later, title="INF now")
    lab.service.store.delete("acme/nets", 1)
    lab.service.store.add(make_thread(90, "acme/nets", 9, created_at=later))
    lab.service.store.add_repository(make_repository(77, "new/one", "pytorch"))
    lab.service.store.add(make_thread(91, "new/one", 1))
    report = lab.crawl(database)
    assert (report.counts.new, report.counts.changed) == (2, 2)
    assert rows(database, "select title from thread where external_id = 'acme/both#4'") == [("INF now",)]
    assert threads(database)["acme/nets#1"][4] == "gone"
    assert rows(database, "select count(*) from thread_stratum")[0][0] == 8
    assert {"acme/nets#9", "new/one#1"} <= threads(database).keys()
    third = lab.crawl(database)
    assert (third.counts.new, third.counts.changed) == (0, 0)


def test_what_the_token_may_not_see_is_private(make_lab: MakeLab, database: Database) -> None:
    """A stored thread that GraphQL forbids is private, one that is not found is gone."""
    lab = make_lab()
    lab.crawl(database)
    lab.service.store.protect("lab/torchy")
    lab.service.store.delete("acme/nets", 1)
    lab.crawl(database)
    assert threads(database)["lab/torchy#6"][4] == "private"
    assert threads(database)["acme/nets#1"][4] == "gone"


@pytest.mark.parametrize("tokens", [TOKEN, ""])
def test_a_thread_that_is_forbidden_when_it_is_fetched_is_private(
    make_lab: MakeLab, database: Database, tokens: str
) -> None:
    """Between search and fetch, an organization may lock the token out; the note says so, as REST's does."""
    lab = make_lab()
    lock = faults.act(
        lambda: lab.service.store.protect("acme/nets"),
        lambda request: b"Threads(" in request.body or request.path.endswith("/issues/1/comments"),
    )
    lab.server.faults.append(lock)
    lab.crawl(database, tokens=tokens)
    assert sorted(threads(database)) == ["acme/both#4", "acme/both#5", "lab/torchy#6"]
    ((note,),) = rows(database, "select note from frontier_entry where state = 'gone'")
    assert note.startswith("private: ")


def test_a_renamed_repository_keeps_its_threads(make_lab: MakeLab, database: Database) -> None:
    """Threads of a repository that has another name or other topics now are the same threads."""
    lab = make_lab()
    lab.crawl(database)
    before = rows(database, "select id from thread order by id")
    lab.clock.sleep(7200)
    lab.service.store.rename("acme/nets", "acme/new-nets")
    both = lab.service.store.repositories[12]
    lab.service.store.add_repository(replace(both, topics=("pytorch",)))
    lab.crawl(database)
    assert rows(database, "select id from thread order by id") == before
    assert threads(database).keys() == {"acme/both#4", "acme/both#5", "acme/new-nets#1", "lab/torchy#6"}
    assert threads(database)["acme/both#4"][1] == '["pytorch"]'
    urls = rows(database, "select url from thread where repository = 'acme/new-nets'")
    assert urls == [("https://github.com/acme/new-nets/issues/1",)]
    assert lab.crawl(database).requests <= 2


def test_a_labelled_thread_keeps_its_label_when_its_repository_is_renamed(
    make_lab: MakeLab, database: Database
) -> None:
    """A label names its thread by URL, so the thread keeps that URL through this crawl and later ones."""
    lab = make_lab()
    lab.crawl(database)
    url, id_ = rows(database, "select url, id from thread where repository = 'acme/nets'")[0]
    with database.writing() as session:
        import_final_labels(session, [(session.get_one(Thread, id_), Label(False, "not-a-bug"))])
    lab.service.store.rename("acme/nets", "acme/new-nets")
    for _ in range(2):
        lab.clock.sleep(7200)
        lab.service.store.edit("acme/new-nets", 1, lab.clock.now() - timedelta(minutes=30), title="INF now")
        lab.crawl(database)
        assert rows(database, "select url, repository from thread where title = 'INF now'") == [
            (url, "acme/new-nets")
        ]
        with database.reading() as session:
            assert [final.thread_id for final in final_labels(session)] == [id_]


def test_what_changed_is_noticed_without_a_token(make_lab: MakeLab, database: Database) -> None:
    """Anonymously, edits, new threads and new repositories are found."""
    lab = make_lab()
    lab.crawl(database, tokens="")
    lab.clock.sleep(7200)
    later = lab.clock.now() - timedelta(minutes=30)
    lab.service.store.edit("acme/both", 4, later, title="INF now")
    lab.service.store.add(make_thread(90, "acme/nets", 9, created_at=later))
    lab.service.store.add(make_thread(92, "lab/other", 9, created_at=later))
    lab.service.store.add_repository(make_repository(77, "new/one", "pytorch"))
    lab.service.store.add(make_thread(91, "new/one", 1))
    report = lab.crawl(database, tokens="")
    assert (report.counts.new, report.counts.changed) == (2, 1)


@pytest.mark.parametrize(
    ("window", "numbers"),
    [
        (Window(until=DAY), ["acme/nets#1", "lab/torchy#6"]),
        (Window(since=DAY + timedelta(minutes=5)), ["acme/both#5"]),
        (Window(since=DAY + timedelta(minutes=4), until=DAY + timedelta(minutes=4)), ["acme/both#4"]),
    ],
)
def test_windows_bound_the_creation(
    make_lab: MakeLab, database: Database, window: Window, numbers: list[str]
) -> None:
    """--since and --until bound when threads were opened, both ends included."""
    make_lab().crawl(database, window)
    assert sorted(threads(database)) == numbers


def test_a_limit_saves_searches(make_lab: MakeLab, database: Database) -> None:
    """With --limit, threads are fetched as soon as enough are found."""
    lab = make_lab(dense(20, 100))
    report = lab.crawl(database, Window(limit=7))
    assert report.counts.new == 7
    assert len(lab.queries()) == 1


def test_pitfall_8_renamed_and_deleted_repositories_of_a_batch_are_noticed(
    make_lab: MakeLab, database: Database
) -> None:
    """A repository renamed after the listing is searched under its new name, a deleted one is noted."""
    lab = make_lab()

    def meanwhile(request: Request) -> Response | None:
        lab.service.store.rename("acme/nets", "acme/new-nets")
        lab.service.store.hide("lab/torchy")
        return None

    lab.server.faults.append(Fault(lambda request: request.path == "/search/issues", meanwhile))
    lab.crawl(database)
    assert sorted(threads(database)) == ["acme/both#4", "acme/both#5", "acme/new-nets#1"]
    notes = rows(database, "select note from frontier_entry where kind = 'check'")
    assert notes == [("acme/nets is now acme/new-nets; lab/torchy is gone",)]


def test_pitfall_8_is_noticed_without_a_token(make_lab: MakeLab, database: Database) -> None:
    """Anonymously, a repository renamed after the listing is found by listing again."""
    lab = make_lab()

    def meanwhile(request: Request) -> Response | None:
        lab.service.store.rename("acme/nets", "acme/new-nets")
        return None

    lab.server.faults.append(Fault(lambda request: request.path == "/search/issues", meanwhile))
    lab.crawl(database, tokens="")
    assert sorted(threads(database)) == ["acme/both#4", "acme/both#5", "acme/new-nets#1", "lab/torchy#6"]


def test_many_changes_are_searched_in_the_catalogue(make_lab: MakeLab, database: Database) -> None:
    """Anonymously, where all of GitHub has more changes than the catalogue has searches, it is searched."""
    lab = make_lab()
    lab.crawl(database, tokens="")
    lab.clock.sleep(7200)
    later = lab.clock.now() - timedelta(minutes=30)
    for n in range(150):
        lab.service.store.add(make_thread(5000 + n, "lab/other", 100 + n, created_at=later))
    lab.service.store.add(make_thread(90, "acme/nets", 9, created_at=later))
    lab.server.log.clear()
    assert lab.crawl(database, tokens="").counts.new == 1
    assert any("repo:acme/nets" in query and "updated:>=" in query for query in lab.queries())


def test_pitfall_9_a_batch_of_nothing_is_asked_one_by_one(make_lab: MakeLab, database: Database) -> None:
    """Where none of the names can be searched, each repository is looked up by its id."""
    lab = make_lab(World(SMALL.repositories[:1], SMALL.threads[:1]))

    def meanwhile(request: Request) -> Response | None:
        lab.service.store.rename("acme/nets", "acme/new-nets")
        return None

    lab.server.faults.append(Fault(lambda request: request.path == "/search/issues", meanwhile))
    lab.crawl(database)
    assert sorted(threads(database)) == ["acme/new-nets#1"]


@pytest.mark.parametrize(("times", "truncated"), [(1, 0), (3, 0), (10**6, 1)])
def test_pitfall_10_searches_that_time_out(
    make_lab: MakeLab, database: Database, times: int, truncated: int
) -> None:
    """An incomplete search is repeated, then split, then marked, and what it gave is kept."""
    lab = make_lab()
    lab.service.incomplete.append(Incomplete("is:issue", times))
    report = lab.crawl(database)
    assert bool(report.truncated) == bool(truncated)
    if not truncated:
        assert len(threads(database)) == 4
    assert len(lab.queries()) < 80


@pytest.mark.parametrize("kind", ["RATE_LIMIT", "RATE_LIMITED"])
@pytest.mark.parametrize("reset", [None, 90])
def test_pitfall_15_limits_inside_a_success(
    make_lab: MakeLab, database: Database, kind: str, reset: int | None
) -> None:
    """GraphQL's rate limit in a 200 is waited for, not taken for an answer."""
    lab = make_lab()
    when = lab.clock.now() + timedelta(seconds=reset) if reset else None
    lab.server.faults.append(faults.github_graphql_limit(kind, reset=when))
    lab.crawl(database)
    assert len(threads(database)) == 4
    assert lab.clock.slept >= 60


FAULTS = {
    "13 seconds": lambda now: faults.too_many(30),
    "13 date": lambda now: faults.too_many(now + timedelta(seconds=30)),
    "13 nothing": lambda now: faults.too_many(None),
    "14 secondary": lambda now: faults.github_secondary(),
    "14 secondary with seconds": lambda now: faults.github_secondary(7),
    "12 ahead": lambda now: faults.github_primary(now + timedelta(minutes=9)),
    "12 past": lambda now: faults.github_primary(now - timedelta(minutes=9)),
    "12 skewed": lambda now: faults.github_primary(now + timedelta(days=3)),
    "16 only a message": lambda now: faults.github_message_only(),
    "18 twice": lambda now: faults.server_error(502, 2),
    "18 twice on graphql": lambda now: faults.server_error(504, 2, faults.path("graphql")),
    "19 html": lambda now: faults.html_success(),
    "19 truncated json": lambda now: faults.truncated_json(),
    "19 cut short": lambda now: faults.cut_short(),
    "19 dropped": lambda now: faults.drop(2),
    "empty object": lambda now: faults.fault(faults.json_response(200, {})),
    "accepted later": lambda now: faults.fault(Response(202, b"{}")),
}


@pytest.mark.parametrize("after", [0, 6])
@pytest.mark.parametrize("name", FAULTS)
def test_faults_that_pass_lose_nothing(make_lab: MakeLab, database: Database, name: str, after: int) -> None:
    """Limits, gateways, proxies and cut answers cost time, never a thread."""
    lab = make_lab()
    lab.server.faults.append(replace(FAULTS[name](lab.clock.now()), after=after))
    report = lab.crawl(database)
    assert len(threads(database)) == 4
    assert (report.truncated, report.gone) == (0, 0)


def test_pitfall_12_waits_are_the_servers_own(make_lab: MakeLab, database: Database) -> None:
    """A used-up quota is waited for until its reset, and the wait says why."""
    lab = make_lab()
    lab.server.faults.append(faults.github_primary(lab.clock.now() + timedelta(minutes=9)))
    lab.crawl(database)
    assert lab.clock.slept >= 540
    assert "search rate limit" in lab.watcher.waits


def test_several_tokens_have_limits_of_their_own(make_lab: MakeLab, database: Database) -> None:
    """A token that is used up is left alone while another one is free."""
    lab = make_lab()
    lab.service.exhaust("ghp_first", "search")
    lab.service.exhaust("ghp_first", "graphql")
    lab.crawl(database, tokens="ghp_first,ghp_second")
    assert len(threads(database)) == 4
    assert lab.clock.slept < 60
    used = {request.headers["authorization"] for request in lab.server.log}
    assert used == {"token ghp_first", "token ghp_second"}


def test_pitfall_26_anonymous_searches_keep_their_pace(make_lab: MakeLab, database: Database) -> None:
    """Without a token nothing asks GraphQL, and searches are six seconds apart."""
    lab = make_lab()
    lab.crawl(database, tokens="")
    searches = [request for request in lab.server.log if request.path.startswith("/search")]
    assert lab.clock.slept >= 6 * (len(searches) - 1)
    assert "/graphql" not in lab.server.counts
    assert not any("authorization" in request.headers for request in lab.server.log)


@pytest.mark.parametrize("budget", [3000, 120])
def test_pitfall_17_a_page_that_is_too_heavy_is_halved(
    make_lab: MakeLab, database: Database, budget: int
) -> None:
    """RESOURCE_LIMITS makes pages smaller, and no thread is lost or doubled."""
    lab = make_lab(dense(2, 30), node_budget=budget)
    report = lab.crawl(database)
    assert report.counts.new == 60
    assert rows(database, "select count(*) from post")[0][0] == 120


@pytest.mark.parametrize("name", ["Repositories(", "Threads(", "Refresh("])
def test_pitfall_18_a_query_that_fails_again_is_made_smaller(
    make_lab: MakeLab, database: Database, name: str
) -> None:
    """Where GraphQL gives 502 to large pages only, everything comes in smaller ones."""
    lab = make_lab(dense(3, 3))
    error = faults.server_error(502, 4, lambda request: name.encode() in request.body)
    lab.server.faults.append(error)
    lab.crawl(database)
    lab.crawl(database)
    assert len(threads(database)) == 9
    assert error.times == 0


@pytest.mark.parametrize("tokens", [TOKEN, ""])
def test_pitfall_18_an_outage_stops_resumably(make_lab: MakeLab, database: Database, tokens: str) -> None:
    """A gateway that fails for ever ends the run with what was kept; a rerun finishes."""
    lab = make_lab()
    lab.server.faults.append(faults.for_ever(faults.server_error(502, after=5)))
    with pytest.raises(StoppedEarly, match="502"):
        lab.crawl(database, tokens=tokens)
    done = rows(database, "select count(*) from frontier_entry where state = 'done'")[0][0]
    assert done >= 4
    lab.server.faults.clear()
    lab.server.log.clear()
    lab.crawl(database, tokens=tokens)
    assert len(threads(database)) == 4
    again = [request for request in lab.server.log if request.path == "/search/repositories"]
    assert len(again) == (0 if tokens else 1)  # without a token, names are checked by listing again


@pytest.mark.parametrize("tokens", [TOKEN, ""])
def test_pitfall_18_one_broken_thread_stops_nothing_else(
    make_lab: MakeLab, database: Database, tokens: str
) -> None:
    """A thread that answers 502 for ever is put aside; the others come, and each rerun tries it again."""
    lab = make_lab(dense(2, 30))
    poison = thread_node_id(lab.service.store.thread("bench/repository-1", 17)).encode()

    def is_broken(request: Request) -> bool:
        return poison in request.body or request.path == "/repositories/101/issues/17/comments"

    broken = faults.for_ever(faults.server_error(502, matches=is_broken))
    lab.server.faults.append(broken)
    for _ in range(2):
        with pytest.raises(StoppedEarly, match="all is done but 1 thread"):
            lab.crawl(database, tokens=tokens)
        assert len(threads(database)) == 59
        pending = rows(database, "select state, note from frontier_entry where failures > 0")
        assert [state for state, _ in pending] == ["pending"]
        assert "502" in pending[0][1]
    broken.times = 0
    lab.crawl(database, tokens=tokens)
    assert len(threads(database)) == 60
    assert rows(database, "select count(*) from frontier_entry where state = 'pending'") == [(0,)]


@pytest.mark.parametrize("tokens", [TOKEN, ""])
def test_pitfall_20_killed_anywhere_it_ends_the_same(
    make_lab: MakeLab, tmp_path: Path, _empty_database: Path, tokens: str
) -> None:
    """Killed at any request and resumed, a crawl ends with the database of one left alone."""

    def crawl(name: str, stops: list[int]) -> tuple[Lab, Content]:
        path = tmp_path / f"{name}.db"
        path.write_bytes(_empty_database.read_bytes())
        lab, database = make_lab(), open_database(f"sqlite:///{path}")
        for stop in stops:
            with pytest.raises(Killed):
                lab.crawl(database, tokens=tokens, watcher=Watcher(stop))
        lab.crawl(database, tokens=tokens)
        database.close()
        return lab, content_of(path)

    lab, expected = crawl("undisturbed", [])
    total = len(lab.server.log)
    for stop in range(total):
        lab, content = crawl(f"killed{stop}", [stop])
        assert content == expected
        assert len(lab.server.log) <= total + 1
    lab, content = crawl("killed often", [3, 1, 2])
    assert content == expected


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [TOKEN, ""])
def test_pitfall_20_killed_at_random_points(
    make_lab: MakeLab, tmp_path: Path, _empty_database: Path, tokens: str
) -> None:
    """A larger crawl that is killed fifty times at random ends like one left alone."""
    contents = []
    chance = random.Random(20)
    for name, kills in (("undisturbed", 0), ("killed", 50)):
        path = tmp_path / f"{name}.db"
        path.write_bytes(_empty_database.read_bytes())
        lab, database = make_lab(BUSY), open_database(f"sqlite:///{path}")
        for _ in range(kills):
            try:
                lab.crawl(database, tokens=tokens, watcher=Watcher(chance.randrange(1, 5)))
                break
            except Killed:
                continue
        else:
            lab.crawl(database, tokens=tokens)
        database.close()
        contents.append(content_of(path))
    assert contents[0] == contents[1]


BUSY = World(
    SMALL.repositories,
    (
        *SMALL.threads,
        *(make_thread(1000 + n, "acme/nets", 100 + n, replies=1 + (n % 40 == 0) * 120) for n in range(130)),
        *(make_thread(2000 + n, "lab/torchy", 100 + n, kind="pull") for n in range(20)),
    ),
)
Content = dict[str, list[tuple[Any, ...]]]
TABLES = {
    "thread": "external_id, url, kind, title, created_at, updated_at, closed_at, tags, n_posts, candidate",
    "post": "external_id, position, role, body, created_at",
    "frontier_entry": "kind, key, state, note, parameters",
    "repository": "external_id, full_name, topics, facts",
    "memory": "name, case when owner = 'nanmine' then '' else value end",
    "raw_payload": "kind, request",
}


def content_of(path: Path) -> Content:
    """Return the content of a database that does not rest on its addresses and row ids."""
    with sqlite3.connect(path) as connection:
        content = {
            table: connection.execute(f"select {columns} from {table} order by 1, 2").fetchall()
            for table, columns in TABLES.items()
        }
    return {
        table: [
            tuple(re.sub(r"127.0.0.1:\d+", "HOST", str(value)) for value in row)
            for row in sorted(rows, key=str)
        ]
        for table, rows in content.items()
    }


@pytest.mark.parametrize("tokens", [TOKEN, ""])
def test_pitfall_21_all_comments_are_fetched(make_lab: MakeLab, database: Database, tokens: str) -> None:
    """Threads with 0, 1, 50, 51, 101 and 250 comments come whole and in order."""
    counts = (0, 1, 50, 51, 100, 101, 250)
    found = tuple(make_thread(n + 1, "acme/nets", n + 1, replies=replies) for n, replies in enumerate(counts))
    make_lab(World(SMALL.repositories[:1], found)).crawl(database, tokens=tokens)
    assert [row[2] for row in threads(database).values()] == [replies + 1 for replies in counts[1:]]
    bodies = rows(
        database,
        "select p.body from post p join thread t on t.id = p.thread_id"
        " where t.external_id = 'acme/nets#7' order by position",
    )
    assert [body for (body,) in bodies[1:]] == [f"reply {n}" for n in range(1, 251)]


@pytest.mark.parametrize("tokens", [TOKEN, ""])
def test_pitfall_22_hostile_posts_are_kept(make_lab: MakeLab, database: Database, tokens: str) -> None:
    """Deleted authors, empty, huge and odd bodies are stored, NUL and lone surrogates replaced."""
    bodies = ["", "NaN \x00 \ud800 \u202e 🔥", "NaN " + "x" * 65_532, "ok"]
    posts = tuple(WorldPost(n, None if n == 1 else "user", DAY, body) for n, body in enumerate(bodies))
    thread = make_thread(1, "acme/nets", 1, posts=posts)
    make_lab(World(SMALL.repositories[:1], (thread,))).crawl(database, tokens=tokens)
    stored = [body for (body,) in rows(database, "select body from post order by position")]
    assert stored == ["", "NaN \ufffd \ufffd \u202e 🔥", bodies[2], "ok"]
    assert rows(database, "select count(*) from post where author is null") == [(1,)]


@pytest.mark.parametrize("tokens", [TOKEN, ""])
@pytest.mark.parametrize("what", ["deleted", "converted", "transferred"])
def test_pitfall_24_threads_that_go_between_search_and_fetch(
    make_lab: MakeLab, database: Database, what: str, tokens: str
) -> None:
    """A thread that is gone when it is fetched is marked, and the others come."""
    lab = make_lab()

    def meanwhile(request: Request) -> Response | None:
        if what == "transferred":
            lab.service.store.transfer("acme/both", 4, "lab/other", 40)
        else:
            lab.service.store.delete("acme/both", 4, 410 if what == "deleted" else 404)
        return None

    fetching = Fault(
        lambda request: b"Threads(" in request.body or request.path.endswith("/issues/4/comments"), meanwhile
    )
    lab.server.faults.append(fetching)
    report = lab.crawl(database, tokens=tokens)
    if what != "transferred" or tokens:
        assert report.gone == 1
        assert sorted(threads(database)) == ["acme/both#5", "acme/nets#1", "lab/torchy#6"]


def test_pitfall_30_a_proxy_is_not_asked_for_this_machine(
    make_lab: MakeLab, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a proxy in the environment, a server on loopback is still reached directly."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    make_lab().crawl(database)
    assert len(threads(database)) == 4


def test_pitfall_32_the_token_is_nowhere(
    make_lab: MakeLab, database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the database nor the log nor an error shows the token."""
    lab = make_lab()
    with caplog.at_level("DEBUG"):
        lab.crawl(database)
        lab.service.revoked.add(TOKEN)
        with pytest.raises(Unauthorized) as caught:
            lab.crawl(database)
    assert TOKEN not in caplog.text + str(caught.value) + repr(lab.settings())
    payloads = [row[0] for row in rows(database, "select request from raw_payload")]
    assert not any(TOKEN in request for request in payloads)
    assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.glob("study.db*"))


def test_pitfall_33_a_refused_token_stops_at_once(make_lab: MakeLab, database: Database) -> None:
    """A 401 in the middle ends the run without another request, and keeps what came."""
    lab = make_lab()
    lab.server.faults.append(faults.status(401, after=5))
    with pytest.raises(Unauthorized, match="NANMINE_GITHUB_TOKEN"):
        lab.crawl(database)
    assert len(lab.server.log) == 6
    lab.crawl(database)
    assert len(threads(database)) == 4


def test_pitfall_34_a_long_wait_stops_resumably(make_lab: MakeLab, database: Database) -> None:
    """Retry-After of an hour ends a run that may wait a minute, before it waits."""
    lab = make_lab()
    lab.server.faults.append(faults.github_secondary(3600, after=4))
    with pytest.raises(QuotaExhausted, match="--max-wait"):
        lab.crawl(database, max_wait=60)
    assert lab.clock.slept < 60
    lab.crawl(database)
    assert len(threads(database)) == 4


@pytest.mark.parametrize("fault", [faults.gzip_bomb(), faults.deep_json()])
def test_bombs_are_bounded(make_lab: MakeLab, database: Database, fault: Fault) -> None:
    """A bomb among the threads makes the page smaller, and costs one thread at the most."""
    lab = make_lab()
    bomb = replace(fault, matches=lambda request: b"Threads(" in request.body, times=10**6)
    lab.server.faults.append(bomb)
    report = lab.crawl(database)
    assert (report.truncated, len(threads(database))) == (4, 0)
    lab.server.faults[0] = replace(bomb, times=1)


def test_the_token_follows_no_redirect_to_another_host(make_lab: MakeLab, database: Database) -> None:
    """A redirect elsewhere is not followed, with or without the token."""
    lab, elsewhere = make_lab(), make_lab()
    found = lab.server.faults
    found.append(faults.redirect(elsewhere.server.url + "/x", matches=faults.path("comments"), times=10**6))
    report = lab.crawl(database, tokens="")
    assert elsewhere.server.log == []
    assert report.gone == 4
    note = rows(database, "select note from frontier_entry where state = 'gone'")[0][0]
    assert note.startswith("moved: ")


def test_a_query_that_is_refused_is_an_error(make_lab: MakeLab, database: Database) -> None:
    """Pitfall 1: a 422 is a failure that says why, not an empty result."""
    lab = make_lab()
    refusal = faults.json_response(422, {"message": "Query must include 'is:issue'", "status": "422"})
    lab.server.faults.append(faults.fault(refusal, matches=faults.path("search/issues")))
    with pytest.raises(Refused, match="is:issue"):
        lab.crawl(database)


def test_every_thread_is_recomputed_from_its_payload(make_lab: MakeLab, database: Database) -> None:
    """The stored payloads give the stored threads again, and say by which query each was found."""
    lab = make_lab(BUSY)
    lab.crawl(database)
    source = open_source("github", lab.settings(), Transport("github", Watcher(), lab.clock))
    import zlib

    again: dict[str, ThreadRecord] = {}
    for kind, request, body in rows(database, "select kind, request, body from raw_payload order by id"):
        for thread in source.to_threads(Payload(kind, request, zlib.decompress(body))):
            again[thread.external_id] = thread
    assert {key: thread.n_posts for key, thread in again.items()} == {
        key: row[2] for key, row in threads(database).items()
    }


@pytest.mark.parametrize(
    ("url", "outcome"),
    [
        ("https://github.com/acme/nets/issues/1", ("done", None)),
        ("https://github.com/acme/both/pull/5", ("done", None)),
        ("https://github.com/acme/nets/issues/99", ("gone", "gone: ")),
        ("https://github.com/no/body/issues/1", ("gone", "gone: ")),
        ("https://github.com/old/nets/issues/1", ("done", "moved: https://github.com/acme/nets/issues/1")),
        ("https://github.com/acme/both/issues/41", ("done", "moved: https://github.com/lab/other/issues/7")),
    ],
)
@pytest.mark.parametrize("tokens", [TOKEN, ""])
def test_listed_urls_become_threads_or_reasons(
    make_lab: MakeLab,
    database: Database,
    url: str,
    outcome: tuple[str, str | None],
    tokens: str,
) -> None:
    """`hydrate` fetches a thread wherever it is now, or records why there is none."""
    lab = make_lab()
    lab.service.store.former["old/nets"] = 11
    lab.service.store.moved[12, 41] = 7
    state, note = hydrate(lab, database, url, tokens)
    assert state == outcome[0]
    assert (note or "").startswith(outcome[1] or "")
    assert len(threads(database)) == (state == "done")


def hydrate(lab: Lab, database: Database, url: str, tokens: str) -> tuple[str, str | None]:
    """Fetch one listed URL; return the state of its entry and the note on it."""
    settings = lab.settings(tokens)
    transport = Transport("github", Watcher(), lab.clock)
    source = open_source("github", settings, transport)
    entry = source.listed_entry(url)
    assert entry is not None
    with database.writing() as session:
        crawl = Crawl(source="github", parameters={"list": url}, started_at=lab.clock.now())
        session.add(crawl)
        session.flush()
        crawl_id = crawl.id
        add_entries(session, crawl_id, [entry])
    work_off(database, settings.study, source, crawl_id, transport)
    source.close()
    row = rows(
        database, f"select state, note from frontier_entry where crawl_id = {crawl_id} and kind = 'listed'"
    )
    return row[0][0], row[0][1]


@pytest.mark.parametrize(("what", "availability"), [("delete", "gone"), ("transfer", "moved")])
def test_a_stored_thread_that_a_list_finds_gone_says_so(
    make_lab: MakeLab, database: Database, what: str, availability: str
) -> None:
    """A thread that was fetched before keeps its row when its URL leads nowhere, or elsewhere."""
    lab = make_lab()
    hydrate(lab, database, "https://github.com/acme/nets/issues/1", TOKEN)
    more = ("lab/other", 40) if what == "transfer" else ()
    getattr(lab.service.store, what)("acme/nets", 1, *more)
    hydrate(lab, database, "https://github.com/acme/nets/issues/1", TOKEN)
    assert threads(database)["acme/nets#1"][4] == availability
    assert ("lab/other#40" in threads(database)) == (what == "transfer")


def test_every_published_url_is_a_listed_thread(shared: Path) -> None:
    """The authors' 200 GitHub URLs are 184 threads, 23 of the URLs pull requests, 16 in both lists."""
    source = open_source("github", load_settings({}), Transport("github", Watcher()))
    entries = []
    for path in sorted((shared / "study/published").glob("*on Github.md")):
        entries += [source.listed_entry(url) for url in find_urls(path.read_text())]
    found = [entry for entry in entries if entry is not None]
    assert len(entries) == len(found) == 200
    assert len({entry.key for entry in found}) == 184
    assert sum(entry.parameters["kind"] == "pull" for entry in found) == 23
