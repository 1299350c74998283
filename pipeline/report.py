"""The report: one HTML page with tables, figures, agreement, protocol, model, provenance and threads.

The page asks for nothing outside itself and its content policy allows nothing but its own style,
its own script and images in data addresses, so no text of a thread can run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.final_labels import each_final_label
from db.records import FinalLabel
from db.threads import Thread
from pipeline import figures, provenance, tables
from pipeline.comparison import comparison_tables
from pipeline.material import Material, read_material
from pipeline.patterns import read_patterns
from pipeline.published import load_published
from pipeline.render import render
from pipeline.report_parts import agreement_part, model_part
from pipeline.study import Study
from pipeline.study_tables import study_tables
from pipeline.table import Table

LISTED = 10_000  # labelled threads on the page: more would make it too slow to open
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure on the page: its data address and what it shows, in words."""

    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the page; the tables of a folded one are shown when they are opened."""

    id: str
    title: str
    text: str = ""
    tables: tuple[Table, ...] = ()
    figures: tuple[Picture, ...] = ()
    folded: bool = False


def report_html(session: Session, study: Study) -> str:
    """Return the whole page of a study."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    material = read_material(session, everything=True)
    fingerprint = provenance.fingerprint(session, study)
    script, style = (_asset(name) for name in ("report.js", "report.css"))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html").render(
        title=study.title,
        lead=_lead(material),
        warning=_warning(material.groups),
        policy=content_policy(script, style),
        style=style,
        script=script,
        sections=[_view(section) for section in sections(session, study, material, fingerprint)],
        labelled=sum(material.groups.values()),
        threads=thread_rows(session),
        version=provenance.program_version(),
        fingerprint=fingerprint,
    )


def content_policy(script: str, style: str) -> str:
    """Return a policy that allows this script, this style and embedded images, and nothing else."""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _lead(material: Material) -> str:
    threads, candidates = (sum(counts) for counts in zip((0, 0), *material.sources.values(), strict=True))
    groups = material.groups
    labelled, valid = sum(groups.values()), sum(tables.of_verdict(groups, True).values())
    return f"{threads} threads seen, {candidates} candidates, {labelled} labelled, {valid} of them valid."


def _warning(groups: tables.Groups) -> str:
    simulated = sum(count for key, count in groups.items() if key.simulated)
    return (
        f"{simulated} of {sum(groups.values())} labels are by simulated annotators, not by people."
        if simulated
        else ""
    )


def _view(section: Section) -> dict[str, Any]:
    shown = [{"title": table.title, "html": render(table, "html")} for table in section.tables]
    return {
        "id": section.id,
        "title": section.title,
        "text": section.text,
        "folded": section.folded,
        "tables": shown,
        "figures": section.figures,
    }


def sections(session: Session, study: Study, material: Material, fingerprint: str) -> list[Section]:
    """Return the sections in order, but for the list of threads."""
    own = {table.name: table for table in study_tables(material, study, everything=True)}
    details = tuple(table for name, table in own.items() if name not in RESULTS)
    compared = [_comparison(material.groups, study)] if study.published else []
    return [
        _results(own),
        *compared,
        _agreement(session, study),
        _model(session, study),
        Section("details", "More tables", "", (*details, read_patterns(session, study)), folded=True),
        _provenance(session, study, fingerprint),
    ]


RESULTS = ("table1", "shares", "funnel")


def _results(own: dict[str, Table]) -> Section:
    pictures = _pictures(
        [
            (lambda: figures.distribution(own["table1"]), "Valid threads of each stratum by root cause."),
            (lambda: figures.funnel(own["funnel"]), "From threads seen to valid threads, by stratum."),
            (lambda: figures.months(own["months"]), "Threads by the month they were opened."),
        ]
    )
    return Section("results", "Results", NO_FIGURES, tuple(own[name] for name in RESULTS), pictures)


def _comparison(groups: tables.Groups, study: Study) -> Section:
    published = load_published(str(study.published))
    compared = comparison_tables(groups, study, published)
    text = f"Shares of all valid threads here and in {published.citation}."
    pictures = _pictures([(lambda: figures.against_published(compared[1]), text)])
    return Section("comparison", f"Beside {published.citation}", "", tuple(compared), pictures)


def _agreement(session: Session, study: Study) -> Section:
    part = agreement_part(session, study)
    return Section("agreement", "Agreement and protocol", part.text, part.tables, _pictures(part.figures))


def _model(session: Session, study: Study) -> Section:
    part = model_part(session, study)
    return Section("model", "Model", part.text, part.tables, _pictures(part.figures))


def _provenance(session: Session, study: Study, fingerprint: str) -> Section:
    found = (
        provenance.facts(session, study, fingerprint),
        provenance.crawls(session),
        provenance.runs(session),
        provenance.queries(session),
    )
    return Section("provenance", "Provenance", "", found)


NO_FIGURES = "" if find_spec("matplotlib") else "Figures are left out: they need the extra nanmine[figures]."


def _pictures(drawn: Sequence[tuple[Any, str]]) -> tuple[Picture, ...]:
    """Draw each figure as SVG in a data address; none where matplotlib is not installed."""
    if NO_FIGURES:
        return ()
    return tuple(
        Picture(f"data:image/svg+xml;base64,{base64.b64encode(figures.to_svg(draw())).decode()}", text)
        for draw, text in drawn
    )


def thread_rows(session: Session) -> list[dict[str, str]]:
    """Return the first LISTED labelled threads as the page lists them, by URL."""
    listed = {final.thread_id: final for final in islice(each_final_label(session, unchecked=True), LISTED)}
    columns = (Thread.id, Thread.title, Thread.source, Thread.created_at)
    rows = {}
    for id_, *facts in session.execute(select(*columns).where(Thread.id.in_(listed))):
        rows[id_] = _thread_row(listed[id_], *facts)
    return [rows[id_] for id_ in listed]


def _thread_row(final: FinalLabel, title: str, source: str, created_at: datetime | None) -> dict[str, str]:
    """Return one row of the list; only an http address becomes a link."""
    opened = created_at.date().isoformat() if created_at else ""
    facts = {"title": title or final.url, "link": _link(final.url), "source": source, "opened": opened}
    return facts | _labelled(final)


def _link(url: str) -> str:
    return url if url.startswith(("https://", "http://")) else ""


def _labelled(final: FinalLabel) -> dict[str, str]:
    label = final.label
    return {
        "strata": ", ".join(final.strata) or "outside",
        "label": "valid" if label.valid else "not valid",
        "cause": label.root_cause or label.reason or "",
        "fix": label.fix_pattern or "",
        "how": final.how + (" (simulated)" if final.simulated else ""),
    }
