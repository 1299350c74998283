"""What must always hold of labels: the invariants of the protocol, checked on random histories."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from db.engine import Database, open_database
from db.errors import NanmineError, NothingToDo, RefusedByProtocol, UsageError
from db.final_labels import final_labels
from db.label_events import append_event, broken_links, read_events
from db.records import FinalLabel, Label
from db.threads import Thread, ThreadStratum
from labeling.adjudicating import adjudicate, disputes
from labeling.bundle import bundle_lines, merge_bundle
from labeling.checking import check, next_check
from labeling.codebooks import codebook_digest
from labeling.deciding import Notes, decide, decide_unsure, reaffirm, reopen, undo
from labeling.desk import Desk
from labeling.drawing import POOL, draw_key, pool
from labeling.people import add_annotator, remove_annotator
from labeling.queue import next_thread
from labeling.taxonomy import (
    open_proposals,
    pending_changes,
    propose,
    resolve,
    seal,
    stale_threads,
    with_category,
)
from labeling.verifying import problems
from pipeline.checklist import checklist_items
from pipeline.codebook import to_codebook
from pipeline.errors import InputError, StudyError
from pipeline.reliability import agreement_of
from pipeline.study import Study
from tests.label_lab import INVALID, OTHER, STRATA, VALID, Lab, copy_of, fill, made_thread, merge_into, small

# Those that a thread can be in that was drawn, and whose labels were all given here and once.
STATES = set(
    "drawn single labeled parked disputed agreed checked joint adjudicated unchecked discarded".split()
)


@pytest.fixture
def faithful(database: Database, study: Study) -> Lab:
    """Six candidates a stratum, quota three, the paper's protocol without a pilot."""
    fill(database)
    return Lab(database, small(study))


@pytest.fixture
def blind(database: Database, study: Study) -> Lab:
    """The same under blind double labeling, in batches of four."""
    fill(database)
    return Lab(database, small(study, protocol="blind_double"))


def test_01_no_row_changes_or_disappears(faithful: Lab) -> None:
    """The database itself refuses to change or delete an event."""
    faithful.label_all("ada", lambda _: VALID)
    for statement in ("update label_event set verdict = 'unsure'", "delete from label_event"):
        with pytest.raises(IntegrityError, match="append-only"), faithful.database.writing() as session:
            session.execute(text(statement))


def test_02_history_is_a_chain_within_a_database(faithful: Lab) -> None:
    """The database refuses a second first decision and a second successor of one decision."""
    with faithful.desk("ada") as desk:
        thread = next_thread(desk)
        first = decide(desk, thread, VALID)
        decide(desk, thread, OTHER)
    for supersedes in (None, first.uid):
        with pytest.raises(IntegrityError), faithful.database.writing() as session:
            append_event(
                session, "decision", thread=session.get(Thread, first.thread_id), label=VALID,
                annotator="ada", phase="independent", supersedes=supersedes,
            )  # fmt: skip


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(st.sampled_from(["valid", "other", "invalid", "unsure", "undo"]), max_size=12))
def test_02_one_live_decision(blind: Lab, acts: list[str]) -> None:
    """Whatever a person does, at most one decision of theirs is live on a thread in a phase."""
    with blind.database.reading() as session:  # what is done here is given up at the end
        desk = Desk(session, blind.study, "ada")
        thread = next_thread(desk)
        for act in acts:
            try:
                _act(desk, thread, act)
            except (NothingToDo, RefusedByProtocol):
                continue
            assert len(desk.story(thread).ends_of("decision", "ada", "blind")) <= 1


def _act(desk: Desk, thread: Thread, act: str) -> None:
    if act == "undo":
        undo(desk, thread)
    elif act == "unsure":
        decide_unsure(desk, thread)
    else:
        decide(desk, thread, {"valid": VALID, "other": OTHER, "invalid": INVALID}[act])


@pytest.mark.parametrize(
    "label",
    [
        Label(True),
        Label(False),
        Label(True, root_cause="XX"),
        Label(False, reason="xx"),
        Label(True, "not-a-bug", "IR"),
        Label(True, root_cause="GE", fix_pattern="add-epsilon"),
        Label(False, "not-a-bug", "IR"),
    ],
)
def test_03_a_label_fits_its_codebook(faithful: Lab, label: Label) -> None:
    """Valid goes with a cause of the codebook, invalid with a reason, and nothing else is kept."""
    with pytest.raises(UsageError), faithful.desk("ada") as desk:
        decide(desk, next_thread(desk), label)
    assert not [event for event in faithful.history().events if event.kind == "decision"]


