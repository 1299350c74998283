"""Proposals from the database to the database: train, propose, evaluate, and the commands for it."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select

from db.engine import Database
from db.errors import NothingToDo
from db.final_labels import import_final_labels
from db.proposals import (
    CachedFeatures,
    Proposal,
    ProposalModel,
    keep_figures,
    latest_proposals,
    newest_model,
    proposal_records,
)
from db.records import Label
from db.threads import KeywordMatch, Thread
from flows.cli import run
from labeling.suggestions import proposal_lines
from pipeline.errors import InputError
from pipeline.feature_cache import FeatureCache
from pipeline.model import train
from pipeline.proposing import (
    current_model,
    default_model_path,
    evaluate_labels,
    propose,
    read_labelled,
    refresh,
    train_model,
)
from pipeline.settings import Settings
from pipeline.store import upsert_threads
from pipeline.study import Study, load_study
from tests.conftest import made_thread


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.model.npz"


def test_before_any_label_the_cues_propose_for_every_thread_with_a_keyword(
    labelled: Database, study: Study, path: Path
) -> None:
    """Without a model each thread gets the cues' proposal, with its evidence and every cause."""
    name, count = propose(labelled, study, path)
    assert name.startswith("cues")
    with labelled.reading() as session:
        found = list(latest_proposals(session))
    assert len(found) == count == 20
    assert {len(one.causes) for one in found} == {len(study.codebook.causes)}
    for one in found:
        probabilities = [row["probability"] for row in one.causes]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-4)
        assert sum(row["probability"] for row in one.fix_patterns) == pytest.approx(1, abs=1e-3)
    assert any("epsilon" in piece["text"] and piece["position"] == 1 for piece in found[0].evidence)


