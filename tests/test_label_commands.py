"""`nanmine label` from outside: exit codes, output, imports, blindness, hostile text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from db.engine import Database, open_database
from db.final_labels import final_labels
from db.label_events import broken_links, read_history
from db.records import Label
from db.threads import Post, Thread, ThreadStratum
from flows.cli import run
from labeling.deciding import Notes, Span, notes_payload
from labeling.desk import Desk
from labeling.exporting import annotator_rows, as_csv
from labeling.interop import TaskText, label_studio_config, task_text, to_doccano, to_label_studio
from labeling.people import add_annotator
from pipeline.study import Study

Run = Callable[..., tuple[int, str, str]]
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x9b31m",
    "a\u202eb\u2066c",
    "tensor[/] [bold]x[/bold] [link=http://x]",
    "nan " * 50_000,
    "\x00\x7f\r\n\r\b\b\b",
)


@pytest.fixture
def command(database: Database, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `nanmine …` in this process and return exit code, output and errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["--database", str(database.engine.url), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def put(database: Database, bodies: list[str], strata: tuple[str, ...] = ("TI",)) -> list[str]:
    """Store one candidate for each body and return the URLs."""
    urls = []
    with database.writing() as session:
        for number, body in enumerate(bodies):
            url = f"https://github.com/o/r/issues/{number}"
            post = Post(
                position=0, role="opening", external_id="0", accepted=False, body=body, body_format="text"
            )
            thread = Thread(
                source="github", external_id=f"o/r#{number}", url=url, kind="issue", title=body[:60],
                tags=[], libraries=[], accepted=True, n_posts=2, candidate=True, content_sha256="0" * 64,
                posts=[post], strata=[ThreadStratum(stratum=code) for code in strata],
            )  # fmt: skip
            session.add(thread)
            urls.append(url)
    return urls


def study_file(folder: Path, **labeling: object) -> str:
    """Write a study without a pilot and return its path."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"pilot_size": 0, **labeling}.items()]
    (folder / "own.toml").write_text("[labeling]\n" + "\n".join(lines))
    return str(folder / "own.toml")