@pytest.mark.parametrize(
    ("verdict", "cause", "reason"), [("valid", None, None), ("invalid", None, None), ("valid", "IR", "x")]
)
def test_03_the_database_refuses_half_a_label(
    faithful: Lab, verdict: str, cause: str | None, reason: str | None
) -> None:
    """A valid row without a cause, or an invalid one without a reason, cannot be written."""
    with pytest.raises(IntegrityError), faithful.database.writing() as session:
        append_event(
            session, "decision", verdict=verdict, root_cause=cause, reason=reason, phase="independent"
        )


def test_04_nobody_judges_their_own_label(faithful: Lab) -> None:
    """Who labelled a thread neither checks nor adjudicates it; who adjudicated it does not label it."""
    faithful.label_all("ada", lambda _: VALID)
    faithful.label_all("bo", lambda _: VALID)
    with faithful.desk() as desk:
        for handle in ("ada", "bo"):
            add_annotator(desk, handle, "adjudicator", simulated=True)
        add_annotator(desk, "cy", "annotator", simulated=True)
    with faithful.desk("bo") as desk:
        thread = next_check(desk)
        check(desk, thread, OTHER)
        url = thread.url
    for handle in ("ada", "bo"):
        with pytest.raises(RefusedByProtocol), faithful.desk(handle) as desk:
            adjudicate(desk, desk.thread(url), "label", VALID, rationale="mine")
    with pytest.raises(RefusedByProtocol), faithful.desk("ada") as desk:
        check(desk, desk.thread(url))
    with faithful.desk("cy") as desk:
        adjudicate(desk, desk.thread(url), "label", OTHER, rationale="so be it")
    with pytest.raises(RefusedByProtocol), faithful.desk("cy") as desk:
        decide(desk, desk.thread(url), VALID)
    with pytest.raises(IntegrityError, match="nobody adjudicates"), faithful.database.writing() as session:
        thread = session.query(Thread).filter_by(url=url).one()
        append_event(
            session, "adjudication", thread=thread, annotator="ada", label=VALID, phase="adjudication"
        )


WORKER = """
import sys
from db.engine import open_database
from db.errors import NothingToDo, RefusedByProtocol
from db.records import FinalLabel, Label
from labeling.deciding import decide
from labeling.desk import Desk, at_desk
from labeling.queue import next_thread
from pipeline.study import load_study
from pathlib import Path
url, study, handle = sys.argv[1:]
study, database = load_study(Path(study)), open_database(url)
while True:
    try:
        with database.writing() as session:
            desk = Desk(session, study, handle)
            event = decide(desk, next_thread(desk), Label(True, root_cause="IR"))
    except (NothingToDo, RefusedByProtocol):
        break
    print(event.uid, flush=True)
"""

RACE = """
[labeling]
pilot_size = 0
owned_strata = false
[[strata]]
code = "TI"
title = "one"
source = "github"
library = "tensorflow"
quota = 100
"""


def _race(
    database: Database, folder: Path, handles: tuple[str, ...], threads: int = 130
) -> list[subprocess.Popen[str]]:
    fill(database, threads, ("TI",))
    (folder / "race.toml").write_text(RACE)
    from pipeline.study import load_study

    with database.writing() as session:
        for handle in handles:
            add_annotator(Desk(session, load_study(folder / "race.toml")), handle)
    url = str(database.engine.url)
    command = [sys.executable, "-c", WORKER, url, str(folder / "race.toml")]
    return [subprocess.Popen([*command, handle], stdout=subprocess.PIPE, text=True) for handle in handles]


@pytest.mark.slow
def test_06_four_processes_never_overshoot(database: Database, tmp_path: Path) -> None:
    """Four processes labelling at once stop at exactly 100, and every acknowledged label is there."""
    acknowledged = []
    for process in _race(database, tmp_path, ("a", "b", "c", "d")):
        acknowledged += process.communicate(timeout=100)[0].split()
    with database.reading() as session:
        decisions = [event for event in read_events(session) if event.kind == "decision"]
        assert broken_links(read_events(session)) == []
    assert len(decisions) == 100
    assert {event.uid for event in decisions} == set(acknowledged)


@pytest.mark.slow
def test_19_a_killed_process_loses_no_acknowledged_label(database: Database, tmp_path: Path) -> None:
    """After kill -9 every acknowledged label is there, nothing is half-written, and `next` goes on."""
    process = _race(database, tmp_path, ("a",), threads=40)[0]
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(12)]
    os.kill(process.pid, signal.SIGKILL)
    acknowledged += process.communicate()[0].split()
    from pipeline.study import load_study

    with database.writing() as session:
        desk = Desk(session, load_study(tmp_path / "race.toml"), "a")
        first, second = next_thread(desk).url, next_thread(desk).url
        uids = {event.uid for event in desk.history.events if event.kind == "decision"}
        assert problems(desk) == []
    assert first == second
    assert set(acknowledged) <= uids
    assert len(uids) - len(set(acknowledged)) <= 1