def test_a_text_that_changes_while_others_are_read_waits_for_the_next_run(
    labelled: Database, study: Study, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crawl at the same time stops neither learning nor proposing; that thread alone is left out."""
    monkeypatch.setattr("pipeline.feature_cache.BATCH", 1)

    def crawled(_: int) -> None:
        with labelled.writing() as session:
            session.get_one(Thread, 20).content_sha256 = "another"

    assert propose(labelled, study, path, crawled)[1] == 19
    assert propose(labelled, study, path)[1] == 20
    with labelled.writing() as session:
        session.execute(delete(CachedFeatures))
        session.get_one(Thread, 20).content_sha256 = "the former"
    while_crawled = read_labelled(labelled, study, crawled).references
    afterwards = read_labelled(labelled, study).references
    assert {one.thread_id for one in afterwards} - {one.thread_id for one in while_crawled} == {20}


def test_whoever_may_see_a_proposal_sees_its_evidence(labelled: Database, study: Study, path: Path) -> None:
    """The lines of a proposal end with the strongest pieces: their post, their weight, their text."""
    propose(labelled, study, path)
    with labelled.reading() as session:
        lines = proposal_lines(session, session.get_one(Thread, 1))
    assert re.fullmatch(r"post 1, \+\d\.\d\d: Add an epsilon\.", lines[3])


def test_training_then_proposing_replaces_what_the_cues_said(
    labelled: Database, study: Study, path: Path
) -> None:
    """The newest proposal of each thread is the trained model's, and a second run changes nothing."""
    propose(labelled, study, path)
    card = train_model(labelled, study, path)
    name, _ = propose(labelled, study, path)
    assert card["digest"].startswith(name.removeprefix("model "))
    with labelled.reading() as session:
        first = list(proposal_records(session))
    propose(labelled, study, path)
    with labelled.reading() as session:
        assert list(proposal_records(session)) == first
        assert session.scalar(select(func.count(Proposal.id))) == 2 * len(first)
    assert {row["model"] for row in first} == {name}


def test_a_refresh_learns_the_labels_with_the_choices_of_the_last_model(
    labelled: Database, study: Study, path: Path
) -> None:
    """After a changed label `refresh` proposes with a model of all labels, and says whose choices it took."""
    trained = train_model(labelled, study, path)
    assert refresh(labelled, study, path)[0].endswith(trained["digest"][:12])
    with labelled.writing() as session:
        thread = session.scalars(select(Thread).order_by(Thread.id.desc())).first()
        assert thread is not None
        assert import_final_labels(session, [(thread, Label(True, None, "GE"))]) == 1
    name, count = refresh(labelled, study, path)
    found, model, card = current_model(labelled, study, path)
    assert (name, count) == (found, 20)
    assert card["causes"]["GE"] == trained["causes"]["GE"] + 1
    assert card["settings"] == trained["settings"]
    assert card["settings_of"] == f"model {trained['digest'][:12]}"
    with labelled.reading() as session:
        assert {row["model"] for row in proposal_records(session)} == {name}
    whole = train(read_labelled(labelled, study).examples, FeatureCache(study).rules, settings=model.settings)
    assert whole.cause.text.tobytes() == model.cause.text.tobytes()


def test_a_refresh_tells_when_labels_have_outgrown_the_choices(
    database: Database, study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With half as many labels again as those that chose the settings, it says how to choose anew."""
    with database.writing() as session:
        upsert_threads(session, study, [(made_thread(number), None) for number in range(20)], b"key")

    def told(labels: int, *words: str) -> bool:
        with database.writing() as session:
            threads = session.scalars(select(Thread).order_by(Thread.id).limit(labels))
            import_final_labels(session, [(thread, Label(True, None, "GE")) for thread in threads])
        assert run(["--database", f"sqlite:///{tmp_path}/study.db", "propose", *words]) == 0
        return "nanmine propose train" in capsys.readouterr().err

    assert not told(8, "train")
    assert not told(11, "run", "--refresh")
    assert told(12, "run", "--refresh")
    assert told(12, "run", "--refresh")
    assert not told(12, "train")
    assert not told(12, "run", "--refresh")


def test_a_refresh_before_any_model_trains_one(labelled: Database, study: Study, path: Path) -> None:
    """Without a model there are no choices to take over, so they are made."""
    name, count = refresh(labelled, study, path)
    assert name.startswith("model ")
    assert count == 20


def test_a_thread_that_is_no_candidate_any_more_loses_its_proposal(
    labelled: Database, study: Study, path: Path
) -> None:
    """Proposing again removes what the same model proposed for a thread without a keyword."""
    propose(labelled, study, path)
    with labelled.writing() as session:
        session.execute(delete(KeywordMatch).where(KeywordMatch.thread_id == 1))
    assert propose(labelled, study, path)[1] == 19
    with labelled.reading() as session:
        assert 1 not in {one.thread_id for one in latest_proposals(session)}


def test_texts_are_read_once(labelled: Database, study: Study) -> None:
    """Features are cached by content: the second time nothing is read, and the rows are the same."""
    cache = FeatureCache(study)
    first = read_labelled(labelled, study)
    assert cache.fill(labelled, first.references) == 0
    second = read_labelled(labelled, study)
    assert (first.examples.features.counts != second.examples.features.counts).nnz == 0
    assert first.fingerprint == second.fingerprint
    with labelled.reading() as session:
        assert session.scalar(select(func.count(CachedFeatures.key))) == len(first.references)


def test_a_model_that_another_database_trained_is_refused(
    labelled: Database, study: Study, path: Path
) -> None:
    """A file that is valid but is not what this database trained last does not propose."""
    train_model(labelled, study, path)
    old = path.read_bytes()
    train_model(labelled, study, path, seed=1)
    path.write_bytes(old)
    with pytest.raises(InputError, match="not the one this database trained"):
        current_model(labelled, study, path)


def test_a_model_that_is_trained_once_more_is_the_newest_again(
    labelled: Database, study: Study, path: Path
) -> None:
    """Labels that are as they were give the model there was, and that proposes, not the one in between."""
    card = train_model(labelled, study, path)
    train_model(labelled, study, path, seed=1)
    assert train_model(labelled, study, path)["digest"] == card["digest"]
    assert current_model(labelled, study, path)[2] == card
    with labelled.reading() as session:
        newest = newest_model(session)
        assert newest and newest.digest == card["digest"]


def test_the_card_gets_the_figures_of_its_own_labels(labelled: Database, study: Study, path: Path) -> None:
    """Figures go onto the newest model's card in the database; the file still is what was trained."""
    train_model(labelled, study, path, seed=1)
    card = train_model(labelled, study, path)
    with labelled.writing() as session:
        name = keep_figures(session, card["data"], card["codebook"], {"labels": 20})
        kept = {model.name: model.card for model in session.scalars(select(ProposalModel))}
    assert name is not None and card["digest"].startswith(name.removeprefix("model "))
    assert kept.pop(name) == card | {"figures": {"labels": 20}}
    assert ["figures" in other for other in kept.values()] == [False]
    assert current_model(labelled, study, path)[2] == card
    propose(labelled, study, path)
    with labelled.reading() as session:
        newest = newest_model(session)
        assert newest and newest.card["figures"] == {"labels": 20}


@pytest.mark.parametrize("changed", ["data", "codebook"])
def test_figures_of_other_labels_or_another_codebook_are_not_kept(
    labelled: Database, study: Study, path: Path, changed: str
) -> None:
    """A model carries no figures that were measured on what it was not trained on."""
    card = train_model(labelled, study, path)
    told = {name: card[name] for name in ("data", "codebook")} | {changed: "another"}
    with labelled.writing() as session:
        assert keep_figures(session, **told, figures={}) is None
        newest = newest_model(session)
        assert newest and newest.card == card


@pytest.mark.slow
def test_after_training_and_evaluation_the_report_shows_both_figures(
    database: Database, settings: Settings, path: Path
) -> None:
    """On the demo's world the card carries confusion and bins, and the report draws them."""
    from labeling.simulate import Simulation
    from pipeline.report_parts import model_part
    from pipeline.sandbox.expected import right_labels, to_record
    from pipeline.sandbox.world import load_world
    from pipeline.store import upsert_threads

    world, study = load_world(), settings.study
    with database.writing() as session:
        records = [(to_record(world, thread, study), None) for thread in world.threads]
        upsert_threads(session, study, records, b"key")
    Simulation(database, study, right_labels(world)).run()
    train_model(database, study, path)
    figures, name = evaluate_labels(database, study, repeats=1)
    assert name is not None
    with database.reading() as session:
        newest = newest_model(session)
        assert newest and newest.card["figures"] == figures
        part = model_part(session, study)
    bins = figures["methods"]["model"]["calibration"]["bins"]
    assert sum(threads for *_, threads in bins) == sum(map(sum, figures["confusion"])) == figures["valid"]
    assert len(part.figures) == 2
    assert all(draw() for draw, _ in part.figures)


def test_without_labels_there_is_nothing_to_train_on(database: Database, study: Study, path: Path) -> None:
    """An empty database says so, for training and for proposing."""
    with pytest.raises(NothingToDo, match="label"):
        train_model(database, study, path)
    with pytest.raises(NothingToDo, match="import"):
        propose(database, study, path)


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///a/study.db", "a/study.model.npz"),
        ("sqlite:///nanmine.db", "nanmine.model.npz"),
        ("postgresql://localhost/nanmine", "nanmine.model.npz"),
    ],
)
def test_the_model_lies_beside_an_sqlite_database(url: str, file: str) -> None:
    """Each database file has its own model; a server's is in the working folder."""
    assert str(default_model_path(url)) == file


