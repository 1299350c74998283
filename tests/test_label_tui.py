"""The annotation screen: every act is a command's act, and no text can break it."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.engine import Database, open_database
from db.label_events import read_history
from db.threads import Post, Thread, ThreadStratum
from flows.cli import run
from labeling.active import draw_uncertain
from labeling.desk import Desk
from labeling.document import Document, to_document
from labeling.folding import folded
from labeling.people import add_annotator
from pipeline.study import Study, load_study
from pipeline.terminal import printable
from tests.label_lab import suppose

pytest.importorskip("textual")

from labeling.tui import AnnotationScreen

KEYWORDS = load_study().keywords
LOG = "\n".join(("It fails:", "```", *(f"step {at}" for at in range(60)), "```", "> It did?", "Why?"))
OWN = "[labeling]\npilot_size = 0\ncheck_after = 'any_time'\nowned_strata = false\n"
ALL = "\x1b]0;owned\x07 [bold]x[/] tensor[/] a\u202eb \x9b31m 漢字 " + "x" * 300


def made_thread(body: str, number: int = 0) -> Thread:
    """Return a candidate with two posts of one body."""
    posts = [
        Post(position=at, role=role, external_id=str(at), accepted=False, body=body, body_format="markdown")
        for at, role in enumerate(("opening", "reply"))
    ]
    return Thread(
        source="github", external_id=f"o/r#{number}", url=f"https://github.com/o/r/issues/{number}",
        kind="issue", title=f"{number} {body[:40]}", tags=[], libraries=[], accepted=True, n_posts=2,
        candidate=True, content_sha256="0" * 64, posts=posts, strata=[ThreadStratum(stratum="TI")],
    )  # fmt: skip


@pytest.fixture
def own(tmp_path: Path) -> Study:
    """The bundled study without a pilot, with checks at any time."""
    (tmp_path / "own.toml").write_text(OWN)
    return load_study(tmp_path / "own.toml")


def fill(database: Database, study: Study, body: str = "The loss is nan.\n\n```\nlog(x)\n```\n") -> None:
    """Put two threads and four people into a database."""
    with database.writing() as session:
        session.add_all([made_thread(body, number) for number in range(2)])
    with database.writing() as session:
        for handle, role in (("ada", "annotator"), ("bo", "annotator"), ("cy", "adjudicator")):
            add_annotator(Desk(session, study), handle, role)


def press(database: Database, study: Study, handle: str, *keys: str, size: tuple[int, int] = (80, 24)) -> str:
    """Press keys on a screen of 80 by 24, or another size, and return what it showed at the end."""

    async def session() -> str:
        screen = AnnotationScreen(database, study, handle)
        async with screen.run_test(size=size) as pilot:
            await pilot.pause()
            for key in keys:
                await pilot.press(key)
            await pilot.pause()
            return screen.export_screenshot()

    return asyncio.run(session())


def labels(database: Database) -> list[tuple[Any, ...]]:
    """Return what was decided, without the names and times that always differ."""
    with database.reading() as session:
        return [
            (event.kind, event.thread_url, event.annotator, event.phase, event.label, event.verdict,
             {key: value for key, value in event.payload.items() if key in ("memo", "spans", "rationale")})
            for event in read_history(session).events
            if event.kind in ("decision", "check", "adjudication", "proposal")
        ]  # fmt: skip


TWINS = {
    "cause": [("ada", ["1", "f", "enter"], ["set", "{next}", "--cause", "IR", "--fix", "add-epsilon"])],
    "tenth cause": [("ada", ["0", "enter"], ["set", "{next}", "--cause", "Other"])],
    "invalid": [("ada", ["x", "b", "enter"], ["invalid", "{next}", "--reason", "not-a-bug"])],
    "memo": [
        ("ada", ["2", "m", "h", "i", "enter", "enter"],
         ["set", "{next}", "--cause", "APIM", "--memo", "hi"])
    ],
    "function": [
        ("ada", ["1", "o", "l", "enter", "enter"],
         ["set", "{next}", "--cause", "IR", "--function", "l"])
    ],
    "unsure": [("ada", ["question_mark"], ["unsure", "{next}"])],
    "evidence": [
        ("ada", ["slash", "n", "a", "n", "full_stop", "enter", "v", "1", "enter"],
         ["set", "{next}", "--cause", "IR", "--span", "12:16"])
    ],
    "undo": [("ada", ["1", "enter"], ["set", "{next}", "--cause", "IR"]), ("ada", ["u"], ["undo"])],
    "propose": [
        ("ada", ["p", "a", ":", "b", "enter"], ["propose", "a", "--definition", "b", "--thread", "{next}"])
    ],
}  # fmt: skip


def test_a_key_turns_to_uncertain_threads_and_back(own: Study, tmp_path: Path) -> None:
    """`a` gives the threads of active draws, as `next --order uncertain` does; `a` again the study's."""
    database = open_database(f"sqlite:///{tmp_path}/active.db")
    fill(database, own)
    suppose(database)
    with database.writing() as session:
        url = draw_uncertain(Desk(session, own, "ada"), count=1)[0].thread_url
    press(database, own, "ada", "a", "1", "enter")
    assert [given[1] for given in labels(database)] == [url]
    press(database, own, "ada", "a", "a", "1", "enter")
    assert [given[1] == url for given in labels(database)] == [True, False]
    database.close()