@settings(max_examples=30)
@given(
    names=st.sets(st.integers(0, 10**6), min_size=1, max_size=40),
    later=st.sets(st.integers(0, 10**6), max_size=20),
)
def test_07_order_follows_from_the_keys(names: set[int], later: set[int]) -> None:
    """The order is one of keys alone: more threads never change the order of those before."""
    order = [
        f"github:o/r#{name}"
        for name in sorted(names, key=lambda name: draw_key(1, "TI", f"github:o/r#{name}"))
    ]
    more = sorted(names | later, key=lambda name: draw_key(1, "TI", f"github:o/r#{name}"))
    assert [f"github:o/r#{name}" for name in more if name in names] == order


def test_07_later_threads_leave_the_drawn_prefix(faithful: Lab) -> None:
    """Threads that come later are drawn after those that were drawn."""
    with faithful.desk("ada") as desk:
        expected = [thread.url for thread in pool(desk, "TI")]
        decide(desk, next_thread(desk), INVALID)
        next_thread(desk)
    fill(faithful.database, 20, ("TI",), first=100)
    faithful.label_all("ada", lambda _: INVALID)
    assert faithful.history().drawn_in("TI")[:2] == expected[:2]
    assert len(faithful.history().drawn_in("TI")) == 26


def test_08_blind_annotators_label_the_same_prefix(blind: Lab) -> None:
    """Nobody gets beyond the open batch, and when it closes both have labelled the same threads."""
    assert blind.label_all("ada", lambda _: VALID) == 16
    with pytest.raises(NothingToDo, match="waits for the rest of its batch"), blind.desk("ada") as desk:
        next_thread(desk)
    assert blind.label_all("bo", lambda _: VALID) == 16
    labelled = {
        handle: {story.url for story in blind.history().threads.values() if handle in story.votes}
        for handle in ("ada", "bo")
    }
    assert labelled["ada"] == labelled["bo"]


def test_08_a_batch_past_the_quota_is_left_out(blind: Lab) -> None:
    """A batch is labelled to its end, and what lies past the quota counts nowhere."""
    for handle in ("ada", "bo"):
        blind.label_all(handle, lambda _: VALID)
    with blind.database.reading() as session:
        counted = [code for final in final_labels(session) for code in final.strata]
    assert {code: counted.count(code) for code in STRATA} == dict.fromkeys(STRATA, 3)


def test_09_a_changed_label_makes_a_ruling_stale(faithful: Lab) -> None:
    """A new decision after a ruling takes the thread out of the final set until it is ruled on again."""
    url = _disputed(faithful)
    faithful.settle(lambda _: OTHER)
    assert _final(faithful)[url].how == "adjudicated"
    with faithful.desk("ada") as desk:
        decide(desk, desk.thread(url), Label(True, root_cause="RE"))
        assert any(
            "after it was adjudicated" in reason for item in stale_threads(desk) for reason in item.reasons
        )
    assert url not in _final(faithful)
    with faithful.desk("bo") as desk:
        check(desk, desk.thread(url), OTHER)
    faithful.settle(lambda _: OTHER)
    assert _final(faithful)[url].how == "adjudicated"


def _disputed(lab: Lab) -> str:
    """Label everything as valid, have one label disputed, and return its URL."""
    for handle in ("ada", "bo"):
        lab.label_all(handle, lambda _: VALID)
    with lab.desk("bo") as desk:
        thread = next_check(desk)
        check(desk, thread, OTHER)
        return thread.url


def _final(lab: Lab) -> dict[str, FinalLabel]:
    with lab.database.reading() as session:
        return {final.url: final for final in final_labels(session)}


