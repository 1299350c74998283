"""`nanmine tables`, and the flow that regenerates the tables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from db.engine import Database
from flows.cli import run


def tables(folder: Path, *arguments: str) -> int:
    """Run the command on the database of a folder; return its exit code."""
    return run(["--database", f"sqlite:///{folder}/study.db", "tables", *arguments])


def test_tables_are_printed_as_markdown(
    labelled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --out the tables go to standard output, Table 1 among them in the paper's layout."""
    assert tables(tmp_path) == 0
    printed = capsys.readouterr().out
    assert "| Type | Root Cause | # TI | # TP | # PI | # PP |" in printed
    assert "by simulated annotators" in printed


def test_json_is_one_document(labelled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--format json` prints a list of tables that a program can read."""
    assert tables(tmp_path, "--format", "json", "--compare", "wang2022") == 0
    names = [table["name"] for table in json.loads(capsys.readouterr().out)]
    assert names[:3] == ["funnel", "criteria", "table1"] and names[-2:] == [
        "comparison-fixes",
        "comparison-tests",
    ]


def test_files_are_written_in_every_form(labelled: Database, tmp_path: Path) -> None:
    """`--out` writes all tables, Table 2 and the patterns too, in the forms asked for."""
    assert tables(tmp_path, "--out", "t") == 0
    assert {path.suffix for path in Path("t").iterdir()} == {".md", ".csv", ".tex", ".json"}
    assert Path("t/table2.md").is_file() and Path("t/patterns.csv").is_file()
    assert tables(tmp_path, "--out", "h", "--format", "html") == 0
    assert Path("h/table1.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "xls"], "'xls' is not one of md, csv, tex, json, html"),
        (["--compare", "nobody"], "published study 'nobody' is not one of wang2022"),
        (["--bundle", ".", "--compare", "wang2022"], "it goes without --audit, --compare and --probe"),
        (["--bundle", ".", "--probe", "torch"], "it goes without --audit, --compare and --probe"),
        (["--audit", "wang2022", "--probe", "torch"], "--probe goes without --audit"),
        (["--lists", "."], "--lists goes with --audit"),
        (["--audit", "nobody"], "published study 'nobody' is not one of wang2022"),
    ],
)
def test_wrong_usage_is_one_line(
    labelled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """Exit code 2 and what would be right."""
    assert tables(tmp_path, *arguments) == 2
    assert said in capsys.readouterr().err


def test_the_audit_needs_no_database(capsys: pytest.CaptureFixture[str]) -> None:
    """A published study is audited without a study of one's own."""
    assert run(["tables", "--audit", "wang2022"]) == 0
    assert "55.65" in capsys.readouterr().out
    assert not Path("nanmine.db").exists()


def test_tables_start_without_the_heavy_packages(labelled: Database, tmp_path: Path) -> None:
    """The quick tables import neither Prefect nor scikit-learn, nor NumPy, SciPy, Jinja or Matplotlib."""
    heavy = "prefect sklearn numpy scipy jinja2 matplotlib alembic pyarrow"
    code = f"""
import sys
from flows.cli import run
assert run(["--database", "sqlite:///{tmp_path}/study.db", "tables"]) == 0
print([name for name in {heavy.split()} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"


@pytest.mark.flow
@pytest.mark.slow
def test_the_flow_writes_what_the_command_writes(
    labelled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduled flow and `tables --out` give the same bytes."""
    monkeypatch.setenv("NANMINE_DATABASE_URL", f"sqlite:///{tmp_path}/study.db")
    from flows.tables import regenerate_tables

    assert regenerate_tables("flow", ["md", "csv"]) == len(list(Path("flow").iterdir()))
    assert tables(tmp_path, "--out", "command", "--format", "md,csv") == 0
    written = {path.name: path.read_bytes() for path in Path("flow").iterdir()}
    assert written == {path.name: path.read_bytes() for path in Path("command").iterdir()}
