"""What is counted of each thread is what is stored of it, whatever was written, and by whom."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from db.crawls import ListedUrl
from db.engine import Database, open_database
from db.errors import DatabaseError
from db.final_labels import final_labels, import_final_labels
from db.label_events import append_event
from db.records import Label
from db.summaries import ThreadSummary, count_threads, renew_summaries, wrong_summaries
from db.threads import Criterion, Thread, ThreadStratum
from labeling.bundle import bundle_lines, merge_bundle
from pipeline.integrity import check_database
from pipeline.material import read_material
from pipeline.status import read_status
from pipeline.store import add_listed_strata, recompute, rename_repository, to_record, upsert_threads
from pipeline.study import Study

LABELS = (Label(True, root_cause="IR"), Label(True, None, "GE"), Label(False, "not-a-bug"))
ACTS = ("import", "foreign import", "act", "stratum", "lists", "verdict", "criteria", "rename", "candidate")


def act(session: Session, what: str, place: int) -> None:
    """Write something that may change what is counted of the thread at that place."""
    threads = session.query(Thread).order_by(Thread.id).all()
    thread, label = threads[place % len(threads)], LABELS[place % 3]
    if what == "import":
        import_final_labels(session, [(thread, label)], simulated=place % 2 == 0)
    elif what == "foreign import":
        append_event(session, "import", thread=thread, label=label)
    elif what == "act":
        append_event(session, "draw", thread=thread, payload={"strata": ["TI"], "position": 1})
    elif what == "stratum":
        session.execute(delete(ThreadStratum).where(ThreadStratum.thread_id == thread.id))
    elif what == "lists":
        session.add(
            ListedUrl(list_name="l", url=f"u{place}", stratum="PP", thread_id=thread.id, outcome="thread")
        )
        session.flush()
        add_listed_strata(session)
    elif what == "verdict":
        session.execute(text("update criterion set met = not met where thread_id = :id"), {"id": thread.id})
    elif what == "criteria":
        session.execute(delete(Criterion).where(Criterion.thread_id == thread.id))
    elif what == "rename":
        rename_repository(session, "github", f"o/r{place % 3}", f"o/renamed{place}")
    else:
        thread.candidate = not thread.candidate


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 40)), max_size=12, unique=True))
def test_summaries_follow_whatever_is_written(labelled: Database, acts: list[tuple[str, int]]) -> None:
    """After any acts, each summary is the one that its thread's rows amount to."""
    with labelled.reading() as session:  # what is done here is given up at the end
        for what, place in acts:
            act(session, what, place)
        renew_summaries(session)
        assert wrong_summaries(session) == 0
        threads = session.query(Thread).all()
        assert sum(count_threads(session).values()) == len(threads)


def test_a_writing_session_leaves_no_summary_stale(labelled: Database) -> None:
    """Whoever reads the file after a commit finds the summaries renewed."""
    with labelled.writing() as session:
        session.execute(text("update thread set candidate = not candidate"))
    with labelled.engine.connect() as connection:
        assert connection.execute(text("select count(*) from stale_summary")).scalar() == 0
        rows = "select count(*) from thread join thread_summary as s on s.thread_id = thread.id"
        same = connection.execute(text(f"{rows} where s.candidate = thread.candidate")).scalar()
        assert same == connection.execute(text("select count(*) from thread")).scalar()


def test_merged_labels_are_counted_once_their_thread_is_there(
    labelled: Database, study: Study, tmp_path: Path
) -> None:
    """Labels of a bundle count as soon as the threads arrive, though the labels came first."""
    bundle, database = tmp_path / "bundle.jsonl", open_database(f"sqlite:///{tmp_path}/other.db")
    with labelled.reading() as session:
        bundle.write_text("\n".join(bundle_lines(session)), encoding="utf-8")
        expected = Counter(read_material(session).groups)
    with database.writing() as session:
        merge_bundle(session, bundle)
    with labelled.reading() as source, database.writing() as session:
        threads = [(to_record(thread), None) for thread in source.query(Thread).order_by(Thread.id)]
        upsert_threads(session, study, threads, b"key")
    with database.reading() as session:
        assert Counter(read_material(session).groups) == expected
        assert wrong_summaries(session) == 0
    database.close()


def test_a_thread_at_the_former_address_of_a_labelled_one_has_no_label(
    labelled: Database, study: Study
) -> None:
    """Where a new repository takes an old name, its thread comes, changes, and is another thread."""
    with labelled.writing() as session:
        labels = list(final_labels(session))
        first = session.get_one(Thread, labels[0].thread_id)
        former = to_record(first)
        rename_repository(session, first.source, str(first.repository), "o/renamed")
        for record in (former, replace(former, title="changed")):
            upsert_threads(session, study, [(record, None)], b"key")
        found = session.query(Thread).filter_by(external_id=former.external_id).one()
        assert (found.title, found.url, first.url) == ("changed", f"{former.url}#", former.url)
        assert list(final_labels(session)) == labels


def test_tampering_is_found_and_recompute_mends_it(labelled: Database, study: Study) -> None:
    """`db check` finds a summary that says something else; `db recompute` works it out again."""
    with labelled.writing() as session:
        session.execute(text("update thread_summary set strata = 'PI' where thread_id = 1"))
    with pytest.raises(DatabaseError, match=r"of 1 threads .* nanmine db recompute"):
        list(check_database(labelled, study))
    recompute(labelled, study)
    assert any("summaries" in line for line in check_database(labelled, study))


def test_the_funnel_counts_each_thread_at_the_criterion_it_misses_first(
    labelled: Database, study: Study
) -> None:
    """A thread that misses two criteria is lost at the first, in the study's order."""
    with labelled.writing() as session:
        session.execute(text("delete from criterion"))
        for id_ in session.scalars(select(ThreadStratum.thread_id).where(ThreadStratum.stratum == "TI")):
            for name in ("replied", "keyword"):
                session.add(Criterion(thread_id=id_, name=name, met=False, evidence=""))
    with labelled.reading() as session:
        stratum = read_status(session, study)["strata"]["TI"]
        assert stratum["criteria"]["closed"] == stratum["threads"] > 0
        assert stratum["criteria"]["replied"] == stratum["criteria"]["keyword"] == 0


def test_counting_sorts_nothing(labelled: Database) -> None:
    """What is counted stands in an index in the order it is counted in."""
    names = ", ".join(column.name for column in list(ThreadSummary.__table__.c)[1:])
    with labelled.reading() as session:
        plan = session.execute(
            text(f"explain query plan select {names}, count(*) from thread_summary group by {names}")
        ).all()
    assert "COVERING INDEX ix_thread_summary_counted" in str(plan)
    assert "TEMP B-TREE" not in str(plan)