def test_10_merging_and_changing_categories(faithful: Lab) -> None:
    """A merge maps old codes and touches no decision; a changed definition lists exactly what it affects."""
    causes = itertools.cycle((VALID, OTHER, Label(True, root_cause="CLE")))
    chosen: dict[str, Label] = {}
    faithful.label_all("ada", lambda url: chosen.setdefault(url, next(causes)))
    before = [event.hash for event in faithful.history().events]
    source = faithful.study.codebook.source.replace("training diverges", "training diverges at once")
    changed = to_codebook(source)
    without = replace(
        changed,
        causes=tuple(cause for cause in changed.causes if cause.code != "CLE"),
        close_calls=tuple(call for call in changed.close_calls if "CLE" not in call.between),
    )
    faithful.study = replace(faithful.study, codebook=without)
    with pytest.raises(RefusedByProtocol, match="codebook"), faithful.desk("bo") as desk:
        decide(desk, next_thread(desk), VALID)
    with faithful.desk("di") as desk:
        assert pending_changes(desk).removed == ("CLE",)
        assert pending_changes(desk).changed == ("GE",)
        seal(desk, {"CLE": "IR"})
        listed = {item.url for item in stale_threads(desk)}
    history = faithful.history()
    assert listed == {url for url, label in chosen.items() if label.root_cause == "GE"}
    assert [event.hash for event in history.events][: len(before)] == before
    merged = [history.outcome(url).label for url, label in chosen.items() if label.root_cause == "CLE"]
    assert merged and all(label is not None and label.root_cause == "IR" for label in merged)


def test_10_a_sealed_version_is_immutable(faithful: Lab) -> None:
    """The first act seals the codebook; sealing again without a change does nothing."""
    with faithful.desk("di") as desk:
        assert desk.history.codebooks[0].codebook == codebook_digest(faithful.study.codebook)
        with pytest.raises(NothingToDo):
            seal(desk)


def test_10_a_proposed_category_parks_its_thread(faithful: Lab) -> None:
    """A proposal parks the thread; who made it cannot resolve it; once accepted the thread comes back."""
    with faithful.desk("ada") as desk:
        thread = next_thread(desk)
        proposal = propose(desk, "Cosmic ray", 'A bit "flips" by itself.', thread)
        assert desk.history.outcome(thread.url).state == "parked"
        assert next_thread(desk).url != thread.url
        with pytest.raises(RefusedByProtocol):
            resolve(desk, proposal.uid, "reject")
        url = thread.url
    with faithful.desk("bo") as desk:
        resolve(desk, proposal.uid, "accept", code="CR")
        assert open_proposals(desk) == []
    extended = to_codebook(with_category(faithful.study.codebook.source, proposal, "CR", "code-irrelevant"))
    assert extended.cause("CR").definition == 'A bit "flips" by itself.'
    faithful.study = replace(faithful.study, codebook=extended)
    with faithful.desk("ada") as desk:
        seal(desk)
        assert next_thread(desk).url == url
        decide(desk, desk.thread(url), Label(True, root_cause="CR"))
        assert desk.history.outcome(url).state == "labeled"


def test_11_memos_and_evidence_never_disagree(blind: Lab) -> None:
    """Two people with one label agree whatever their memos, reasons for rejecting, and times."""
    for handle, reason in (("ada", "not-a-bug"), ("bo", "other-failure")):
        with blind.desk(handle) as desk:
            decide(
                desk, next_thread(desk), Label(False, reason=reason), Notes(memo=handle, seconds=len(handle))
            )
    assert [final.how for final in _final(blind).values()] == ["agreed"]


def test_12_checks_and_rulings_stay_out_of_agreement(faithful: Lab) -> None:
    """Where labels are only checked there is no coefficient, whatever was checked and ruled."""
    _disputed(faithful)
    faithful.settle(lambda _: OTHER)
    with pytest.raises(NothingToDo):
        agreement_of(faithful.history(), faithful.study.codebook)


def test_13_dropped_threads_are_counted(blind: Lab) -> None:
    """Unsure threads are left out of kappa and counted; agreement rests on the others."""
    answers = itertools.cycle((VALID, INVALID, None, VALID))
    blind.label_all("ada", lambda _: next(answers))
    blind.label_all("bo", lambda _: VALID)
    found = agreement_of(blind.history(), blind.study.codebook, replicates=0).levels[0]
    assert (found.items, found.dropped) == (12, {"unsure or waiting for a category": 4})


def test_16_phases_are_pooled_only_on_request(database: Database, study: Study) -> None:
    """Labels of two phases give no figure unless pooling is asked for, and then it says so."""
    fill(database)
    lab = Lab(database, small(study, protocol="blind_double", pilot_size=4))
    for handle in ("ada", "bo"):
        lab.label_all(handle, lambda _: VALID)
    with pytest.raises(UsageError, match="pool"):
        agreement_of(lab.history(), lab.study.codebook)
    pooled = agreement_of(lab.history(), lab.study.codebook, pool=True, replicates=0)
    assert pooled.phase == "pilot+blind"


