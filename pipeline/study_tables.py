"""All tables of a study, read from its database, and written as text or files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy.orm import Session

from db.errors import UsageError
from db.labels import final_labels, read_history
from pipeline import funnel, tables
from pipeline.render import FORMS, render, to_data
from pipeline.study import Study
from pipeline.table import Table
from pipeline.tables import Groups


def label_groups(session: Session) -> Groups:
    """Return the groups of all final labels, with the rejections that the protocol has nobody check."""
    return tables.group(final_labels(session, unchecked=True))


def study_tables(session: Session, study: Study, groups: Groups, *, everything: bool = False) -> list[Table]:
    """Return the tables of the study's own threads and labels, in the order of the paper.

    `everything` adds those that take seconds: Table 2 by probing, and the patterns.
    """
    counted = [
        funnel.funnel(session, study, groups, funnel.discarded_by_stratum(read_history(session))),
        funnel.criteria(session),
        tables.root_causes(groups, study),
        tables.fix_patterns(groups, study),
        tables.functions(groups, study),
        tables.shares(groups, study),
        tables.reasons(groups, study),
    ]
    return counted + (_slow_tables(session, study) if everything else [])


def _slow_tables(session: Session, study: Study) -> list[Table]:
    from pipeline.published import load_published
    from pipeline.ranges import invalid_ranges

    return [invalid_ranges(load_published(study.published))] if study.published else []


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
            path.write_text(render(table, form), encoding="utf-8", newline="\n")
            written.append(path)
    return sorted(written)


def parse_forms(text: str) -> list[str]:
    """Return the forms named in `text` by commas; UsageError for one that does not exist."""
    forms = [form.strip() for form in text.split(",") if form.strip()]
    for form in forms:
        if form not in FORMS:
            raise UsageError(f"--format: {form!r} is not one of {', '.join(FORMS)}")
    return forms
