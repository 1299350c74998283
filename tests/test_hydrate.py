"""Hydrating a list turns every URL into a thread or a recorded reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from db.crawls import ListedUrl
from db.engine import Database
from db.errors import StoppedEarly
from db.threads import Thread, ThreadStratum
from flows.progress import CrawlProgress
from pipeline.errors import InputError
from pipeline.hydrate import hydrate_files
from pipeline.sandbox import Sandbox, faults
from pipeline.settings import Settings
from pipeline.status import read_status


def at_sandbox(settings: Settings, sandbox: Sandbox, token: bool = True) -> Settings:
    """Return the settings with the sandbox in place of the services."""
    sources = {
        name: replace(source, url=sandbox.urls[name]) for name, source in settings.study.sources.items()
    }
    tokens = ("sandbox",) if token else ()
    return replace(settings, study=replace(settings.study, sources=sources), github_tokens=tokens, pace=0.0)


def listed(folder: Path, *urls: str, name: str = "list.md") -> Path:
    """Write a Markdown list of URLs."""
    (folder / name).write_text("| posts |\n| --- |\n" + "".join(f"| {url} |\n" for url in urls))
    return folder / name


def world_urls(sandbox: Sandbox, settings: Settings) -> dict[str, str]:
    """Return one URL of a candidate of each service, in the form that people share."""
    first = {
        service: next(t for t in sandbox.world.threads_of(service) if t.candidate) for service in SERVICES
    }
    github, question, topic = (first[service] for service in SERVICES)
    return {
        "github": f"https://github.com/{github.repository}/issues/{github.number}#issuecomment-1",
        "stackoverflow": f"https://stackoverflow.com/q/{question.id}",
        "pytorch-forums": f"https://discuss.pytorch.org/t/some-slug/{topic.id}/3",
    }


SERVICES = ("github", "stackexchange", "discourse")


@pytest.mark.parametrize("token", [True, False], ids=["token", "anonymous"])
def test_every_url_ends_as_a_thread_or_a_reason(
    database: Database, settings: Settings, tmp_path: Path, token: bool
) -> None:
    """Shared forms of URLs are fetched, missing threads are gone, other addresses are unresolved."""
    with Sandbox() as sandbox:
        here = at_sandbox(settings, sandbox, token)
        urls = [
            *world_urls(sandbox, here).values(),
            "https://github.com/nobody/nothing/issues/1",
            "https://stackoverflow.com/questions/1/gone",
            "https://discuss.pytorch.org/t/gone/99999999",
            "https://example.org/t/elsewhere/1",
        ]
        outcomes = hydrate_files(database, here, [listed(tmp_path, *urls)], "TI", CrawlProgress())
    assert outcomes == Counter({"thread": 3, "gone": 3, "unresolved": 1})
    with database.reading() as session:
        rows = session.scalars(select(ListedUrl)).all()
        assert all((row.thread_id is None) == (row.outcome != "thread") for row in rows)
        assert all(row.reason for row in rows if row.outcome != "thread")
        assert len(session.scalars(select(Thread)).all()) == 3
        strata = session.scalars(select(ThreadStratum.stratum).where(ThreadStratum.stratum == "TI")).all()
        assert len(strata) == 3


def test_hydrating_again_asks_for_nothing(database: Database, settings: Settings, tmp_path: Path) -> None:
    """A list whose URLs are settled costs no request the second time."""
    with Sandbox() as sandbox:
        here = at_sandbox(settings, sandbox)
        path = listed(tmp_path, *world_urls(sandbox, here).values())
        first = hydrate_files(database, here, [path], None, CrawlProgress())
        requests = sandbox.requests
        assert hydrate_files(database, here, [path], None, CrawlProgress()) == first
        assert sandbox.requests == requests


def test_a_thread_of_two_lists_keeps_both_strata(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    """One thread in two lists is one row in two strata."""
    with Sandbox() as sandbox:
        here = at_sandbox(settings, sandbox)
        url = world_urls(sandbox, here)["stackoverflow"]
        for code, name in (("TI", "a.md"), ("PI", "b.md")):
            hydrate_files(database, here, [listed(tmp_path, url, name=name)], code, CrawlProgress())
    with database.reading() as session:
        assert len(session.scalars(select(Thread)).all()) == 1
        assert {"TI", "PI"} <= set(session.scalars(select(ThreadStratum.stratum)))


def test_a_thread_that_fails_stays_pending_and_all_else_is_settled(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    """One broken thread keeps neither its source's other URLs nor the other sources' from an outcome."""
    with Sandbox() as sandbox:
        here = at_sandbox(settings, sandbox)
        urls = world_urls(sandbox, here)
        path = listed(tmp_path, "https://github.com/nobody/nothing/issues/1", *urls.values())
        broken = faults.for_ever(faults.server_error(matches=faults.path("/repos/nobody/nothing")))
        sandbox.servers["github"].faults.append(broken)
        for _ in range(2):
            with pytest.raises(StoppedEarly, match="all is done but 1 thread"):
                hydrate_files(database, here, [path], None, CrawlProgress())
        with database.reading() as session:
            outcomes = {row.url: row.outcome for row in session.scalars(select(ListedUrl))}
            assert outcomes == dict.fromkeys(urls.values(), "thread") | {
                "https://github.com/nobody/nothing/issues/1": "pending"
            }
            assert read_status(session, here.study)["failing"]["github"][0]["thread"] == "nobody/nothing#1"
        broken.times = 0
        assert hydrate_files(database, here, [path], None, CrawlProgress()) == Counter(thread=3, gone=1)


def test_a_list_without_urls_is_refused(database: Database, settings: Settings, tmp_path: Path) -> None:
    """A file that lists nothing is an error, not an empty success."""
    with pytest.raises(InputError, match="lists no URL"):
        hydrate_files(database, settings, [listed(tmp_path)], None, CrawlProgress())


@pytest.mark.shared
@pytest.mark.slow
def test_the_published_lists_are_accounted_for(database: Database, settings: Settings, shared: Path) -> None:
    """All 400 published rows end with an outcome; the sandbox has none of them, so none is a thread."""
    with Sandbox() as sandbox:
        here = at_sandbox(settings, sandbox)
        paths = sorted((shared / "study" / "published").glob("*.md"))
        outcomes = hydrate_files(database, here, paths, None, CrawlProgress())
    assert sum(outcomes.values()) == 400
    assert outcomes["thread"] == outcomes["pending"] == 0