def test_the_commands_train_propose_evaluate_and_list_suspects(
    labelled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command ends with 0, and what is said to be JSON is one document."""
    words = ["--database", f"sqlite:///{tmp_path}/study.db", "propose"]
    assert run([*words, "train"]) == 0
    assert run([*words, "run"]) == 0
    assert run([*words, "run", "--refresh"]) == 0
    capsys.readouterr()
    assert run([*words, "suspects", "--json"]) == 0
    json.loads(capsys.readouterr().out)
    code = run([*words, "evaluate", "--repeats", "1", "--json"])
    told = capsys.readouterr()
    if code == 0:
        assert json.loads(told.out)["repeats"] == 1
    assert run([*words, "train", "--model", str(tmp_path / "other.npz")]) == 0
    (tmp_path / "other.npz").write_bytes(b"changed")
    assert run([*words, "run", "--model", str(tmp_path / "other.npz")]) == 1


@pytest.mark.shared
@pytest.mark.slow
def test_the_cues_alone_name_most_causes_of_the_real_labels(shared: Path) -> None:
    """On the labelled real threads the rules give well over the accuracy of the majority (0.36)."""
    import csv

    from pipeline.dataset import to_document
    from pipeline.features import extract
    from pipeline.imports import to_thread
    from pipeline.model import rules_model
    from pipeline.rules import Rules
    from tests.model_documents import stored

    study = load_study()
    with (shared / "labels" / "dev.csv").open(encoding="utf-8", newline="") as file:
        truth = {row["url"]: row["root_cause"] for row in csv.DictReader(file) if row["valid"] == "true"}
    documents = []
    for source in sorted((shared / "corpus").glob("*.jsonl.gz")):
        with gzip.open(source, "rt", encoding="utf-8") as lines:
            found = (to_thread(row, study) for row in map(json.loads, lines) if row["url"] in truth)
            documents += [to_document(stored(thread), study) for thread in found]
    rules = Rules(study.codebook)
    _, causes = rules_model(rules).predict(extract(documents, rules)[0])
    codes = [study.codebook.cause_codes[n] for n in causes.argmax(axis=1)]
    right = [code == truth[document.url] for code, document in zip(codes, documents, strict=True)]
    assert len(right) == 77
    assert sum(right) / len(right) > 0.6


def test_a_label_with_a_cause_that_the_codebook_dropped_still_teaches_validity() -> None:
    """Such a label counts as valid, without a cause."""
    from pipeline.proposing import _known

    study = load_study()
    assert _known(Label(True, None, "GONE"), study) == Label(True)
    assert _known(Label(True, None, "IR"), study) == Label(True, None, "IR")


def test_the_flow_trains_and_proposes(labelled: Database, settings: Settings, path: Path) -> None:
    """The flow's body hands over to the same functions as the commands."""
    from flows.engine import surround
    from flows.propose import train_and_propose

    surround(settings)
    told = train_and_propose.fn(path)
    assert told["proposals"] == 20
    assert told["model"].startswith("model ")