@pytest.mark.parametrize("twins", TWINS.values(), ids=TWINS)
def test_keys_do_what_commands_do(
    own: Study, tmp_path: Path, twins: list[tuple[str, list[str], list[str]]]
) -> None:
    """Keys on the screen and the command beside them leave the same events."""
    found = []
    for name in ("screen", "command"):
        database = open_database(f"sqlite:///{tmp_path}/{name}.db")
        fill(database, own)
        base = ["--study", str(tmp_path / "own.toml"), "--database", f"sqlite:///{tmp_path}/{name}.db"]
        for handle, keys, arguments in twins:
            if name == "screen":
                press(database, own, handle, *keys)
            else:
                first = _next_number(database, own, handle)
                given = [first if word == "{next}" else word for word in arguments]
                assert run([*base, "--as", handle, "label", *given]) == 0
        found.append(labels(database))
        database.close()
    assert found[0] == found[1]
    assert found[0]


def _next_number(database: Database, study: Study, handle: str) -> str:
    from labeling.queue import next_thread

    with database.writing() as session:
        return str(next_thread(Desk(session, study, handle)).id)


def test_check_and_dispute_on_the_screen(database: Database, own: Study) -> None:
    """A second person agrees with one label and disputes the other; a third settles it."""
    fill(database, own)
    press(database, own, "ada", "1", "enter", "1", "enter")
    press(database, own, "bo", "enter", "6", "enter")
    shown = press(database, own, "cy")
    assert "IR" in shown and "GE" in shown
    press(database, own, "cy", "6", "m", "y", "enter", "enter")
    with database.reading() as session:
        history = read_history(session)
    assert sorted(history.outcome(url).state for url in history.threads) == ["adjudicated", "checked"]


def test_choosing_is_not_committing(database: Database, own: Study) -> None:
    """Keys that choose record nothing; Enter without a choice says so and records nothing."""
    fill(database, own)
    shown = press(
        database, own, "ada", "3", "escape", "x", "escape", "j", "k", "space", "b", "n", "N", "c", "h"
    )
    assert labels(database) == []
    assert "IR" in shown


def test_hostile_text_on_the_screen(database: Database, own: Study) -> None:
    """Markup, escapes, bidi controls and endless lines are shown as text, and nothing crashes."""
    fill(database, own, ALL)
    shown = press(database, own, "ada", "j", "1", "enter")
    assert "tensor[/]" in shown
    assert printable(shown) == shown
    assert len(labels(database)) == 1


SCREEN = """
import sys
from pathlib import Path
from db.engine import open_database
from labeling.tui import AnnotationScreen
from pipeline.study import load_study
AnnotationScreen(open_database(sys.argv[1]), load_study(Path(sys.argv[2])), "ada").run()
"""


@pytest.mark.slow
def test_hostile_text_on_a_real_terminal(database: Database, own: Study, tmp_path: Path) -> None:
    """Of what a thread would tell the terminal nothing arrives in the bytes that the screen writes."""
    fill(database, own, ALL)
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="80", LINES="24")
        os.execv(sys.executable, [sys.executable, "-c", SCREEN, str(database.engine.url), "own.toml"])
    written = b""
    while select.select([terminal], [], [], 5.0)[0] and b"owned" not in written:
        written += os.read(terminal, 65536)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    os.close(terminal)
    assert b"owned" in written
    for told in (b"\x1b]0;owned", "\u202e".encode(), "\x9b".encode(), b"\x9b31m"):
        assert told not in written


@given(body=st.text(max_size=300), width=st.integers(20, 120))
def test_lines_show_the_whole_text(body: str, width: int) -> None:
    """Every character of a post stands on exactly one line, in order, and no line holds a control."""
    thread = made_thread(body.replace("\x00", ""))
    lines = [line for line in to_document(thread, KEYWORDS, width).lines if line.post == 0]
    text = thread.posts[0].body
    assert "".join(text[line.start : line.end] for line in lines) == text.replace("\n", "")
    assert all(printable(line.text) == line.text for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["x", "nan ", "漢", "\x1b["])