def test_a_first_session(command: Run, database: Database, tmp_path: Path) -> None:
    """A person is added, gets a thread, labels it, undoes that, and the chain verifies."""
    put(database, ["The loss is nan."])
    study = study_file(tmp_path)
    assert command("--study", study, "label", "add-annotator", "ada", "--stratum", "TI", "TP")[0] == 0
    code, out, _ = command("--study", study, "label", "next", "--json", "--as", "ada")
    number = str(json.loads(out)["id"])
    assert code == 0
    code, out, _ = command(
        "--study", study, "--as", "ada", "label", "set", number, "--cause", "IR", "--fix", "add-epsilon",
        "--function", "log", "--memo", "clear", "--span", "4:8",
    )  # fmt: skip
    assert (code, out) == (0, f"{number}: IR · add-epsilon · log\n")
    assert command("--study", study, "label", "--as", "ada", "undo")[1] == f"{number}: withdrawn\n"
    assert command("--study", study, "label", "verify")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["next"], 2, "--as HANDLE"),
        (["next", "--as", "nobody"], 4, "add-annotator"),
        (["set", "1", "--as", "ada"], 2, "--cause"),
        (["set", "1", "--cause", "XX", "--as", "ada"], 2, "root cause 'XX'"),
        (["set", "999", "--cause", "IR", "--as", "ada"], 2, "not in the database"),
        (["invalid", "1", "--reason", "x", "--as", "ada"], 2, "reason 'x'"),
        (["set", "1", "--cause", "IR", "--span", "9", "--as", "ada"], 2, "START:END"),
        (["undo", "--as", "ada"], 3, "nothing"),
        (["check", "next", "--as", "ada"], 3, "nothing to check"),
        (["adjudicate", "next", "--as", "ada"], 4, "adjudicator"),
        (["agree"], 3, "no thread"),
        (["add-annotator", "ada"], 3, "already"),
        (["add-annotator", "a b"], 2, "handle"),
        (["add-annotator", "x", "--stratum", "XX"], 2, "stratum"),
        (["import", "nowhere.csv"], 2, "does not exist"),
        (["tui", "--as", "ada"], 2, "terminal"),
    ],
)
def test_refusals(
    command: Run, database: Database, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    """Each refusal has its exit code and one line that says what to do."""
    put(database, ["The loss is nan."])
    study = study_file(tmp_path)
    command("--study", study, "label", "add-annotator", "ada")
    found, _, error = command("--study", study, "label", *arguments)
    assert found == code
    assert said in error


@pytest.mark.shared
def test_the_real_annotators_agree_as_stated(command: Run, database: Database, shared: Path) -> None:
    """The two real annotators' labels give the figures that their index states."""
    lines = (shared / "labels" / "annotators.csv").read_text().splitlines()[1:]
    urls = dict.fromkeys(line.split(",", 1)[0] for line in lines)
    with database.writing() as session:
        for url in urls:
            session.add(
                Thread(
                    source="x", external_id=url, url=url, kind="issue", title="", tags=[], libraries=[],
                    accepted=False, n_posts=1, candidate=False, content_sha256="",
                )
            )  # fmt: skip
    assert "518 imported" in command("label", "import", str(shared / "labels" / "annotators.csv"))[1]
    assert "0 imported, 518" in command("label", "import", str(shared / "labels" / "annotators.csv"))[1]
    assert "259 imported" in command("label", "import", str(shared / "labels" / "dev.csv"))[1]
    code, out, _ = command("label", "agree", "--json", "--boot", "0")
    levels = {level["name"]: level for level in json.loads(out)["levels"]}
    figures = {
        name: {item["name"]: item["value"] for item in level["statistics"]} for name, level in levels.items()
    }
    assert code == 0
    assert figures["validity"]["percent"] == pytest.approx(0.9807, abs=5e-5)
    assert figures["validity"]["cohen_kappa"] == pytest.approx(0.9546, abs=5e-5)
    assert figures["cause"]["percent"] == pytest.approx(0.9610, abs=5e-5)
    assert figures["cause"]["cohen_kappa"] == pytest.approx(0.9511, abs=5e-5)
    assert figures["combined"]["percent"] == pytest.approx(0.9691, abs=5e-5)
    assert figures["combined"]["cohen_kappa"] == pytest.approx(0.9384, abs=5e-5)
    assert len(levels["combined"]["disagreements"]) == 8
    with database.reading() as session:
        finals = final_labels(session)
    assert (len(finals), sum(final.label.valid for final in finals)) == (259, 77)


BAD_LINES = [
    ("https://github.com/o/r/issues/77,true,,IR,,", "no thread"),
    ("https://github.com/o/r/issues/0,true,,XX,,", "root cause 'XX'"),
    ("https://github.com/o/r/issues/0,maybe,,IR,,", "neither true nor false"),
    ("https://github.com/o/r/issues/0,true,,IR", "cells"),
    (",true,,IR,,", "no url"),
]


@pytest.mark.parametrize(("line", "said"), BAD_LINES)
def test_a_line_that_cannot_be_used(
    command: Run, database: Database, tmp_path: Path, line: str, said: str
) -> None:
    """It is skipped with its number and the reason; with --strict nothing is imported."""
    put(database, ["nan", "nan"])
    good = "https://www.github.com/o/r/issues/1/?x=1,TRUE,,IR,,"
    header = "url,valid,reason,root_cause,fix_pattern,function"
    (tmp_path / "labels.csv").write_text(f"{header}\n{good.replace('www.', '')}\n{line}\n")
    code, _, error = command("label", "import", "--strict", "labels.csv")
    assert code == 1 and said in error
    with database.reading() as session:
        assert read_history(session).events == []
    code, out, error = command("label", "import", "labels.csv")
    assert (code, out) == (0, "1 imported, 0 unchanged, 1 lines skipped\n")
    assert "labels.csv:3: " in error and said in error


def test_labels_come_in_batches_and_the_last_of_a_thread_stands(
    command: Run, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file longer than a batch is one import; a URL that no database can hold is a line skipped."""
    for module in ("db.final_labels", "labeling.importing"):
        monkeypatch.setattr(f"{module}.BATCH", 2)
    put(database, ["nan", "nan"])
    first, second = (f"https://github.com/o/r/issues/{number}" for number in (0, 1))
    rows = [(first, "IR"), (second, "IR"), (first, "GE"), (first, "GE"), ("\ud800", "IR"), (second, "BI")]
    lines = [json.dumps({"url": url, "valid": True, "root_cause": cause}) for url, cause in rows]
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    code, out, error = command("label", "import", "labels.jsonl")
    assert (code, out) == (0, "4 imported, 1 unchanged, 1 lines skipped\n")
    assert "labels.jsonl:5: " in error
    with database.reading() as session:
        assert [final.label.root_cause for final in final_labels(session)] == ["GE", "BI"]
        assert broken_links(read_history(session).events) == []


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"a,b\n1,2\n", b"[1, 2]", b'{"url": 1', b"[" * 9999])
def test_a_file_that_is_no_labels(command: Run, tmp_path: Path, content: bytes) -> None:
    """It ends with one line and imports nothing."""
    (tmp_path / "labels.csv").write_bytes(content)
    code, _, error = command("label", "import", "labels.csv", "--strict")
    assert code == 1
    assert "labels.csv" in error and "Traceback" not in error


def two_blind_people(
    command: Run, database: Database, tmp_path: Path, bodies: list[str], named: list[str] | None = None
) -> list[str]:
    """Set up a blind study with ada and bo, and return the arguments that name it."""
    put(database, bodies)
    study = ["--study", study_file(tmp_path, protocol="blind_double"), "label"]
    for handle, role in (("ada", "annotator"), ("bo", "annotator"), ("cy", "adjudicator")):
        command(*(named or []), *study, "add-annotator", handle, "--role", role)
    return study


ATTEMPTS = [
    ["next"], ["next", "--json"], ["show", "1"], ["show", "1", "--json"], ["check", "next"],
    ["check", "agree", "1"], ["check", "disagree", "1", "--cause", "IR"], ["adjudicate", "next"],
    ["adjudicate", "set", "1", "--cause", "IR"], ["agree"], ["agree", "--json"], ["report"],
    ["agree", "--phase", "blind", "--json"], ["report", "--json", "--checklist"], ["export"], ["undo"],
    ["export", "--annotators"], ["export", "--format", "label-studio"], ["export", "--format", "doccano"],
    ["export", "--format", "csv", "--annotators"], ["stale", "--json"], ["proposals", "--json"],
    ["reveal", "1"], ["reaffirm", "1"], ["reopen", "1"], ["verify"], ["draw"], ["undo", "1"],
    ["next", "--order", "uncertain"], ["draw", "--order", "uncertain"],
    ["bundle", "out", "/dev/stdout"], ["tui"],
]  # fmt: skip


def test_blind_people_never_see_each_other(command: Run, study: Study, tmp_path: Path) -> None:
    """While a label is out, every command says the same to one annotator whatever the other's label is."""
    secrets = (
        ["set", "1", "--cause", "CLE", "--fix", "fix-logic", "--memo", "canary", "--function", "lgamma"],
        ["set", "1", "--cause", "BI"],
        ["invalid", "1", "--reason", "not-a-bug", "--memo", "a longer memo"],
    )
    said = []
    for number, secret in enumerate(secrets):
        database = open_database(f"sqlite:///{tmp_path}/{number}.db")
        named = ["--database", f"sqlite:///{tmp_path}/{number}.db"]
        arguments = [*named, *two_blind_people(command, database, tmp_path, ["nan"], named)]
        command(*arguments, "draw")
        assert command(*arguments, *secret, "--as", "ada")[0] == 0
        said.append([command(*arguments, *attempt, "--as", "bo") for attempt in ATTEMPTS])
        outside = (
            ["export", "events"],
            ["export", "annotations"],
            ["export", "labels"],
            ["tables"],
            ["status"],
        )
        said[-1] += [command(*arguments[:-1], *attempt) for attempt in outside]
        database.close()
    assert said[0] == said[1] == said[2]
    assert "canary" not in str(said)


def test_an_adjudicator_sees_no_names(command: Run, database: Database, tmp_path: Path) -> None:
    """The two labels come as left and right, and the ruling needs its reason and source."""
    study = two_blind_people(command, database, tmp_path, ["nan"])
    for handle, cause in (("ada", "IR"), ("bo", "GE")):
        command(*study, "set", json_id(command, study, handle), "--cause", cause, "--as", handle)
    code, out, _ = command(*study, "adjudicate", "next", "--json", "--as", "cy")
    document = json.loads(out)
    assert code == 0
    assert [side["name"] for side in document["sides"]] == ["left", "right"]
    assert not re.search(r"\b(ada|bo)\b", out)
    number = str(document["id"])
    assert command(*study, "adjudicate", "set", number, "--cause", "IR", "--as", "cy")[0] == 4
    ruling = ["--reason", "a log", "--source", "edge_case", "--as", "cy"]
    assert command(*study, "adjudicate", "set", number, "--cause", "IR", *ruling)[0] == 0
    assert json.loads(command(*study, "export")[1])["how"] == "adjudicated"


def json_id(command: Run, study: list[str], handle: str) -> str:
    """Return the number of the next thread."""
    return str(json.loads(command(*study, "next", "--json", "--as", handle)[1])["id"])


def test_proposals_are_shown_only_after_a_label(command: Run, database: Database, tmp_path: Path) -> None:
    """The model's proposal is refused before one's own label, and each time it is shown is recorded."""
    put(database, ["nan"])
    study = ["--study", study_file(tmp_path, suggestions="after_commit"), "label"]
    command(*study, "add-annotator", "ada")
    number = json_id(command, study, "ada")
    assert command(*study, "reveal", number, "--as", "ada")[0] == 4
    command(*study, "set", number, "--cause", "IR", "--as", "ada")
    assert command(*study, "reveal", number, "--as", "ada")[0] == 0
    command(*study, "set", number, "--cause", "GE", "--as", "ada")
    with database.reading() as session:
        events = read_history(session).events
    kinds = [event.kind for event in events if event.kind in ("decision", "reveal")]
    assert kinds == ["decision", "reveal", "decision"]
    assert events[-1].payload["suggestion_seen"] is True


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_reaches_no_terminal(
    command: Run, database: Database, tmp_path: Path, body: str
) -> None:
    """No text of a thread gives the terminal a control character, in text or JSON."""
    put(database, [body.replace("\x00", "")])
    study = ["--study", study_file(tmp_path), "label"]
    command(*study, "add-annotator", "ada")
    for attempt in (["next"], ["next", "--json"], ["show", "1"], ["draw", "--json"]):
        _, out, error = command(*study, *attempt, "--as", "ada")
        assert not CONTROL.search(out + error)


def test_exports_come_back(command: Run, database: Database, tmp_path: Path, study: Study) -> None:
    """Labels exported as CSV, JSON Lines, Label Studio or doccano import as what they were."""
    rows = [
        "https://github.com/o/r/issues/0,ada,true,,IR,add-epsilon,=1+1",
        "https://github.com/o/r/issues/0,bo,true,,GE,,",
        "https://github.com/o/r/issues/1,ada,false,not-a-bug,,,",
    ]
    put(database, ["nan\u2028 \U0001f600 here", "nan"])
    header = "url,annotator,valid,reason,root_cause,fix_pattern,function\n"
    (tmp_path / "in.csv").write_text(header + "\n".join(rows))
    command("label", "import", "in.csv", "--strict")
    with database.reading() as session:
        desk = Desk(session, study)
        before = annotator_rows(desk)
        assert "'=1+1" in as_csv(before, list(before[0]))
        texts = (to_label_studio(desk), to_doccano(desk))
    (tmp_path / "ls.json").write_text(texts[0])
    (tmp_path / "doccano.jsonl").write_text(texts[1])
    for name, format_ in (("own.csv", "csv"), ("own.jsonl", "jsonl")):
        assert command("label", "export", "--annotators", "--format", format_, "--out", name)[0] == 0
    for name in ("own.csv", "own.jsonl", "ls.json", "doccano.jsonl"):
        assert command("label", "import", name, "--strict")[1].startswith("0 imported, 3 unchanged"), name


@pytest.mark.parametrize("export", [to_label_studio, to_doccano])
def test_memos_and_evidence_come_back(
    command: Run, database: Database, tmp_path: Path, study: Study, export: Callable[[Desk], str]
) -> None:
    """What was noted beside a label is imported with it, once; what fits no post is counted out loud."""
    put(database, ["first nan\u2028 \U0001f600 here", "second nan"])
    with database.writing() as session:
        desk = Desk(session, study)
        add_annotator(desk, "ada")
        thread = desk.thread("1")
        payload = notes_payload(thread, Notes("looked at twice", (Span(0, 6, 9), Span(0, 0, 5))))
        desk.record(
            "decision", thread, Label(True, None, "IR"), annotator="ada", phase="imported", payload=payload
        )
        text = export(desk)
    (tmp_path / "same").write_text(text)
    assert command("label", "import", "same", "--strict")[1].startswith("0 imported, 1 unchanged")
    (tmp_path / "new").write_text(text.replace("looked at twice", "once more").replace("ada", "eve"))
    assert command("label", "import", "new", "--strict")[1].startswith("1 imported, 0 unchanged")
    with database.reading() as session:
        votes = Desk(session, study).story(Desk(session, study).thread("1")).votes
        assert votes["eve"].payload == payload | {"memo": "once more"}
    (tmp_path / "moved").write_text(text.replace("first nan", "First nan").replace("ada", "max"))
    assert "left out: 2 memos or passages" in command("label", "import", "moved")[2]


DOCCANO = {"text": "nan", "cats": ["IR"], "url": "https://github.com/o/r/issues/0", "annotator": "ada"}
STUDIO = {"data": {"text": "nan", "item_id": DOCCANO["url"]}}


def result(name: str, kind: str, **value: Any) -> dict[str, Any]:
    """Return one result of a Label Studio annotation."""
    return {"from_name": name, "type": kind, "value": value}


CHOSEN = [result("validity", "choices", choices=["valid"]), result("cause", "choices", choices=["IR"])]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"url": DOCCANO["url"], "valid": True, "root_cause": "IR", "function": "\ud800"},
            "function is no text",
        ),
        (DOCCANO | {"memo": "\ud800"}, "memo is no text"),
        (DOCCANO | {"entities": [[float("inf"), 3, "evidence"]]}, "OverflowError"),
        ([*CHOSEN, result("memo", "textarea", text=[5])], "memo is no text"),
        ([*CHOSEN, result("span", "labels", start=float("inf"), end=3)], "OverflowError"),
    ],
)
def test_what_no_database_can_hold_is_a_line_skipped(
    command: Run, database: Database, tmp_path: Path, content: Any, said: str
) -> None:
    """Half a character, a number as memo or a passage without end stop no import."""
    put(database, ["nan"])
    if isinstance(content, list):
        content = [STUDIO | {"annotations": [{"completed_by": 1, "result": content}]}]
    (tmp_path / "labels").write_text(json.dumps(content))
    code, _, error = command("label", "import", "labels")
    assert code == 1 and "skipped labels:1: " in error and said in error
    with database.reading() as session:
        assert read_history(session).events == []


