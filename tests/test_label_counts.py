"""Final labels come out the same whether the events are folded one by one or counted by the database."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from db.engine import Database
from db.final_labels import final_labels, import_final_labels
from db.label_events import append_event, read_history
from db.records import FinalLabel, Label
from db.threads import Thread
from pipeline.material import read_groups
from pipeline.status import read_status
from pipeline.study import Study
from pipeline.tables import group

LABELS = (
    Label(True, None, "IR", "add-epsilon", "log"),
    Label(True, root_cause="IR"),
    Label(True, root_cause="GE"),
    Label(False, reason="not-a-bug"),
)
ACTS = ("import", "foreign import", "vote", "draw", "active draw", "park")

acts = st.lists(
    st.tuples(st.sampled_from(ACTS), st.integers(0, 19), st.sampled_from(LABELS), st.booleans()), max_size=25
)


def folded(session: Session, unchecked: bool) -> list[FinalLabel]:
    """Return the final labels from all events, folded; those of active drawing are marked."""
    history, found = read_history(session), []
    for thread in session.query(Thread).order_by(Thread.id):
        outcome = history.outcome(thread.url) if thread.url in history.threads else None
        if outcome is None or outcome.label is None or outcome.how is None:
            continue
        if outcome.how == "unchecked" and not unchecked:
            continue
        strata, story = tuple(sorted(member.stratum for member in thread.strata)), history.threads[thread.url]
        active = history.is_left_out(thread.url)
        if story.sample_draws or active:
            strata = history.counted_strata(thread.url)
        values = outcome.label, outcome.how, outcome.simulated, active
        found.append(FinalLabel(thread.id, thread.url, strata, *values))
    return found


def act(session: Session, what: str, thread: Thread, label: Label, flag: bool, number: int) -> None:
    """Append one event; a foreign import, as one merged from another database, replaces none."""
    if what == "import":
        import_final_labels(session, [(thread, label)], simulated=flag)
    elif what == "foreign import":
        append_event(session, "import", thread=thread, label=label, simulated=flag)
    elif what == "vote":
        append_event(
            session, "decision", thread=thread, label=label, annotator=f"a{number}", phase="independent"
        )
    elif what == "draw":
        payload = {"stratum": "TI", "position": number, "strata": ["TI"] if flag else []}
        append_event(session, "draw", thread=thread, phase="main", payload=payload)
    elif what == "active draw":
        payload = {"stratum": "?", "position": number, "strata": []}
        append_event(session, "draw", thread=thread, phase="active", payload=payload)
    else:
        append_event(
            session, "decision", thread=thread, verdict="unsure", annotator=f"a{number}", phase="blind"
        )


@pytest.mark.parametrize("fixture", ["some_threads", "labelled"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=acts, merges=st.booleans(), unchecked=st.booleans(), faithful=st.booleans())
def test_both_paths_give_the_same_labels(
    request: pytest.FixtureRequest,
    fixture: str,
    acts: list[tuple[str, int, Label, bool]],
    merges: bool,
    unchecked: bool,
    faithful: bool,
) -> None:
    """Whatever happened, counting in the database and folding every event give the same groups."""
    database: Database = request.getfixturevalue(fixture)
    with database.reading() as session:  # what is done here is given up at the end
        threads = session.query(Thread).order_by(Thread.id).all()
        if faithful:
            append_event(session, "setup", payload={"protocol": "faithful", "quotas": {"TI": 1}})
        for number, (what, place, label, flag) in enumerate(acts):
            act(session, what, threads[place % len(threads)], label, flag, number)
        if merges:
            append_event(session, "codebook", payload={"version": 2, "merges": {"IR": "RE"}, "affected": []})
        expected = folded(session, unchecked)
        study = [final for final in expected if not final.active]
        assert final_labels(session, unchecked=unchecked, active=True) == expected
        assert final_labels(session, unchecked=unchecked) == study
        groups, active = read_groups(session, unchecked=unchecked)
        assert (Counter(groups), active) == (group(study), len(expected) - len(study))


@pytest.fixture
def some_threads(labelled: Database) -> Database:
    """The twenty threads with two imported labels and nothing else."""
    with labelled.writing() as session:
        session.execute(text("drop trigger label_event_no_delete"))
        session.execute(text("delete from label_event where kind != 'import'"))
    return labelled


def test_the_status_counts_imported_labels(some_threads: Database, study: Study) -> None:
    """The status tells valid imported labels from others, in all and by stratum."""
    with some_threads.writing() as session:
        import_final_labels(session, [(session.query(Thread).order_by(Thread.id).all()[0], LABELS[3])])
    with some_threads.reading() as session:
        found, labels = read_status(session, study), final_labels(session)
    assert found["labels"] == {"final": 3, "valid": 2, "not_valid": 1, "simulated": 0, "active": 0}
    for code, stratum in found["strata"].items():
        assert stratum["labels"]["final"] == sum(code in final.strata for final in labels)
