"""What every test may ask for: a database, a study, settings, and the shared study material."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from sqlalchemy.orm import Session

from db.engine import Database, open_database
from db.final_labels import import_final_labels
from db.label_events import append_event
from db.records import Label
from db.threads import Thread
from pipeline.records import PostRecord, ThreadRecord
from pipeline.settings import Settings, load_settings
from pipeline.store import upsert_threads
from pipeline.study import Study, load_study

hypothesis_settings.register_profile("nanmine", deadline=None, derandomize=False)
hypothesis_settings.load_profile("nanmine")

SHARED = Path(os.environ.get("NANMINE_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(autouse=True)
def _no_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run each test in an empty folder with none of our variables set and no proxy in the way."""
    for name in list(os.environ):
        if name.startswith("NANMINE_") or name == "GITHUB_TOKEN":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shared() -> Path:
    """The shared study material beside the clone, or a skip with the reason."""
    if not (SHARED / "README.md").is_file():
        pytest.skip("no ../shared beside this clone (NANMINE_SHARED can name it)")
    return SHARED


@pytest.fixture(scope="session")
def study() -> Study:
    """The bundled study."""
    return load_study()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of the bundled study with a database in the test's folder and no pace to keep."""
    return load_settings({"NANMINE_PACE": "0"}, database=f"sqlite:///{tmp_path}/study.db")


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "empty.db"
    database = open_database(f"sqlite:///{path}")
    database.close()
    return path


@pytest.fixture
def database(tmp_path: Path, _empty_database: Path) -> Iterator[Database]:
    """An empty database with today's schema, in the test's folder, named as `settings` names it."""
    (tmp_path / "study.db").write_bytes(_empty_database.read_bytes())
    opened = open_database(f"sqlite:///{tmp_path}/study.db")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def fill_study(study: Study) -> Callable[[Database], None]:
    """Fills a database: twenty threads, two blind simulated annotators, an adjudicator, imported labels."""

    def fill(database: Database) -> None:
        with database.writing() as session:
            upsert_threads(session, study, [(made_thread(number), None) for number in range(20)], b"key")
        with database.writing() as session:
            label_threads(session)

    return fill


@pytest.fixture(scope="session")
def _labelled_database(
    tmp_path_factory: pytest.TempPathFactory, fill_study: Callable[[Database], None]
) -> Path:
    path = tmp_path_factory.mktemp("labelled") / "study.db"
    database = open_database(f"sqlite:///{path}")
    fill_study(database)
    database.close()
    return path


@pytest.fixture
def labelled(tmp_path: Path, _labelled_database: Path) -> Iterator[Database]:
    """A database of twenty labelled threads in every stratum, one of them cross-listed, one outside."""
    (tmp_path / "study.db").write_bytes(_labelled_database.read_bytes())
    opened = open_database(f"sqlite:///{tmp_path}/study.db")
    yield opened
    opened.close()


def made_thread(number: int) -> ThreadRecord:
    """Return a made-up thread: its source and libraries follow from the number, which is 0 to 19."""
    source, kind, library = (
        ("github", "issue", ("tensorflow",)),
        ("stackoverflow", "question", ("tensorflow",)),
        ("github", "issue", ("pytorch",)),
        ("pytorch-forums", "topic", ("pytorch",)),
    )[number % 4]
    libraries = {2: ("pytorch", "tensorflow"), 5: ()}.get(number, library)
    opened = datetime(2022, 1 + number % 12, 2, 3, 4, 5, tzinfo=UTC)
    code = "loss = torch.log(x)\nlog_softmax(x)" if number % 3 else "tf.exp(x)\nFloatingPointError: bad"
    posts = (
        PostRecord(
            "opening", f"{number}-0", f"The loss is nan.\n\n```\n{code}\n```", "markdown", "someone", opened
        ),
        PostRecord("reply", f"{number}-1", "Add an epsilon.", "markdown", "another", opened, accepted=True),
    )
    name = f"o/r{number % 3}#{number}" if source == "github" else str(number)
    return ThreadRecord(
        source, name, f"https://{source}.test/{number}", kind, f"nan in step {number}", posts, "someone",
        opened, closed_at=opened, libraries=libraries, accepted=True,
        repository=f"o/r{number % 3}" if source == "github" else None,
    )  # fmt: skip


def label_threads(session: Session) -> None:
    """Label the threads: blind votes, of which one is ruled on and one discarded; two are imported."""
    append_event(session, "setup", payload={"protocol": "blind_double"})
    causes = ("IR", "GE", "APIM", "RE", "IR", "IMC", "IDP", "BI")
    threads = session.query(Thread).order_by(Thread.id).all()
    for number, thread in enumerate(threads[:18]):
        strata = [member.stratum for member in thread.strata]
        append_event(
            session,
            "draw",
            thread=thread,
            phase="main",
            payload={"stratum": "", "position": number, "strata": strata},
        )
        right = (
            Label(False, reason="not-a-bug")
            if number % 6 == 5
            else Label(True, root_cause=causes[number % 8])
        )
        other = Label(True, root_cause="CLE") if number in (3, 7) else right
        votes = [
            append_event(
                session, "decision", thread=thread, label=label, annotator=who, phase="blind", simulated=True
            )
            for who, label in (("ada", right), ("bo", other))
        ]
        if number in (3, 7):
            ruling = {"label": right} if number == 3 else {"verdict": "discard"}
            basis = {"basis": [vote.uid for vote in votes]}
            append_event(
                session,
                "adjudication",
                thread=thread,
                annotator="cy",
                payload=basis,
                simulated=True,
                **ruling,
            )
    import_final_labels(
        session, [(thread, Label(True, None, "IR", "add-epsilon", "log")) for thread in threads[18:]]
    )