TABLE_1 = {
    "IR": (21, 29, 22, 21), "APIM": (8, 8, 7, 12), "IDP": (7, 4, 7, 9), "IFPT": (6, 4, 4, 3),
    "CLE": (1, 2, 3, 5), "GE": (20, 27, 28, 15), "RE": (15, 3, 10, 20), "BI": (12, 9, 8, 10),
    "IMC": (7, 14, 10, 5), "Other": (3, 0, 1, 0),
}  # fmt: skip


@pytest.mark.slow
def test_17_the_paper_comes_out(database: Database, study: Study) -> None:
    """The paper's own counts go through its protocol: 400 valid, 9 discussed (7 and 2), none discarded."""
    fill(database, 110)
    lab = Lab(database, small(study, quota=100))
    causes = {
        stratum: [code for code, row in TABLE_1.items() for _ in range(row[column])]
        for column, stratum in enumerate(STRATA)
    }
    given: dict[str, Label] = {}

    def choose(url: str) -> Label:
        left = causes[url.split("/")[-1].split("#")[0]]
        return given.setdefault(url, Label(True, root_cause=left.pop()))

    with lab.database.writing() as session:
        for handle in ("ada", "bo"):
            desk = Desk(session, lab.study, handle)
            with pytest.raises(NothingToDo):
                while True:
                    thread = next_thread(desk)
                    decide(desk, thread, choose(thread.url))
        disputed = _check_all(session, lab.study, {"TI": 4, "PI": 3, "TP": 1, "PP": 1})
        desk = Desk(session, lab.study, "cy")
        for url in disputed:
            adjudicate(desk, desk.thread(url), "label", given[url], rationale="after discussion")
        assert disputes(desk) == []
        finals = final_labels(session)
        with pytest.raises(NothingToDo):
            agreement_of(desk.history, study.codebook)
    assert len(finals) == 400 and len(disputed) == 9
    for column, stratum in enumerate(STRATA):
        counted = [final.label.root_cause for final in finals if final.strata == (stratum,)]
        assert {code: counted.count(code) for code in TABLE_1} == {
            code: row[column] for code, row in TABLE_1.items()
        }


def _check_all(session: object, study: Study, disputes_of: dict[str, int]) -> list[str]:
    disputed = []
    for handle in ("ada", "bo"):
        desk = Desk(session, study, handle)  # type: ignore[arg-type]
        with pytest.raises(NothingToDo):
            while True:
                thread = next_check(desk)
                stratum = thread.strata[0].stratum
                disputes_of[stratum] -= 1
                check(desk, thread, INVALID if disputes_of[stratum] >= 0 else None)
                if disputes_of[stratum] >= 0:
                    disputed.append(thread.url)
    return disputed


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), protocol=st.sampled_from(["faithful", "blind_double"]))
def test_18_states_add_up(
    tmp_path_factory: pytest.TempPathFactory, study: Study, seed: int, protocol: str
) -> None:
    """Every drawn thread is in exactly one state, quotas hold, and every discard has its reason."""
    chance = random.Random(seed)
    database = open_database(f"sqlite:///{tmp_path_factory.mktemp('states')}/study.db")
    fill(database)
    lab = Lab(database, small(study, protocol=protocol, pilot_size=chance.choice((0, 4))))
    for _ in range(2):
        for handle in ("ada", "bo"):
            lab.label_all(handle, lambda _: chance.choice((VALID, OTHER, INVALID, None)))
        lab.settle(lambda _: chance.choice((VALID, INVALID, None)))
    history = lab.history()
    drawn = [url for url, story in history.threads.items() if story.draws]
    states = [history.outcome(url).state for url in drawn]
    assert set(states) <= STATES
    assert all(event.payload["rationale"] for event in history.events if event.verdict == "discard")
    with database.reading() as session:
        counted = [code for final in final_labels(session) if final.label.valid for code in final.strata]
        assert broken_links(read_events(session)) == []
    assert all(counted.count(code) <= 3 for code in STRATA)
    assert all(history.spent(code) <= 3 for code in STRATA) or protocol == "blind_double"
    database.close()


def test_20_undoing_twice_is_redoing(faithful: Lab) -> None:
    """Undo restores what stood before; a second undo takes the first back; both stay in the record."""
    with faithful.desk("ada") as desk:
        thread = next_thread(desk)
        decide(desk, thread, VALID)
        decide(desk, thread, OTHER)
        undo(desk)
        assert [vote.label for vote in desk.story(thread).decisions] == [VALID]
        undo(desk)
        assert [vote.label for vote in desk.story(thread).decisions] == [OTHER]
        assert len([event for event in desk.history.events if event.kind == "decision"]) == 4


