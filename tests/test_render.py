"""Rendering: five forms of the same rows."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.errors import UsageError
from pipeline.render import FORMS, render
from pipeline.spreadsheet import original_cell
from pipeline.study_tables import parse_forms, table_text, write_tables
from pipeline.table import Interval, Share, Table

TABLE = Table(
    "table1",
    "Causes & shares",
    ("Type", "Cause", "# Total", "Proportion(%)", "95 %", "V"),
    (
        ("Code", "IR_x", 93, Share(93, 183), Interval(0.4, 0.6), 0.25),
        ("Code", "A|B", 0, None, None, None),
        ("Other", "<b>", 4, Share(0, 0), Interval(0, 1), 1.0),
    ),
    ("A note: 100 % of $x$.",),
    grouped=True,
)


def test_markdown_groups_escapes_and_aligns() -> None:
    """A repeated type is left out, a pipe or a tag does not break the table, numbers stand right."""
    lines = render(TABLE, "md").splitlines()
    assert lines[2:6] == [
        "| Type | Cause | # Total | Proportion(%) | 95 % | V |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        "| Code | IR_x | 93 | 50.82% | [40.00, 60.00] | 0.2500 |",
        r"|  | A\|B | 0 | - | - | - |",
    ]
    assert r"\<b>" in lines[6]


def test_signed_numbers_stand_right_and_nothing_is_negative_zero() -> None:
    """Differences are numbers though they are text, words are not; what rounds to nothing has no sign."""
    table = Table(
        "t", "T", ("A", "B", "C"), (("+1.50", "+1", -1e-9), ("-12.38", "one", 0.5), ("-", "-", None))
    )
    lines = render(table, "md").splitlines()
    assert lines[3] == "| ---: | --- | ---: |"
    assert lines[4].endswith("| 0.0000 |")


def test_markdown_makes_no_link_and_no_emphasis_of_a_cell() -> None:
    """Text of a thread stays text: no link to elsewhere, and `__init__` keeps its underscores."""
    text = render(Table("t", "T", ("a",), (("[x](javascript:1) __init__",),)), "md")
    assert r"[x]\(javascript:1) \_\_init\_\_" in text


def test_csv_repeats_every_cell() -> None:
    """CSV is for programs: the type stands in every row."""
    rows = list(csv.reader(io.StringIO(render(TABLE, "csv"))))
    assert [row[0] for row in rows] == ["Type", "Code", "Code", "Other"]
    assert rows[1][3] == "50.82%"


def test_json_keeps_numbers() -> None:
    """JSON holds counts and shares as numbers under their column's name."""
    data = json.loads(render(TABLE, "json"))
    assert data["rows"][0]["Proportion(%)"] == {"count": 93, "of": 183, "percent": 50.82}
    assert data["rows"][1]["Proportion(%)"] is None
    assert data["rows"][0]["95 %"] == {"low": 0.4, "high": 0.6}


def test_latex_is_booktabs_with_everything_escaped() -> None:
    """No special character of LaTeX is left as it is."""
    text = render(TABLE, "tex")
    assert r"\toprule" in text and r"\bottomrule" in text
    assert r"IR\_x" in text and r"Causes \& shares" in text and r"100 \% of \$x\$" in text


def test_html_is_escaped() -> None:
    """A cell cannot bring markup of its own."""
    text = render(TABLE, "html")
    assert "<b>" not in text and "&lt;b&gt;" in text


@given(st.text())
def test_any_text_survives_csv_and_stays_one_line_elsewhere(text: str) -> None:
    """Hostile text round-trips through CSV, and adds no line to Markdown, no tag to HTML."""
    table = Table("t", "T", ("a", "b"), ((text, 1),))
    row = list(csv.reader(io.StringIO(render(table, "csv"), newline="")))[1]
    assert original_cell(row[0]) == text
    assert len(render(table, "md").split("\n")) == 6
    assert len(re.findall("<", render(table, "html"))) == len(
        re.findall("<", render(Table("t", "T", ("a", "b"), (("", 1),)), "html"))
    )


def test_every_form_ends_with_one_newline_and_is_the_same_twice() -> None:
    """Rendering depends on nothing but the table."""
    for form in FORMS:
        assert render(TABLE, form) == render(TABLE, form)
        assert render(TABLE, form).endswith("\n") and not render(TABLE, form).endswith("\n\n")


def test_files_are_named_after_tables_and_forms() -> None:
    """One file a table and form, whose text is what is printed."""
    written = write_tables([TABLE], Path("out"), ["md", "csv"])
    assert [path.name for path in written] == ["table1.csv", "table1.md"]
    assert written[1].read_text() == table_text([TABLE], "md")


def test_an_unknown_form_is_refused_before_anything_is_written() -> None:
    """The message names the form and those that exist."""
    with pytest.raises(UsageError, match="'xls' is not one of md, csv, tex, json, html"):
        parse_forms("md,xls")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_latex_compiles() -> None:
    """Every character that a table of the study can hold compiles with booktabs."""
    codes = [*range(0x250), 0x2028, 0x202E, 0x4E2D, 0x1F600, *map(ord, "≤∨∈∞−…")]
    rows = tuple((chr(code) * 2 + "[", code) for code in codes)
    parts = [Table("t", "T", ("a", "b"), rows[start : start + 40]) for start in range(0, len(rows), 40)]
    body = "\\clearpage\n".join(render(table, "tex") for table in (TABLE, *parts))
    document = (
        "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage[utf8]{inputenc}\\usepackage{booktabs}"
    )
    Path("t.tex").write_text(document + "\\begin{document}\n" + body + "\\end{document}\n")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-2000:]
