"""A laboratory for labeling: made-up candidates, four people, and desks for them to sit down at."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from db.engine import Database, open_database
from db.errors import NothingToDo
from db.history import History
from db.label_events import read_history
from db.proposals import keep_model, replace_proposals
from db.records import Label
from db.threads import Post, Thread, ThreadStratum
from labeling.adjudicating import adjudicate, next_dispute
from labeling.bundle import BundleReport, bundle_lines, merge_bundle
from labeling.deciding import decide, decide_unsure
from labeling.desk import Desk, at_desk
from labeling.people import add_annotator
from labeling.queue import next_thread
from pipeline.study import Study

VALID, OTHER, INVALID = (
    Label(True, root_cause="IR"),
    Label(True, root_cause="GE"),
    Label(False, reason="not-a-bug"),
)
STRATA = ("TI", "TP", "PI", "PP")


def small(study: Study, quota: int = 3, **labeling: object) -> Study:
    """Return the bundled study with small quotas, no pilot unless asked for, and these choices."""
    strata = tuple(replace(stratum, quota=quota) for stratum in study.strata)
    return replace(study, strata=strata, labeling={"seed": 7, "pilot_size": 0, "batch": 4, **labeling})


def fill(database: Database, per_stratum: int = 6, strata: tuple[str, ...] = STRATA, first: int = 0) -> None:
    """Put candidates into each stratum, numbered from `first`."""
    with database.writing() as session:
        for stratum, number in itertools.product(strata, range(first, first + per_stratum)):
            thread = made_thread(f"o/{stratum}#{number}")
            thread.strata = [ThreadStratum(stratum=stratum)]
            session.add(thread)


def made_thread(name: str) -> Thread:
    """Return a candidate with one post."""
    post = Post(
        position=0,
        role="opening",
        external_id="0",
        accepted=False,
        body="The loss is nan.",
        body_format="text",
    )
    return Thread(
        source="github", external_id=name, url=f"https://example.test/{name}", kind="issue", title=name,
        tags=[], libraries=[], accepted=True, n_posts=2, candidate=True, content_sha256="0" * 64,
        posts=[post],
    )  # fmt: skip


class Lab:
    """A database, a study, and desks to sit down at."""

    def __init__(self, database: Database, study: Study) -> None:
        self.database, self.study = database, study
        with self.desk() as desk:
            for handle, role in (
                ("ada", "annotator"),
                ("bo", "annotator"),
                ("cy", "adjudicator"),
                ("di", "lead"),
            ):
                strata = {"ada": ("TI", "TP"), "bo": ("PI", "PP")}.get(handle, ())
                add_annotator(
                    desk, handle, role, strata if not desk.protocol.is_blind else (), simulated=True
                )

    @contextmanager
    def desk(self, handle: str | None = None) -> Iterator[Desk]:
        """Sit down for one transaction."""
        with at_desk(self.database, self.study, handle) as desk:
            yield desk

    def history(self) -> History:
        """Read everything that happened."""
        with self.database.reading() as session:
            return read_history(session)

    def label_all(self, handle: str, choose: Callable[[str], Label | None]) -> int:
        """Label what `next` gives until it gives nothing; None stands for unsure."""
        for number in itertools.count():
            try:
                with self.desk(handle) as desk:
                    thread = next_thread(desk)
                    label = choose(thread.url)
                    if label is None:
                        decide_unsure(desk, thread)
                    else:
                        decide(desk, thread, label)
            except NothingToDo:
                return number
        raise AssertionError

    def settle(self, choose: Callable[[str], Label | None]) -> None:
        """Adjudicate everything; None discards."""
        while True:
            try:
                with self.desk("cy") as desk:
                    thread = next_dispute(desk)
                    label = choose(thread.url)
                    outcome = "label" if label else "discard"
                    adjudicate(desk, thread, outcome, label, rationale="they differ", difficulty="edge_case")
            except NothingToDo:
                return


def copy_of(lab: Lab, path: Path) -> Lab:
    """Return a lab on a second machine: the same threads, labels of its own."""
    database = open_database(f"sqlite:///{path}")
    fill(database)
    return Lab(database, lab.study)


def merge_into(source: Lab, target: Lab, folder: Path) -> BundleReport:
    """Bring the events of one lab into another."""
    with source.database.reading() as session:
        (folder / "bundle.jsonl").write_text("\n".join(bundle_lines(session)))
    with target.database.writing() as session:
        return merge_bundle(session, folder / "bundle.jsonl")


def suppose(database: Database) -> list[str]:
    """Store a proposal for every thread and return the URLs, the most uncertain first."""
    with database.writing() as session:
        threads = session.scalars(select(Thread).order_by(Thread.id)).all()
        fixed = {"causes": [{"code": "IR", "probability": 1.0}], "fix_patterns": [], "evidence": []}
        rows = [
            {"thread_id": thread.id, "valid_probability": 0.5 + number / 100} | fixed
            for number, thread in enumerate(threads)
        ]
        model = keep_model(session, {"name": "m", "digest": None, "card": {}, "made_at": datetime.now(UTC)})
        replace_proposals(session, model, rows)
        return [thread.url for thread in threads]
