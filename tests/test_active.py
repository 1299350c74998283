"""Active drawing: what a model is uncertain of is labelled outside the study sample, and never counted."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.engine import Database, open_database
from db.errors import NothingToDo, RefusedByProtocol
from db.final_labels import final_labels, import_final_labels
from db.label_events import broken_links, read_events, read_history
from db.records import FinalLabel, Label
from db.threads import Thread
from flows.cli import run
from labeling.active import draw_uncertain, uncertainty
from labeling.adjudicating import adjudicate, next_dispute
from labeling.checking import check, next_check
from labeling.deciding import decide, undo
from labeling.desk import Desk
from labeling.drawing import draw
from labeling.exporting import annotator_rows, final_rows
from labeling.people import add_annotator
from labeling.progress import active_states, progress_of, progress_text
from labeling.queue import next_thread
from labeling.reading import thread_document
from labeling.verifying import problems
from pipeline.bundle import write_bundle
from pipeline.bundle_check import check_bundle
from pipeline.checklist import checklist_items
from pipeline.export import annotation_records, label_notes
from pipeline.material import read_material
from pipeline.proposing import read_labelled
from pipeline.reliability import agreement_of, checks_of
from pipeline.status import read_status, render_status
from pipeline.study import Study
from pipeline.study_tables import study_tables
from tests.label_lab import INVALID, OTHER, STRATA, VALID, Lab, copy_of, fill, merge_into, small, suppose


@pytest.fixture
def faithful(database: Database, study: Study) -> Lab:
    """Six candidates a stratum with proposals, quota three, the paper's protocol without a pilot."""
    fill(database)
    suppose(database)
    return Lab(database, small(study))


@pytest.fixture
def blind(database: Database, study: Study) -> Lab:
    """The same under blind double labeling."""
    fill(database)
    suppose(database)
    return Lab(database, small(study, protocol="blind_double"))


def finals(lab: Lab, **which: bool) -> dict[str, FinalLabel]:
    """Return the final labels by URL."""
    with lab.database.reading() as session:
        return {final.url: final for final in final_labels(session, **which)}


def label_actively(lab: Lab, count: int, label: Label = VALID) -> list[str]:
    """Have the most uncertain threads of ada's strata drawn, labelled and settled; return their URLs."""
    with lab.desk("ada") as desk:
        urls = [str(event.thread_url) for event in draw_uncertain(desk, ["TI", "TP"], count)]
        for url in urls:
            decide(desk, desk.thread(url), label)
    with lab.desk("bo") as desk:
        for url in urls:
            if desk.protocol.is_blind:
                decide(desk, desk.thread(url), label)
            elif label.valid:
                check(desk, desk.thread(url))
    return urls


@pytest.mark.parametrize(
    ("less", "more"),
    [((0.9, [1.0]), (0.5, [1.0])), ((1.0, [0.9, 0.1]), (1.0, [0.5, 0.5])), ((0.0, [0.5, 0.5]), (0.5, [1.0]))],
)
def test_uncertainty_grows_with_even_odds(
    less: tuple[float, list[float]], more: tuple[float, list[float]]
) -> None:
    """Even odds of validity or of causes are more uncertain; causes of what is not valid are nothing."""
    assert uncertainty(*less) < uncertainty(*more)
    assert uncertainty(0.5, [1.0]) == pytest.approx(math.log(2))


def test_the_most_uncertain_candidates_are_drawn(faithful: Lab) -> None:
    """Candidates that are neither drawn nor labelled come by uncertainty, and the draw says why."""
    urls = suppose(faithful.database)
    with faithful.desk("ada") as desk:
        draw(desk, count=2)
        sample = set(desk.history.threads)
        import_final_labels(
            desk.session, [(desk.thread(url), VALID) for url in urls[:3] if url not in sample]
        )
        desk.read_again()
        taken = sample | set(desk.history.threads)
        drawn = draw_uncertain(desk, count=4)
    assert [event.thread_url for event in drawn] == [url for url in urls if url not in taken][:4]
    assert {event.phase for event in drawn} == {"active"}
    assert drawn[0].payload == drawn[0].payload | {
        "strata": [], "position": 1, "order": "uncertain", "model": "m"
    }  # fmt: skip
    with faithful.desk("ada") as desk:
        assert draw_uncertain(desk, ["PP"], 1)[0].payload["position"] == 5
        assert all("PP" in str(event.thread_url) for event in draw_uncertain(desk, ["PP"]))
        draw_uncertain(desk, count=100)
        with pytest.raises(NothingToDo, match="every candidate"):
            draw_uncertain(desk)