def test_an_endless_line_is_wrapped(piece: str) -> None:
    """A single line of 10 MB opens, cut where texts are cut."""
    document = to_document(made_thread(piece * (10_000_000 // len(piece))), KEYWORDS, 80)
    assert all(len(line.text) <= 80 for line in document.lines)


def shown(document: Document) -> list[str]:
    """Return the lines of a document."""
    return [line.text for line in document.lines]


def test_long_code_is_folded_to_its_ends_and_keywords() -> None:
    """Of a long log the first and last lines stay, those about a keyword, and what is hidden is counted."""
    whole = to_document(made_thread(LOG.replace("step 30", "loss nan")), KEYWORDS, 60)
    short = folded(whole)
    post = shown(short)[short.post_lines[0] + 1 : short.post_lines[1]]
    assert post == [
        "It fails:", "```", *(f"step {at}" for at in range(6)), "    ⋯ 23 more lines, z shows them",
        "step 29", "loss nan", "step 31", "    ⋯ 24 more lines, z shows them",
        *(f"step {at}" for at in range(56, 60)), "```", "> It did?", "Why?",
    ]  # fmt: skip
    assert [short.lines[line].text for line in short.match_lines] == ["loss nan"] * 2
    assert [short.lines[line].pieces for line in short.post_lines] == [
        whole.lines[line].pieces for line in whole.post_lines
    ]


def test_a_long_log_without_a_fence_is_folded_too() -> None:
    """Log lines of whatever length, and what is indented below one, fold; as many lines of prose do not."""
    log = [f"epoch {at}: " + "loss 0.25 " * 6 + "\n  saved" for at in range(20)]
    log[10] = "epoch 10: loss nan"
    whole = to_document(made_thread("\n".join(["It fails:", *log, "Why?"])), KEYWORDS, 40)
    short = folded(whole)
    post = shown(short)[short.post_lines[0] + 1 : short.post_lines[1]]
    assert (post[0], post[1][:8], post[-1]) == ("It fails:", "epoch 0:", "Why?")
    assert "epoch 10: loss nan" in post and len(post) < 20
    assert sum("more lines, z" in line for line in post) == 2
    prose = to_document(made_thread("\n".join(["It fails and fails."] * 60)), KEYWORDS, 40)
    assert folded(prose) == prose


@given(
    st.lists(st.sampled_from(["prose", "    code", "```", "nan", "> quote", "", "step 1: 0.5"]), max_size=80)
)
def test_folding_hides_code_and_logs_without_a_keyword_and_nothing_else(lines: list[str]) -> None:
    """Every line of prose and every keyword stays, in order, and the counts say what is hidden."""
    whole = to_document(made_thread("\n".join(lines)), KEYWORDS, 40)
    short = folded(whole)
    folds = [line.text for line in short.lines if "more lines, z" in line.text]
    assert len(whole.lines) == len(short.lines) - len(folds) + sum(int(fold.split()[1]) for fold in folds)
    assert len(short.match_lines) == len(whole.match_lines)
    assert [line for line in short.lines if line in whole.lines] == [
        line for line in short.lines if "more lines, z" not in line.text
    ]


@pytest.mark.parametrize(
    ("line", "style"),
    [
        ("> quoted", "dim"),
        ("```", "dim"),
        (">>> import torch", "prose"),
        ("a > b", "prose"),
        ("`x`", "prose"),
    ],
)
def test_quotes_and_fences_are_dim(line: str, style: str) -> None:
    """What quotes another post, or only marks code, steps back; what was typed at a prompt does not."""
    document = to_document(made_thread(f"{line}\nx\n```" if line == "```" else line), KEYWORDS, 60)
    assert document.lines[document.post_lines[0] + 1].pieces[0][1] == style


def test_keys_go_to_keywords_and_unfold(database: Database, own: Study) -> None:
    """`.` and `,` go from keyword to keyword, `z` shows folded code, and `/` finds what is folded."""
    fill(database, own, "\n\n".join((LOG, *("so",) * 20, "alpha is nan", *("so",) * 20, "omega is inf")))
    assert "alpha&#160;is" not in press(database, own, "ada")
    assert "alpha&#160;is" in press(database, own, "ada", "full_stop")
    assert "omega&#160;is" in press(database, own, "ada", "full_stop", "full_stop")
    assert "alpha&#160;is" in press(database, own, "ada", "full_stop", "full_stop", "comma")
    assert "step&#160;9" in press(database, own, "ada", "z")
    assert "step&#160;9" not in press(database, own, "ada", "z", "z")
    assert "step&#160;33" in press(database, own, "ada", "slash", *"step", "space", *"33", "enter")


def test_what_keeps_a_person_from_work_can_be_read_whole(database: Database, own: Study) -> None:
    """A refusal that is longer than the line of messages stands where the thread would."""
    assert "label&#160;add-annotator&#160;stranger" in press(database, own, "stranger")


def test_a_narrow_terminal_shows_the_thread(database: Database, own: Study) -> None:
    """Forty columns are the thread's; the codebook comes when it is asked for, and goes again."""
    fill(database, own)
    assert "The&#160;loss&#160;is&#160;" in press(database, own, "ada", size=(40, 12))
    assert "Invalid&#160;Range" not in press(database, own, "ada", size=(40, 12))
    assert "Invalid&#160;Range" in press(database, own, "ada", "c", size=(40, 12))
    assert "Invalid&#160;Range" not in press(database, own, "ada", "c", "c", size=(40, 12))