def test_20_undo_of_the_first_label_withdraws_it(faithful: Lab) -> None:
    """The only label of a thread is withdrawn, and `next` gives the thread again."""
    with faithful.desk("ada") as desk:
        thread = next_thread(desk)
        decide(desk, thread, VALID)
        undo(desk)
        assert desk.story(thread).decisions == []
        assert next_thread(desk).url == thread.url


def test_20_undo_never_crosses_an_adjudication(faithful: Lab) -> None:
    """Once a thread is adjudicated, neither its label nor its check can be undone."""
    url = _disputed(faithful)
    faithful.settle(lambda _: OTHER)
    for handle in ("ada", "bo"):
        with pytest.raises(RefusedByProtocol, match="adjudicated"), faithful.desk(handle) as desk:
            undo(desk, desk.thread(url))


def test_21_bundles_merge_as_sets(faithful: Lab, tmp_path: Path, study: Study) -> None:
    """Merging twice changes nothing, and both directions end with the same events and the same states."""
    other = copy_of(faithful, tmp_path / "other.db")
    faithful.label_all("ada", lambda _: VALID)
    other.label_all("bo", lambda _: OTHER)
    for source, target in ((faithful, other), (other, faithful), (faithful, other)):
        merge_into(source, target, tmp_path)
    here, there = faithful.history(), other.history()
    assert {event.uid for event in here.events} == {event.uid for event in there.events}
    assert {url: here.outcome(url).state for url in here.threads} == {
        url: there.outcome(url).state for url in there.threads
    }
    assert merge_into(faithful, other, tmp_path).added == 0
    other.database.close()


def test_21_labels_wait_for_their_threads(faithful: Lab, tmp_path: Path) -> None:
    """Labels of threads that a database lacks are kept, and count once the threads are there."""
    faithful.label_all("ada", lambda _: VALID)
    faithful.label_all("bo", lambda _: VALID)
    with faithful.desk("bo") as desk:
        check(desk, next_check(desk))
    database = open_database(f"sqlite:///{tmp_path}/other.db")
    other = Lab(database, faithful.study)
    assert len(merge_into(faithful, other, tmp_path).missing_threads) == 12
    assert _final(other) == {}
    fill(database)
    assert [final.how for final in _final(other).values()] == ["checked"]
    database.close()


def test_21_a_fork_is_reported_and_settled_by_the_person(faithful: Lab, tmp_path: Path) -> None:
    """Two labels of one person from two machines are a fork: not final until the person labels once more."""
    other = copy_of(faithful, tmp_path / "other.db")
    for lab, label in ((faithful, VALID), (other, INVALID)):
        with lab.desk("ada") as desk:
            thread = next_thread(desk)
            decide(desk, thread, label)
            url = thread.url
    report = merge_into(other, faithful, tmp_path)
    assert report.forks == ((url, "ada"),)
    assert faithful.history().outcome(url).state == "forked"
    with faithful.desk("ada") as desk:
        decide(desk, desk.thread(url), VALID)
        assert desk.history.outcome(url).state == "labeled"
    other.database.close()


@pytest.mark.parametrize("what", ["label", "missing", "garbage"])
def test_21_tampering_breaks_the_chain(faithful: Lab, tmp_path: Path, what: str) -> None:
    """A changed, missing or unreadable event is refused, and nothing is merged."""
    faithful.label_all("ada", lambda _: VALID)
    other = copy_of(faithful, tmp_path / "other.db")
    with faithful.database.reading() as session:
        lines = bundle_lines(session)
    changed = {
        "label": [line.replace('"IR"', '"GE"') for line in lines],
        "missing": lines[:-3] + lines[-2:],
        "garbage": [*lines, "{"],
    }[what]
    (tmp_path / "bad.jsonl").write_text("\n".join(changed))
    before = len(other.history().events)
    with pytest.raises(InputError), other.database.writing() as session:
        merge_bundle(session, tmp_path / "bad.jsonl")
    assert len(other.history().events) == before
    other.database.close()


def test_26_a_removed_person_leaves_nothing_unresolvable(faithful: Lab) -> None:
    """What a removed person owned goes to the others, and what they labelled stays."""
    faithful.label_all("ada", lambda url: VALID if "TI" in url else INVALID)
    with faithful.desk() as desk:
        remove_annotator(desk, "bo")
        add_annotator(desk, "ed", "annotator", ("TI",))
    assert faithful.label_all("ada", lambda _: VALID) == 6
    with pytest.raises(RefusedByProtocol), faithful.desk("bo") as desk:
        next_thread(desk)
    with faithful.desk("ed") as desk:
        check(desk, next_check(desk))


