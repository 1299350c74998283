"""Labels from files: one final label a thread, or one row an annotator, as CSV or JSON Lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import select, tuple_

from db.final_labels import import_final_labels
from db.records import Label
from db.threads import Thread
from labeling.deciding import NO_NOTES, Notes, notes_payload
from labeling.desk import Desk
from labeling.interop import Carried, from_doccano, from_label_studio
from labeling.people import HANDLE
from pipeline.errors import InputError
from pipeline.links import identify
from pipeline.spreadsheet import original_cell
from pipeline.text import clean

COLUMNS = ("url", "valid", "reason", "root_cause", "fix_pattern", "function", "how", "annotator", "strata")
BATCH = 500  # lines at a time
_Line = tuple[int, dict[str, Any] | str]  # its number, and what it says or why it cannot be read
TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(slots=True)
class ImportReport:
    """What an import did: labels that are new or changed, unchanged ones, and lines skipped with why.

    `left_out` counts memos of final labels, and evidence that is no passage of a post.
    """

    changed: int = 0
    unchanged: int = 0
    skipped: list[str] = field(default_factory=list)
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class _Row:
    thread: Thread
    label: Label
    annotator: str | None
    notes: Notes = NO_NOTES
    left_out: int = 0


def import_labels(desk: Desk, path: Path, *, strict: bool = False) -> ImportReport:
    """Load the labels of a file; a second import of the same file changes nothing.

    Raises InputError when the file cannot be read or, if `strict`, when any line cannot be used:
    the session must then be given up, so that nothing is imported.
    """
    report, votes = ImportReport(), []
    lines = _lines(path)
    while batch := list(islice(lines, BATCH)):
        rows = list(_rows(desk, path, batch, report))
        final = [(row.thread, row.label) for row in rows if row.annotator is None]
        changed = import_final_labels(desk.session, final, note=path.name)
        report.changed += changed
        report.unchanged += len(final) - changed
        report.left_out += sum(row.left_out for row in rows)
        votes += [row for row in rows if row.annotator is not None]
    if strict and report.skipped:
        raise InputError(
            f"{len(report.skipped)} lines cannot be used, nothing is imported; {report.skipped[0]}"
        )
    desk.read_again()
    for row in votes:
        _import_vote(desk, row, report)
    return report


def _rows(desk: Desk, path: Path, batch: list[_Line], report: ImportReport) -> Iterator[_Row]:
    """Yield the lines that can be used; the report takes the others."""
    urls = {str(line.get("url")) for _, line in batch if isinstance(line, dict)}
    threads = _find_threads(desk, {url for url in urls if url.isprintable()})
    for number, line in batch:
        try:
            yield _row(desk, threads, line)
        except ValueError as error:
            report.skipped.append(f"{path}:{number}: {error}")


def _import_vote(desk: Desk, row: _Row, report: ImportReport) -> None:
    handle = str(row.annotator)
    if handle not in desk.history.people:
        desk.record("annotator", annotator=handle, payload={"role": "annotator", "strata": []})
    ends = desk.story(row.thread).ends_of("decision", handle, "imported")
    payload = notes_payload(row.thread, row.notes)
    if ends and ends[-1].label == row.label and payload.items() <= ends[-1].payload.items():
        report.unchanged += 1
        return
    before = ends[-1].uid if ends else None
    desk.record(
        "decision",
        row.thread,
        row.label,
        annotator=handle,
        phase="imported",
        supersedes=before,
        payload=payload,
    )
    report.changed += 1


def _lines(path: Path) -> Iterator[_Line]:
    """Yield each row with its line number; a row that cannot be read comes as the reason why."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 (byte {error.start})") from None
    if text.lstrip().startswith("["):
        yield from _label_studio(path, text)
    elif text.lstrip().startswith("{"):
        yield from _json_lines(text)
    else:
        yield from _csv_lines(path, text)


def _label_studio(path: Path, text: str) -> Iterator[_Line]:
    try:
        tasks = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error})") from None
    yield from from_label_studio(tasks)


def _json_lines(text: str) -> Iterator[_Line]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            yield number, "is not JSON"
            continue
        yield number, _object(value)


def _object(value: Any) -> dict[str, Any] | str:
    """Return a row; doccano's lines are known by their text and category."""
    if not isinstance(value, dict):
        return "is no JSON object"
    try:
        known = "text" in value and ("cats" in value or "label" in value)
        return from_doccano(value) if known else value
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        return f"is no line that nanmine exported ({type(error).__name__}: {error})"


def _csv_lines(path: Path, text: str) -> Iterator[_Line]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = reader.fieldnames or []
        if "url" not in names or "valid" not in names:
            raise InputError(f"{path}:1: a header with at least url and valid is missing")
        while True:
            number = reader.line_num + 1
            row = next(reader, None)
            if row is None:
                return
            wrong = None in row or None in row.values()
            cells = {key: original_cell(cell) for key, cell in row.items() if isinstance(cell, str)}
            yield number, "has not as many cells as the header" if wrong else cells
    except csv.Error as error:
        yield reader.line_num, f"is not CSV: {error}"


def _find_threads(desk: Desk, urls: set[str]) -> dict[str, Thread]:
    """Return the threads that URLs mean, whatever form the URLs have."""
    found = {
        thread.url: thread for thread in desk.session.scalars(select(Thread).where(Thread.url.in_(urls)))
    }
    keys = {url: key for url in urls - found.keys() if (key := identify(url, desk.study))}
    named = select(Thread).where(tuple_(Thread.source, Thread.external_id).in_(set(keys.values())))
    by_key = {(thread.source, thread.external_id): thread for thread in desk.session.scalars(named)}
    return found | {url: by_key[key] for url, key in keys.items() if key in by_key}


def _row(desk: Desk, threads: dict[str, Thread], line: dict[str, Any] | str) -> _Row:
    """Return the row of a line; ValueError says what is wrong with it."""
    if isinstance(line, str):
        raise ValueError(line)
    carried = line.get("carried")
    unknown = line.keys() - set(COLUMNS) - ({"carried"} if isinstance(carried, Carried) else set())
    if unknown:
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
    url = line.get("url")
    if not isinstance(url, str) or not url:
        raise ValueError("has no url")
    thread = threads.get(url)
    if thread is None:
        raise ValueError(f"{url[:200]!r} is no thread of the database")
    label = Label(_truth(line.get("valid")), *(_text(line, name) for name in COLUMNS[2:6]))
    problem = desk.study.codebook.problem_with(label)
    if problem:
        raise ValueError(problem)
    annotator = _text(line, "annotator")
    if annotator is not None and not HANDLE.fullmatch(annotator):
        raise ValueError(f"annotator {annotator!r} is no handle")
    if not isinstance(carried, Carried):
        return _Row(thread, label, annotator)
    _text({"memo": carried.memo}, "memo")
    if annotator is None:  # a final label has no notes
        return _Row(thread, label, None, left_out=bool(carried.memo) + len(carried.evidence))
    return _Row(thread, label, annotator, *carried.notes(thread))


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in TRUTH:
        return TRUTH[value.strip().lower()]
    raise ValueError(f"valid is {value!r}, neither true nor false")


def _text(line: dict[str, Any], name: str) -> str | None:
    value = line.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or clean(value) != value:
        raise ValueError(f"{name} is no text")
    return value
