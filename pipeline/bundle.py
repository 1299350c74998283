"""The replication package: a folder of plain files from which the tables come out the same.

Ids, URLs, criteria, each annotator's labels, final labels, study and codebook; tables and figures;
data dictionary, Frictionless and Croissant metadata, citation, licences, checksums. Texts are left
out unless they are asked for. The same database gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.final_labels import each_final_label, read_acts
from db.proposals import newest_model
from db.threads import Criterion, Thread
from pipeline import bundle_texts as texts
from pipeline import provenance
from pipeline.bundle_metadata import About, Resource, croissant, data_package, dictionary
from pipeline.export import (
    annotation_records,
    label_record,
    match_records,
    proposal_records,
    thread_records,
)
from pipeline.fields import Field, fields_of
from pipeline.figures import drawn_with, figure_files
from pipeline.material import Material, discarded_threads, read_material
from pipeline.patterns import read_patterns
from pipeline.serial import Record, write_records
from pipeline.study import Study
from pipeline.study_files import study_toml
from pipeline.study_tables import study_tables, write_tables
from pipeline.table import Table
from pipeline.tables import Groups

TABLE_FORMS = ("md", "csv", "tex", "json")
SUMS = "SHA256SUMS"
# The fields that are left out unless texts are asked for.
PRIVATE = {"threads": ("title", "author"), "matches": ("text",), "proposals": ("evidence",)}


def write_bundle(session: Session, study: Study, folder: Path, *, with_text: bool = False) -> list[Path]:
    """Write the package into an empty or new folder; return the paths of its files, sorted."""
    folder.mkdir(parents=True, exist_ok=True)
    material = read_material(session, everything=True)
    origin = provenance.fingerprint(session, study), provenance.newest(session)
    about = About(study, *origin, with_text, _warning(material.groups), drawn_with())
    resources = [*_write_data(session, folder, with_text)]
    _write_study(session, study, folder)
    patterns = [read_patterns(session, study)] if with_text else []
    _write_results(material, study, patterns, folder)
    _write_json(folder / "datapackage.json", data_package(resources, about))
    _write_json(folder / "croissant.json", croissant(resources, about))
    _write(folder / "DATA_DICTIONARY.md", dictionary(resources))
    _write(folder / "README.md", texts.readme(about, resources))
    _write(folder / "CITATION.cff", texts.citation(about))
    _write(folder / "LICENSES.md", texts.licences(about))
    return _write_sums(folder)


def _warning(groups: Groups) -> str:
    """Say how many labels are by simulated annotators, if any are."""
    simulated = sum(count for key, count in groups.items() if key.simulated)
    return f"{simulated} of {sum(groups.values())} labels are by simulated annotators" if simulated else ""


def _write_data(session: Session, folder: Path, with_text: bool) -> Iterator[Resource]:
    """Write the records as CSV and yield what was written."""
    records: dict[str, Iterable[Record]] = {
        "threads": thread_records(session),
        "criteria": _criteria(session),
        "matches": match_records(session),
        "labels": _labels(session, active=False),
        "active": _labels(session, active=True),
        "annotations": annotation_records(session),
        "discarded": _discarded(session),
        "proposals": proposal_records(session),
        **({"posts": _posts(session)} if with_text else {}),
    }
    for name, rows in records.items():
        yield _write_records(folder / "data" / f"{name}.csv", packed_fields(name, with_text=with_text), rows)


def _posts(session: Session) -> Iterator[Record]:
    for thread in thread_records(session, with_posts=True):
        yield from ({"url": thread["url"], **post} for post in thread["posts"])


def packed_fields(name: str, *, with_text: bool = False) -> tuple[Field, ...]:
    """Return the fields of one data file of a package."""
    final = ("labels", "final")
    parts = {"labels": final, "active": final, "posts": ("post",)}.get(name, (name,))
    private = () if with_text else PRIVATE.get(name, ())
    return tuple(field for part in parts for field in fields_of(part) if field.name not in private)


def _criteria(session: Session) -> Iterator[Record]:
    query = select(Thread.url, Criterion.name, Criterion.met).join(
        Criterion, Criterion.thread_id == Thread.id
    )
    for url, name, met in session.execute(query.order_by(Thread.url, Criterion.name)):
        yield {"url": url, "criterion": name, "met": met}


def _labels(session: Session, *, active: bool) -> Iterator[Record]:
    """Yield the final labels by URL, with the rejections that nobody checks: the study's, or the others."""
    for final in each_final_label(session, unchecked=True, active=True):
        if final.active is active:
            yield label_record(final) | {"simulated": final.simulated}


def _discarded(session: Session) -> Iterator[Record]:
    for url, strata in discarded_threads(session).items():
        yield {"url": url, "strata": sorted(strata)}


def _write_records(path: Path, fields: tuple[Field, ...], records: Iterable[Record]) -> Resource:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        rows = write_records(records, fields, "csv", stream)
    content = path.read_bytes()
    return Resource(path.stem, fields, rows, len(content), hashlib.sha256(content).hexdigest())


def _write_study(session: Session, study: Study, folder: Path) -> None:
    """Write study, codebook, protocol, earlier codebooks and the card of the model."""
    _write(folder / "study.toml", study_toml(study))
    _write(folder / "codebook.toml", study.codebook.source)
    history = read_acts(session)
    _write_json(folder / "protocol.json", history.setup)
    for number, event in enumerate(history.codebooks, start=1):
        _write_json(folder / "codebooks" / f"{number:02}.json", event.payload)
    model = newest_model(session)
    if model is not None:
        _write_json(
            folder / "model" / "card.json", {"name": model.name, "digest": model.digest, "card": model.card}
        )


def _write_results(material: Material, study: Study, patterns: list[Table], folder: Path) -> None:
    found = study_tables(material, study, everything=True)
    write_tables([*found, *patterns], folder / "tables", TABLE_FORMS)
    for name, content in figure_files(found, material, study).items() if drawn_with() else ():
        _write_bytes(folder / "figures" / name, content)


def _write_sums(folder: Path) -> list[Path]:
    """Write the checksums of every file, as `sha256sum -c` reads them; return all paths."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}"
        for path in paths
    ]
    _write(folder / SUMS, "\n".join(lines) + "\n")
    return sorted([*paths, folder / SUMS])


def _write(path: Path, text: str) -> None:
    _write_bytes(path, text.encode())


def _write_json(path: Path, value: Any) -> None:
    _write(path, json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n")


def _write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