def test_28_changed_text_is_flagged(faithful: Lab) -> None:
    """A thread whose text changed after its label is listed until the label is given again."""
    with faithful.desk("ada") as desk:
        thread = next_thread(desk)
        decide(desk, thread, VALID, Notes(memo="kept"))
        thread.content_sha256 = "1" * 64
    with faithful.desk("ada") as desk:
        assert [item.url for item in stale_threads(desk)] == [thread_url(desk)]
        reaffirm(desk, desk.thread(thread_url(desk)))
        assert stale_threads(desk) == []


def thread_url(desk: Desk) -> str:
    """Return the URL of the only labelled thread."""
    return next(url for url, story in desk.history.threads.items() if story.decisions)


def test_first_blind_labels_stand_until_a_lead_reopens(blind: Lab) -> None:
    """Once both labels are in, neither changes; a lead can reopen the thread."""
    for handle in ("ada", "bo"):
        with blind.desk(handle) as desk:
            thread = next_thread(desk)
            decide(desk, thread, VALID)
            url = thread.url
    with pytest.raises(RefusedByProtocol, match="first labels stand"), blind.desk("ada") as desk:
        decide(desk, desk.thread(url), OTHER)
    with blind.desk("di") as desk:
        reopen(desk, desk.thread(url))
    with blind.desk("ada") as desk:
        decide(desk, desk.thread(url), OTHER)
        assert desk.history.outcome(url).state == "disputed"


def test_the_pilot_is_joint_and_counts(database: Database, study: Study) -> None:
    """A joint pilot names both people, is final at once, and takes its places in the quotas."""
    fill(database)
    lab = Lab(database, small(study, pilot_size=5))
    with lab.desk("ada") as desk:
        drawn = [thread.url for thread in pool(desk, POOL)][:5]
        for _ in range(5):
            event = decide(desk, next_thread(desk), VALID)
            assert event.payload["with"] == ["bo"]
    finals = _final(lab)
    assert sorted(finals) == sorted(drawn)
    assert {final.how for final in finals.values()} == {"joint"}
    assert sum(lab.history().spent(code) for code in STRATA) == 5


def test_a_cross_listed_thread_counts_once_in_each_stratum(database: Database, study: Study) -> None:
    """A thread of two strata is labelled once and takes a place in both; a full one takes no more."""
    with database.writing() as session:
        for number in range(6):
            thread = made_thread(f"o/both#{number}")
            thread.strata = [ThreadStratum(stratum=code) for code in ("TI", "PI")]
            session.add(thread)
    lab = Lab(database, small(study))
    for handle in ("ada", "bo"):
        lab.label_all(handle, lambda _: VALID)
    history = lab.history()
    assert (history.spent("TI"), history.spent("PI")) == (3, 3)
    assert all(len(story.decisions) <= 1 for story in history.threads.values())


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"quota": 1}, "unknown key"),
        ({"protocol": "fast"}, "is not one of"),
        ({"seed": "x"}, "is not of type"),
        ({"batch": 0}, "less than"),
    ],
)
def test_a_wrong_protocol_is_refused(faithful: Lab, table: dict[str, object], said: str) -> None:
    """An unknown key or value of [labeling] is one line that names it."""
    faithful.study = replace(faithful.study, labeling=table)
    with pytest.raises(StudyError, match=said), faithful.desk("ada"):
        pass


def test_the_protocol_cannot_change_under_labels(faithful: Lab) -> None:
    """Another protocol, or other quotas, are refused once labeling has begun."""
    faithful.study = small(faithful.study, quota=4)
    with pytest.raises(NanmineError, match="quotas"), faithful.desk("ada") as desk:
        next_thread(desk)


def test_a_blind_pilot_is_discussed_and_first_votes_stay(database: Database, study: Study) -> None:
    """Both label the pilot alone; afterwards each may vote anew, and both agreements can be told."""
    fill(database)
    lab = Lab(database, small(study, protocol="blind_double", pilot_size=2))
    answers = {"ada": itertools.cycle((VALID, OTHER)), "bo": itertools.cycle((OTHER, VALID))}
    for handle in ("ada", "bo"):
        with lab.desk(handle) as desk:
            for _ in range(2):
                decide(desk, next_thread(desk), next(answers[handle]))
    with lab.desk("bo") as desk:
        url = next(url for url, story in desk.history.threads.items() if story.decisions)
        first = desk.history.threads[url].votes["ada"].label
        assert first is not None
        event = decide(desk, desk.thread(url), first)
        assert event.phase == "discussion"
        assert desk.history.outcome(url).state == "agreed"
    history = lab.history()
    before = agreement_of(history, study.codebook, phases=("pilot",), replicates=0).levels[1]
    after = agreement_of(history, study.codebook, phases=("discussion",), replicates=0).levels[1]
    assert (len(before.disagreements), len(after.disagreements)) == (2, 0)