def test_without_proposals_nothing_is_uncertain(database: Database, study: Study) -> None:
    """The refusal names the command that makes proposals."""
    fill(database)
    with pytest.raises(NothingToDo, match="nanmine propose run"), Lab(database, small(study)).desk() as desk:
        draw_uncertain(desk)


def test_a_pilot_is_drawn_by_chance_first(database: Database, study: Study) -> None:
    """In either order the first draw is the pilot, and returns it; the next one draws actively outside it."""
    fill(database)
    suppose(database)
    with Lab(database, small(study, pilot_size=8)).desk() as desk:
        pilot = draw_uncertain(desk, count=4)
        drawn = draw_uncertain(desk, count=4)
        again = {event.thread_url for event in drawn} & {event.thread_url for event in pilot}
    assert [event.phase for event in pilot] == ["pilot"] * 8
    assert [event.phase for event in drawn] == ["active"] * 4 and not again


def test_an_uncertain_thread_that_is_gone_is_not_served(faithful: Lab) -> None:
    """What its service deleted after the draw has no text to label, and the next one is served."""
    with faithful.desk("ada") as desk:
        first, second = (desk.thread(str(event.thread_url)) for event in draw_uncertain(desk, ["TI"], 2))
        assert next_thread(desk, uncertain=True) == first
        first.availability = "gone"
        assert next_thread(desk, uncertain=True) == second
        second.availability = "private"
        with pytest.raises(NothingToDo, match="uncertain of"):
            next_thread(desk, uncertain=True)


def test_the_study_sample_is_served_first(faithful: Lab) -> None:
    """`next` gives uncertain threads when it is asked for them, or when the study has no more to label."""
    with faithful.desk("ada") as desk:
        drawn = {event.thread_url for event in draw_uncertain(desk, ["TI", "PI"], 3)}
        assert next_thread(desk).url not in drawn
        assert (first := next_thread(desk, uncertain=True)).url in drawn
        assert thread_document(desk, first)["phase"] == "active"
    given = []
    faithful.label_all("ada", lambda url: given.append(url) or VALID)
    sample = {url for url, story in faithful.history().threads.items() if story.sample_draws}
    assert given[-1] in drawn and given == sorted(given, key=lambda url: url not in sample)
    with pytest.raises(NothingToDo, match="draw some"), faithful.desk("ada") as desk:
        next_thread(desk, uncertain=True)


def test_an_uncertain_thread_belongs_to_the_owner_of_its_stratum(faithful: Lab) -> None:
    """Who owns no stratum of a thread is neither given it nor may label it."""
    with faithful.desk("ada") as desk:
        url = str(draw_uncertain(desk, ["PI"], 1)[0].thread_url)
        with pytest.raises(NothingToDo):
            next_thread(desk, uncertain=True)
        with pytest.raises(RefusedByProtocol, match="does not own"):
            decide(desk, desk.thread(url), VALID)
    with faithful.desk("bo") as desk:
        assert next_thread(desk, uncertain=True).url == url


@pytest.mark.parametrize("protocol", ["faithful", "blind_double"])
def test_active_labels_train_and_count_nowhere(
    database: Database, study: Study, tmp_path: Path, protocol: str
) -> None:
    """Their labels are final for the model alone: no table, quota, agreement or export counts them."""
    fill(database)
    suppose(database)
    lab = Lab(database, small(study, protocol=protocol))
    urls = label_actively(lab, 4)
    assert finals(lab) == {} and set(finals(lab, active=True)) == set(urls)
    assert read_labelled(database, lab.study).active == 4
    with database.reading() as session:
        desk, history = Desk(session, lab.study), read_history(session)
        material = read_material(session, everything=True)
        assert (material.groups, material.active, material.origins.months) == ({}, 4, Counter())
        for table in study_tables(material, lab.study, everything=True):
            said = any("every table: 4 labels" in note for note in table.notes)
            assert said is (table.name not in ("criteria", "table2"))
        assert checks_of(history).checked == 0
        with pytest.raises(NothingToDo):
            agreement_of(history, study.codebook)
        assert [desk.room(code) for code in STRATA] == [3, 3, 3, 3]
        assert (final_rows(desk), annotator_rows(desk), list(annotation_records(session))) == ([], [], [])
        assert label_notes(session) == ["4 labels of active drawing are left out: they count nowhere"]
        status = read_status(session, lab.study)
        assert (status["labels"]["final"], status["labels"]["active"]) == (0, 4)
        assert "4 of active drawing that count in no table" in render_status(status)
        assert "active: 4 drawn (4 " in progress_text(progress_of(desk), active_states(desk))
        rated = next(item.answer for item in checklist_items(session, study) if "rated" in item.question)
        assert rated == "0 threads by 0 annotators; 4 more, drawn by a model's uncertainty, are in no figure"
        assert problems(desk) == []
        write_bundle(session, lab.study, tmp_path / "package")
    assert len(list(check_bundle(tmp_path / "package"))) > 4


