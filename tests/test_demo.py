"""The demo: simulated people label like people, and the whole study runs offline."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from db.engine import Database, open_database
from db.errors import UsageError
from db.final_labels import final_labels
from db.label_events import read_history
from db.threads import Thread
from flows.commands.demo import STUDY, prepare
from labeling.desk import Desk
from labeling.people import add_annotator
from labeling.simulate import ANNOTATORS, Simulation
from pipeline.crawl import crawl_source
from pipeline.sandbox import Sandbox
from pipeline.sandbox.clock import VirtualClock
from pipeline.sandbox.expected import SOURCES, external_id, right_labels, to_record
from pipeline.sandbox.world import load_world
from pipeline.settings import Settings
from pipeline.sources import open_source
from pipeline.sources.base import Window
from pipeline.store import author_key, upsert_threads
from pipeline.study import Study, load_study
from pipeline.transport import Transport

WORLD = load_world()


def filled(path: Path, study: Study) -> Database:
    """Return a database with every thread of the world."""
    database = open_database(f"sqlite:///{path}")
    records = [(to_record(WORLD, thread, study), None) for thread in WORLD.threads]
    with database.writing() as session:
        upsert_threads(session, study, records, author_key(session))
    return database


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, Study]:
    """A database that the simulated people have labelled under the demo's study."""
    study = load_study(STUDY)
    database = filled(tmp_path_factory.mktemp("demo") / "demo.db", study)
    Simulation(database, study, right_labels(WORLD)).run()
    return database, study


def test_every_row_is_marked_as_simulated(labelled: tuple[Database, Study]) -> None:
    """Each decision, ruling and final label of simulated people says so."""
    with labelled[0].reading() as session:
        finals = final_labels(session)
        acts = [event for event in read_history(session).events if event.annotator]
    assert all(event.simulated for event in acts)
    assert finals
    assert all(final.simulated for final in finals)


def test_the_quotas_are_met_with_the_right_labels(labelled: tuple[Database, Study]) -> None:
    """Each stratum ends with its quota of valid threads or a batch more, nearly all labelled right."""
    database, study = labelled
    with database.reading() as session:
        finals = final_labels(session)
    counts = Counter(code for final in finals if final.label.valid for code in final.strata)
    assert all(15 <= counts[stratum.code] <= 20 for stratum in study.strata), counts


def test_annotators_disagree_and_the_adjudicator_settles(labelled: tuple[Database, Study]) -> None:
    """Two people agree mostly, not always, and no dispute is left."""
    with labelled[0].reading() as session:
        history = read_history(session)
        ways = Counter(final.how for final in final_labels(session))
    assert ways["agreed"] > ways["adjudicated"] > 0
    assert {vote.annotator for vote in history.events if vote.kind == "decision"} == set(ANNOTATORS)
    assert not [url for url in history.threads if history.outcome(url).state == "disputed"]


def test_the_faithful_protocol_can_be_simulated_too(tmp_path: Path) -> None:
    """Under the bundled study the same people pilot, label, check and settle."""
    study = load_study()
    database = filled(tmp_path / "faithful.db", study)
    Simulation(database, study, right_labels(WORLD)).run()
    with database.reading() as session:
        assert len(final_labels(session)) > 80


def test_the_demo_refuses_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    """A folder with other files is left alone; a former demo is begun anew."""
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="is not empty and no demo"):
        prepare(tmp_path)
    folder = prepare(tmp_path / "demo")
    (folder / "demo.db").touch()
    assert not (prepare(folder) / "demo.db").exists()


def test_the_demo_keeps_what_people_labelled(tmp_path: Path, study: Study) -> None:
    """A former demo in which somebody went on labelling is not begun anew."""
    folder = prepare(tmp_path / "demo")
    database = filled(folder / "demo.db", study)
    with database.writing() as session:
        add_annotator(Desk(session, study), "maria")
    database.close()
    with pytest.raises(UsageError, match="labels that people made"):
        prepare(folder)


class Watcher:
    """Says nothing."""

    def requested(self, source: str) -> None:
        """One request went out."""

    def committed(self, source: str, new: int, changed: int) -> None:
        """A page is kept."""

    def quota(self, source: str, limit: str, left: int) -> None:
        """The quota left."""

    def waiting(self, source: str, why: str, until: object) -> None:
        """The crawl waits."""


def crawl(database: Database, settings: Settings, sandbox: Sandbox, names: Sequence[str]) -> None:
    """Crawl the named services of a sandbox into a database."""
    sources = settings.study.sources
    here = {name: replace(source, url=sandbox.urls[name]) for name, source in sources.items()}
    settings = replace(settings, study=replace(settings.study, sources=here))
    for name in names:
        transport = Transport(name, Watcher(), clock=sandbox.clock, pace=0)
        source = open_source(name, settings, transport)
        crawl_source(database, settings.study, source, Window(), transport)
        source.close()


@pytest.mark.parametrize("tokens", [("token",), ()], ids=["token", "anonymous"])
def test_a_crawl_of_the_world_finds_exactly_its_candidates(
    database: Database, settings: Settings, tokens: tuple[str, ...]
) -> None:
    """The candidates in the database are the threads of the world that say they are."""
    with Sandbox(WORLD, clock=VirtualClock()) as sandbox:
        crawl(database, replace(settings, github_tokens=tokens), sandbox, list(sandbox.urls))
    candidates = select(Thread.source, Thread.external_id).where(Thread.candidate)
    with database.reading() as session:
        found = set(session.execute(candidates).tuples())
    assert found == {(SOURCES[t.service], external_id(t)) for t in WORLD.threads if t.candidate}


def test_a_label_outlives_its_thread(database: Database, settings: Settings) -> None:
    """A labelled topic and question that are deleted are gone at the next crawl, and keep their labels."""
    gone, clock = {"stackoverflow": "34100200", "pytorch-forums": "412"}, VirtualClock()
    with Sandbox(WORLD, clock=clock) as sandbox:
        crawl(database, settings, sandbox, list(gone))
        Simulation(database, settings.study, right_labels(WORLD)).run()
        with database.reading() as session:
            before = {final.url: final.label for final in final_labels(session)}
        clock.sleep(86_400)
        for name, id in gone.items():
            service: Any = sandbox.servers[name].service
            service.world = service.world.without(service.name, int(id))
        crawl(database, settings, sandbox, list(gone))
    with database.reading() as session:
        assert {final.url: final.label for final in final_labels(session)} == before
        deleted = session.scalars(select(Thread).where(Thread.availability == "gone")).all()
        assert {thread.source: thread.external_id for thread in deleted} == gone
        assert not any(post.body for thread in deleted for post in thread.posts)
        assert {thread.url for thread in deleted} <= before.keys()


@pytest.mark.slow
@pytest.mark.flow
@pytest.mark.timeout(300)
def test_the_demo_ends_with_table_1(tmp_path: Path) -> None:
    """`nanmine demo` runs the whole study, leaves its files, and prints Table 1 last."""
    done = subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", "demo", "--out", "study"],
        cwd=tmp_path,
        env={**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _, table = done.stdout.split("cd there to go on with them.")
    assert "| Code Relevant | IR |" in table
    assert "are by simulated annotators" in table
    left = {path.name for path in (tmp_path / "study").iterdir()}
    assert {"study.toml", "demo.db", "tables", "report.html"} <= left
    assert "simulated" in (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
