"""The demo: simulated people label like people, and the whole study runs offline."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from db.engine import Database, open_database
from db.errors import UsageError
from db.labels import final_labels, read_history
from flows.commands.demo import STUDY, prepare
from labeling.simulate import ANNOTATORS, Simulation
from pipeline.sandbox.expected import right_labels, to_record
from pipeline.sandbox.world import load_world
from pipeline.store import author_key, upsert_threads
from pipeline.study import Study, load_study

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