def test_a_rejection_that_nobody_checks_trains(faithful: Lab) -> None:
    """The model learns what is not valid from the rejections of one person, drawn actively or by chance."""
    label_actively(faithful, 2, INVALID)
    with faithful.desk("bo") as desk:
        decide(desk, next_thread(desk), INVALID)
    labelled = read_labelled(faithful.database, faithful.study)
    assert [label.valid for label in labelled.examples.labels] == [False] * 3
    assert labelled.active == 2


def test_a_dispute_over_an_uncertain_thread_is_settled_as_any(faithful: Lab) -> None:
    """It is checked at any time, adjudicated, discarded or undone like others, and still counts nowhere."""
    with faithful.desk("ada") as desk:
        urls = [str(event.thread_url) for event in draw_uncertain(desk, ["TI"], 3)]
        for url in urls:
            decide(desk, desk.thread(url), VALID)
        undo(desk)
        assert next_thread(desk, uncertain=True).url == urls[2]
    with faithful.desk("bo") as desk:
        assert next_check(desk).url == urls[0]
        for url in urls[:2]:
            check(desk, desk.thread(url), OTHER)
    with faithful.desk("cy") as desk:
        adjudicate(desk, desk.thread(urls[0]), "label", OTHER, rationale="r", difficulty="edge_case")
        adjudicate(desk, desk.thread(urls[1]), "discard", rationale="r", difficulty="edge_case")
    assert finals(faithful) == {} and finals(faithful, active=True)[urls[0]].how == "adjudicated"
    with faithful.database.reading() as session:
        assert read_material(session).discarded == Counter()


def test_an_imported_label_counts_as_ever(faithful: Lab) -> None:
    """A label from a file makes a thread the study's, though a model's uncertainty drew it before."""
    url = label_actively(faithful, 1)[0]
    with faithful.database.writing() as session:
        thread = session.scalars(select(Thread).where(Thread.url == url)).one()
        import_final_labels(session, [(thread, VALID)])
    assert finals(faithful)[url].strata == ("TI",)


def test_a_label_counts_once_the_random_order_has_come_to_its_thread(faithful: Lab) -> None:
    """Drawn for its stratum as well, a thread counts when all before it are labelled, and not before."""
    early = set(label_actively(faithful, 3, OTHER))
    assert all("TI" in url for url in early)
    with faithful.desk("ada") as desk:
        order = [str(event.thread_url) for event in draw(desk, ["TI"], 6)]
        late = [url for url in order if url not in early]
    for done in range(len(late) + 1):
        first = order.index(late[done]) if done < len(late) else 6
        with faithful.database.reading() as session:
            history = read_history(session)
        counted = [url for url in order if history.counted_strata(url) and history.outcome(url).label]
        assert counted == [url for n, url in enumerate(order) if n < first][: len(counted)]
        assert set(order[:first]) & early <= set(counted) or history.spent("TI") == 3
        if done < len(late):
            with faithful.desk("ada") as desk, suppress(RefusedByProtocol):
                decide(desk, desk.thread(late[done]), INVALID)
    assert len([final for final in finals(faithful, unchecked=True).values() if final.strata]) == 6


class Crew:
    """Everybody of a study at one desk, in one transaction, with opinions that the thread alone decides."""

    def __init__(self, session: Session, study: Study, seed: int) -> None:
        self.desk, self.seed = Desk(session, study), seed
        for handle, role in (("ada", "annotator"), ("bo", "annotator"), ("cy", "adjudicator")):
            add_annotator(self.desk, handle, role, simulated=True)

    def act(self, handle: str, *, uncertain: bool = False) -> bool:
        """Do the next thing there is for somebody; return False where there is nothing."""
        self.desk.name = handle
        with suppress(NothingToDo):
            if handle == "cy":
                return self._settle(next_dispute(self.desk))
            thread = next_thread(self.desk, uncertain=uncertain)
            decide(self.desk, thread, self.label(thread, handle if self.desk.protocol.is_blind else "first"))
            return True
        with suppress(NothingToDo, RefusedByProtocol):
            thread = next_check(self.desk)
            check(self.desk, thread, self.label(thread, "second"))
            return True
        return False

    def _settle(self, thread: Thread) -> bool:
        label = (VALID, INVALID, None)[self._chance("cy", thread) % 3]
        outcome = "label" if label else "discard"
        adjudicate(self.desk, thread, outcome, label, rationale="r", difficulty="edge_case")
        return True

    def label(self, thread: Thread, who: str) -> Label:
        """Return what somebody takes a thread for; people may differ on one thread in eight."""
        slip = who if self._chance("slip", thread) % 8 == 0 else ""
        return (VALID, OTHER, INVALID)[self._chance(slip, thread) % 3]

    def _chance(self, what: str, thread: Thread) -> int:
        return int(hashlib.sha256(f"{self.seed} {what} {thread.url}".encode()).hexdigest(), 16)

    def finish(self) -> None:
        """Let everybody work until nobody has anything left."""
        people = ("ada", "bo", "cy")
        while sum(self.act(handle) for handle in people):
            pass


