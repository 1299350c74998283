"""All tables of a study, and writing them as text or files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from db.errors import UsageError
from pipeline import funnel, tables
from pipeline.files import write_whole
from pipeline.material import Material
from pipeline.numerics import Library
from pipeline.render import FORMS, render, to_data
from pipeline.study import Study
from pipeline.table import Table

OF_NO_LABELS = ("criteria", "table2")


def study_tables(
    material: Material, study: Study, *, everything: bool = False, others: Sequence[Library] = ()
) -> list[Table]:
    """Return the tables of the study's own threads and labels, in the order of the paper.

    `everything` adds root causes by library, source, year and repository, and Table 2 by probing, in
    which the ranges of `others` stand beside NumPy's.
    """
    groups = material.groups
    found = [
        funnel.funnel(material, study),
        funnel.criteria(material),
        tables.root_causes(groups, study),
        tables.fix_patterns(groups, study),
        tables.functions(groups, study),
        tables.shares(groups, study),
        tables.reasons(groups, study),
    ]
    found += _further_tables(material, study, others) if everything else []
    return [_with_note(table, material.active) for table in found] if material.active else found


def _with_note(table: Table, active: int) -> Table:
    """Say below a table of labels how many it leaves out, and why."""
    if table.name in OF_NO_LABELS:
        return table
    note = f"Left out of every table: {active} labels of threads that a model's uncertainty drew, not chance."
    return replace(table, notes=(*table.notes, note))


def _further_tables(material: Material, study: Study, others: Sequence[Library]) -> list[Table]:
    from pipeline.crosstabs import cross_tables
    from pipeline.published import load_published
    from pipeline.ranges import invalid_ranges

    ranges = [invalid_ranges(load_published(study.published), others)] if study.published else []
    return [*ranges, *cross_tables(material, study)]


def table_text(found: Iterable[Table], form: str) -> str:
    """Return all tables in one text of the given form; JSON is one document, a list of tables."""
    if form == "json":
        return json.dumps([to_data(table) for table in found], ensure_ascii=False, indent=2) + "\n"
    return "\n".join(render(table, form) for table in found)


def write_tables(found: Iterable[Table], folder: Path, forms: Iterable[str]) -> list[Path]:
    """Write each table in each form as FOLDER/NAME.FORM; return the paths, sorted."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in found:
        for form in forms:
            path = folder / f"{table.name}.{form}"
            write_whole(path, render(table, form))
            written.append(path)
    return sorted(written)


def parse_forms(text: str) -> list[str]:
    """Return the forms named in `text` by commas; UsageError for one that does not exist."""
    forms = [form.strip() for form in text.split(",") if form.strip()]
    for form in forms:
        if form not in FORMS:
            raise UsageError(f"--format: {form!r} is not one of {', '.join(FORMS)}")
    return forms
