"""The command line: every command has help and stands in the README; errors are one line with a code."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from db.engine import Database
from db.errors import NanmineError
from flows.cli import COMMANDS, nanmine, run
from pipeline.files import whole_file, write_whole

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def commands(group: click.Group = nanmine, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command and subcommand."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("words", sorted(commands()), ids=" ".join)
def test_every_command_has_help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` of each command ends well and says what the command does."""
    assert run([*words, "--help"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"Usage: nanmine {words[0]}")
    assert re.search(r"\n  [A-Z][^\n]{10,}", printed)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_in_the_readme(name: str) -> None:
    """The README shows each command."""
    assert re.search(rf"nanmine {name}\b", README)


def test_the_module_is_the_command() -> None:
    """`python -m flows.cli` does what `nanmine` does."""
    words = [sys.executable, "-m", "flows.cli", "poem"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command 'poem'" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["poem"], 2, "No such command 'poem'"),
        (["--study", "missing.toml", "status"], 1, "study missing.toml: cannot be read"),
        (["--database", "sqlite:////no/where/x.db", "status"], 1, "unable to open database file"),
        (["crawl", "usenet"], 2, "source 'usenet'"),
        (["crawl", "--since", "yesterday"], 2, "neither a day"),
        (["crawl", "--limit", "0"], 2, "0 is not in the range"),
        (["hydrate", "missing.md"], 2, "does not exist"),
        (["deploy", "apply"], 2, "PREFECT_API_URL is not set"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_error_is_one_line_and_a_code(
    words: list[str],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a person got wrong is said on standard error, without a traceback, with the right code."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert run(words) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_an_unexpected_error_shows_its_traceback_only_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bug of ours is one line, or the traceback with NANMINE_DEBUG=1."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("pipeline.status.read_status", broken)
    assert run(["status"]) == 1
    assert "unexpected ZeroDivisionError: a bug" in capsys.readouterr().err
    monkeypatch.setenv("NANMINE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(["status"])


def test_the_database_checks_itself(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`db check` says what holds, `db upgrade` what the schema is, `db recompute` what changed."""
    url = f"sqlite:///{tmp_path}/study.db"
    for words, said in ((["check"], "file: whole"), (["upgrade"], "schema 0"), (["recompute"], "0 changed")):
        assert run(["--database", url, "db", *words]) == 0
        assert said in capsys.readouterr().out


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """What was there before stays when writing fails, the error names the file, and nothing half is left."""
    path = tmp_path / "out.json"
    write_whole(path, "before")
    with pytest.raises(NanmineError, match=r"out\.json: cannot be written: No space left"), whole_file(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("out.json", "before")]


def test_an_error_of_another_file_is_not_said_of_the_one_that_is_written(tmp_path: Path) -> None:
    """What cannot be read on the way keeps its own name and reason, and nothing is written."""
    with pytest.raises(FileNotFoundError, match="source"), whole_file(tmp_path / "out.json"):
        (tmp_path / "source").read_bytes()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["file/below", "n" * 300, "n" * 250, "none/there"])
def test_a_path_where_no_file_can_be_is_named(tmp_path: Path, name: str) -> None:
    """Below a file, in no folder, or with a name too long: the error is one line that says which."""
    (tmp_path / "file").touch()
    with pytest.raises(NanmineError, match="cannot be written"):
        write_whole(tmp_path / name, "text")
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("before", ["before", None])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path, before: str | None) -> None:
    """Whoever links a file elsewhere, /dev/stdout to a file too, keeps the link."""
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target.name)
    if before is not None:
        target.write_text(before)
    write_whole(link, "after")
    assert link.is_symlink() and target.read_text() == "after"
    assert sorted(tmp_path.iterdir()) == [link, target]


def test_a_device_is_written_itself() -> None:
    """`--out /dev/null` (or a pipe) is no file to put another in the place of."""
    write_whole(Path(os.devnull), "gone")
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["crawl", "--since", "2021-01-01", "--until", "2020-01-01"], 2, "is after --until"),
        (["hydrate", "list.md", "--stratum", "XX"], 2, "the study has TI, TP, PI, PP"),
        (["label", "add-annotator", "ada", "--stratum", "XX"], 2, "the study has TI, TP, PI, PP"),
        (["import", "empty.jsonl.gz"], 1, "is empty, which no gzip file is"),
        (["export", "threads", "--out", "nowhere/x"], 1, "nowhere/x: cannot be written: No such file"),
        (["report", "--out", "nowhere/x"], 1, "nowhere/x: cannot be written: No such file"),
    ],
)
def test_what_a_stranger_gets_wrong_is_said_in_a_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    """Bounds in the wrong order, unknown strata, empty downloads and missing folders name themselves."""
    Path("list.md").write_text("https://stackoverflow.com/q/1")
    Path("empty.jsonl.gz").touch()
    assert run(arguments) == code
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