def counted(database: Database, study: Study, seed: int, *, actively: bool) -> dict[str, FinalLabel]:
    """Return what counts in a study labelled to its end, with active drawing in between or without."""
    chance = random.Random(seed)
    with database.reading() as session:  # what is done here is given up at the end
        crew = Crew(session, study, seed)
        for _ in range(30 if actively else 0):
            with suppress(NothingToDo):
                draw_uncertain(crew.desk, count=chance.randint(1, 3))
            crew.act(chance.choice(("ada", "bo")), uncertain=True)
            if not crew.desk.protocol.is_blind and chance.random() < 0.3:
                with suppress(NothingToDo):
                    draw(crew.desk, count=chance.randint(1, 4))
            crew.act(chance.choice(("ada", "bo", "cy")))
        crew.finish()
        assert broken_links(read_events(session)) == []
        assert problems(crew.desk) == []
        found = {final.url: final for final in final_labels(session, unchecked=True)}
        dropped = read_material(session).discarded
    return {url: replace(final, simulated=False) for url, final in found.items()} | {"discarded": dropped}


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("protocol", ["faithful", "blind_double"])
@pytest.mark.parametrize("seed", range(3))
def test_the_study_sample_is_the_same_whatever_was_drawn_actively(
    database: Database, study: Study, protocol: str, replaced: bool, seed: int
) -> None:
    """Labelled to its end, a study counts the same threads with the same labels in the same strata."""
    fill(database, 8, ("TI", "PI"))
    suppose(database)
    chosen = small(study, protocol=protocol, owned_strata=False, replace_discarded=replaced, pilot_size=seed)
    chosen = replace(chosen, labeling={**chosen.labeling, "seed": seed})
    assert counted(database, chosen, seed, actively=True) == counted(database, chosen, seed, actively=False)


def test_active_draws_merge_as_sets(faithful: Lab, tmp_path: Path) -> None:
    """Two machines that drew and labelled on their own agree once they have exchanged bundles."""
    other = copy_of(faithful, tmp_path / "other.db")
    suppose(other.database)
    label_actively(faithful, 3, OTHER)
    other.label_all("bo", lambda _: VALID)
    with other.desk() as desk:
        draw(desk, ["TI"], 6)
    for source, target in ((faithful, other), (other, faithful)):
        assert not merge_into(source, target, tmp_path).forks
    found = [finals(lab, unchecked=True, active=True) for lab in (faithful, other)]
    assert found[0] == found[1]
    history = other.history()
    assert [url for url in history.drawn_in("TI") if history.threads[url].was_drawn_actively]
    assert all(final.active is history.is_left_out(url) for url, final in found[0].items())
    other.database.close()


def test_the_commands_draw_and_serve_uncertain_threads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`label draw` and `label next` take `--order uncertain`; with nothing left they say so and exit 3."""
    (tmp_path / "own.toml").write_text("[labeling]\nseed = 7\npilot_size = 0\n")
    database = open_database(f"sqlite:///{tmp_path}/own.db")
    fill(database)
    base = ["--study", str(tmp_path / "own.toml"), "--database", str(database.engine.url), "--as", "ada"]

    def nanmine(*words: str) -> tuple[int, str]:
        code = run([*base, "label", *words])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    nanmine("add-annotator", "ada")
    code, said = nanmine("draw", "--order", "uncertain")
    assert code == 3 and "nanmine propose run" in said
    first = suppose(database)[0]
    code, said = nanmine("draw", "--order", "uncertain", "--count", "2", "--json")
    assert code == 0 and json.loads(said)[0]["url"] == first
    assert json.loads(nanmine("next", "--order", "uncertain", "--json")[1])["url"] == first
    number = json.loads(said)[0]["id"]
    assert nanmine("set", str(number), "--cause", "IR")[0] == 0
    assert json.loads(nanmine("report", "--json")[1])["active"] == {"drawn": 1, "labeled": 1}
    assert nanmine("verify")[0] == 0
    database.close()