@pytest.mark.parametrize(
    ("span", "found"),
    [
        ((7, 10), Span(0, 0, 3)),
        ((12, 17), Span(1, 0, 5)),
        ((0, 3), None),
        ((9, 13), None),
        ((15, 18), None),
        ((8, 8), None),
    ],
)
def test_a_passage_of_the_task_is_one_of_a_post(span: tuple[int, int], found: Span | None) -> None:
    """Offsets of the whole text are offsets of the post they lie in; title and gaps are no post."""
    assert TaskText("title\n\nnan\n\nreply", {0: 7, 1: 12}).span_at(*span) == found


def test_evidence_stands_where_it_stood(database: Database, study: Study) -> None:
    """The text of a Label Studio task holds each post at the place from which evidence is counted."""
    put(database, ["The loss is nan. \U0001f600"])
    with database.reading() as session:
        thread = session.query(Thread).one()
        task = task_text(thread)
        assert task.text[task.starts[0] :].startswith("The loss is nan.")
    assert label_studio_config(study.codebook).count("<Choice ") > 20


def test_no_terminal_ends_at_once(tmp_path: Path) -> None:
    """Without a terminal the screen refuses within a second of its start, and never hangs."""
    started = time.monotonic()
    code = "from flows.cli import main; main(['label', 'tui', '--as', 'ada'])"
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 2
    assert "terminal" in done.stderr
    assert time.monotonic() - started < 15