def test_a3_rejections_are_checked_on_request(database: Database, study: Study) -> None:
    """By default a rejection stands unchecked; with check_invalid it waits for its check."""
    fill(database)
    lab = Lab(database, small(study, check_invalid=True, check_after="any_time"))
    with lab.desk("ada") as desk:
        url = decide(desk, next_thread(desk), INVALID).thread_url
    with lab.desk("bo") as desk:
        assert desk.history.outcome(str(url)).state == "labeled"
        check(desk, next_check(desk))
        assert desk.history.outcome(str(url)).how == "checked"


def test_unchecked_rejections_are_no_final_labels(faithful: Lab) -> None:
    """Under the paper's protocol a rejection nobody checked is told apart from the final labels."""
    faithful.label_all("ada", lambda _: INVALID)
    with faithful.database.reading() as session:
        assert final_labels(session) == []
        assert {final.how for final in final_labels(session, unchecked=True)} == {"unchecked"}


@pytest.mark.parametrize(("replace_discarded", "places"), [(False, 3), (True, 2)])
def test_a8_a_discarded_thread_keeps_its_place_or_not(
    database: Database, study: Study, replace_discarded: bool, places: int
) -> None:
    """A discarded thread is replaced by the next one only where the study says so."""
    fill(database)
    lab = Lab(database, small(study, replace_discarded=replace_discarded))
    url = _disputed(lab)
    lab.settle(lambda _: None)
    assert lab.history().outcome(url).state == "discarded"
    assert lab.history().spent("TI" if "TI" in url else "TP") == places


def test_a12_a_tiebreaker_takes_a_side(database: Database, study: Study) -> None:
    """A discussant may find a third label; a tiebreaker may not."""
    fill(database)
    lab = Lab(database, small(study, third_party="tiebreaker"))
    url = _disputed(lab)
    with pytest.raises(RefusedByProtocol, match="ties"), lab.desk("cy") as desk:
        adjudicate(desk, desk.thread(url), "label", Label(True, root_cause="RE"), rationale="neither")
    with lab.desk("cy") as desk:
        adjudicate(desk, desk.thread(url), "label", OTHER, rationale="the second")


@pytest.mark.parametrize("outcome", ["label", "discard"])
def test_a_ruling_states_its_reasons(blind: Lab, outcome: str) -> None:
    """Under blind double labeling a ruling says why and where the difference came from."""
    for handle, label in (("ada", VALID), ("bo", OTHER)):
        with blind.desk(handle) as desk:
            url = decide(desk, next_thread(desk), label).thread_url
    with pytest.raises(RefusedByProtocol), blind.desk("cy") as desk:
        adjudicate(desk, desk.thread(str(url)), outcome, VALID if outcome == "label" else None)


def test_checks_wait_for_the_strata(faithful: Lab) -> None:
    """By default nothing is checked before every stratum is labelled."""
    faithful.label_all("ada", lambda _: VALID)
    with pytest.raises(NothingToDo, match="wait"), faithful.desk("bo") as desk:
        next_check(desk)


def test_a7_uncounted_causes_take_no_place(database: Database, study: Study) -> None:
    """A cause that the study leaves uncounted is valid, and leaves its place to another thread."""
    fill(database)
    lab = Lab(database, small(study, uncounted_causes=["Other"]))
    assert lab.label_all("ada", lambda _: Label(True, root_cause="Other")) == 12
    assert lab.history().spent("TI") == 0


def test_an_owner_labels_their_own_strata(faithful: Lab) -> None:
    """Somebody else's stratum is refused, and `next` never offers it."""
    with faithful.desk("bo") as desk:
        url = next_thread(desk).url
    assert "PI" in url or "PP" in url
    with pytest.raises(RefusedByProtocol, match="does not own"), faithful.desk("ada") as desk:
        decide(desk, desk.thread(url), VALID)


def test_the_checklist_says_what_was_not_done(faithful: Lab, study: Study) -> None:
    """The filled-in checklist claims no independent labels where labels were only checked."""
    _disputed(faithful)
    with faithful.database.reading() as session:
        answers = {item.question: item.answer for item in checklist_items(session, study)}
    assert answers["Two or more raters, independently"].startswith("no: one person labelled")
    assert answers["An appropriate statistic"].startswith("none")
