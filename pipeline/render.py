"""Five renderings of the same rows: Markdown, CSV, LaTeX (booktabs), JSON and HTML.

Every rendering ends with one newline and is the same bytes for the same table.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Callable, Iterator

from db.errors import UsageError
from pipeline.spreadsheet import safe_cell
from pipeline.table import MISSING, Cell, Interval, Share, Table, cell_text

NUMBER = re.compile(rf"[+-]\d+(\.\d+)?|{re.escape(MISSING)}")  # a signed number, or none
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "[": "{[}",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": "$-$",
    "∨": r"$\vee$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "±": r"$\pm$",
    "∈": r"$\in$",
    "∞": r"$\infty$",
    "√": r"$\surd$",
    "–": "--",
    "…": r"\dots{}",
}


def render(table: Table, form: str) -> str:
    """Return `table` as `md`, `csv`, `tex`, `json` or `html`; UsageError for another form."""
    if form not in FORMS:
        raise UsageError(f"format {form!r} is not one of {', '.join(FORMS)}")
    return FORMS[form](table)


def to_markdown(table: Table) -> str:
    """Return a Markdown table under its title, with its notes below."""
    lines = [f"**{_markdown_text(table.title)}**", ""]
    lines.append(_markdown_row(list(table.columns)))
    lines.append("|" + "|".join(" ---: " if right else " --- " for right in _numeric(table)) + "|")
    lines += [_markdown_row(row) for row in _shown(table)]
    if table.notes:
        lines += ["", *(f"- {_markdown_text(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(map(_markdown_text, cells)) + " |"


def _markdown_text(text: str) -> str:
    for plain in ("\\", "|", "<", "*", "`", "__"):
        text = text.replace(plain, "".join(f"\\{character}" for character in plain))
    text = text.replace("](", "]\\(")  # no link but ours
    return " ".join(text.split())


def to_csv(table: Table) -> str:
    """Return the heading and the rows as CSV; a cell that a spreadsheet would execute is made text."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)  # quotes any "\r" too
    writer.writerow(table.columns)
    for row in table.rows:
        writer.writerow([cell if isinstance(cell, int) else _csv_cell(cell) for cell in row])
    return stream.getvalue()


def _csv_cell(cell: Cell) -> str:
    return safe_cell(cell) if isinstance(cell, str) else cell_text(cell)


def to_latex(table: Table) -> str:
    """Return a booktabs table float that compiles with `\\usepackage{booktabs}` and T1 fonts."""
    alignment = "".join("r" if right else "l" for right in _numeric(table))
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_latex(table.title)}}}",
        rf"  \label{{tab:{table.name}}}",
    ]
    lines += [rf"  \begin{{tabular}}{{@{{}}{alignment}@{{}}}}", r"    \toprule"]
    lines += [_latex_row(list(table.columns)), r"    \midrule"]
    lines += [_latex_row(row) for row in _shown(table)]
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    lines += [rf"  \par\smallskip\footnotesize {_latex(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _latex_row(cells: list[str]) -> str:
    return "    " + " & ".join(map(_latex, cells)) + r" \\"


def _latex(text: str) -> str:
    return "".join(map(_latex_character, " ".join(text.split())))


def _latex_character(character: str) -> str:
    """Return what stands for a character: itself, an escape, or its code point where T1 fonts lack it."""
    if character in LATEX:
        return LATEX[character]
    if " " <= character <= "~" or (character.isalpha() and "\u00c0" <= character <= "\u00ff"):
        return character
    return f"U+{ord(character):04X}"


def to_json(table: Table) -> str:
    """Return one JSON object: name, title, columns, rows as objects by column, notes."""
    return json.dumps(to_data(table), ensure_ascii=False, indent=2) + "\n"


def to_data(table: Table) -> dict[str, object]:
    """Return what `to_json` writes, as plain values; a share is `{count, of, percent}`."""
    rows = [dict(zip(table.columns, map(_plain, row), strict=True)) for row in table.rows]
    return {
        "name": table.name,
        "title": table.title,
        "columns": list(table.columns),
        "rows": rows,
        "notes": list(table.notes),
    }


def _plain(cell: Cell) -> object:
    if isinstance(cell, Share):
        percent = cell.percent
        return {"count": cell.count, "of": cell.of, "percent": None if percent is None else float(percent)}
    if isinstance(cell, Interval):
        return {"low": round(cell.low, 6), "high": round(cell.high, 6)}
    return round(cell, 6) if isinstance(cell, float) else cell


def to_html(table: Table) -> str:
    """Return an HTML `<table>` with its caption; every text is escaped."""
    right = _numeric(table)
    head = "".join(
        f'<th{_class(number)} scope="col">{html.escape(name)}</th>'
        for name, number in zip(table.columns, right, strict=True)
    )
    lines = [
        "<table>",
        f"<caption>{html.escape(table.title)}</caption>",
        f"<thead><tr>{head}</tr></thead>",
        "<tbody>",
    ]
    for row in _shown(table):
        cells = (
            f"<td{_class(number)}>{html.escape(cell)}</td>" for cell, number in zip(row, right, strict=True)
        )
        lines.append("<tr>" + "".join(cells) + "</tr>")
    lines.append("</tbody></table>")
    lines += [f'<p class="note">{html.escape(note)}</p>' for note in table.notes]
    return "\n".join(lines) + "\n"


def _class(number: bool) -> str:
    return ' class="number"' if number else ""


def _shown(table: Table) -> Iterator[list[str]]:
    """Yield the rows as text; where the table is grouped, a first cell repeated from above is left empty."""
    above = None
    for row in table.rows:
        cells = [cell_text(cell) for cell in row]
        if table.grouped and cells and cells[0] == above:
            yield ["", *cells[1:]]
        else:
            yield cells
        above = cells[0] if cells else None


def _numeric(table: Table) -> list[bool]:
    """Say of each column whether it holds numbers alone, and so is set to the right."""
    return [
        all(_is_number(row[position]) for row in table.rows) and bool(table.rows)
        for position in range(len(table.columns))
    ]


def _is_number(cell: Cell) -> bool:
    return not isinstance(cell, str) or NUMBER.fullmatch(cell) is not None


FORMS: dict[str, Callable[[Table], str]] = {
    "md": to_markdown,
    "csv": to_csv,
    "tex": to_latex,
    "json": to_json,
    "html": to_html,
}
