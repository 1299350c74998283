"""Checking a replication package: its files, metadata and labels, and its tables and figures made anew."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from db.records import FinalLabel, Label
from pipeline.bundle import PRIVATE, SUMS, TABLE_FORMS, packed_fields
from pipeline.errors import InputError
from pipeline.figures import drawn_with, figure_files
from pipeline.material import Material, Origin, count_months, count_origins
from pipeline.patterns import pattern_table, thread_features
from pipeline.render import render
from pipeline.serial import Record, read_records
from pipeline.study import Study, load_study
from pipeline.study_tables import study_tables
from pipeline.table import Table
from pipeline.tables import OUTSIDE, group


def check_bundle(folder: Path) -> Iterator[str]:
    """Yield a line for each check that holds; raise InputError for the first that does not."""
    _check_plain(folder)
    listed = _read_sums(folder)
    yield _check_sums(folder, listed)
    try:
        package = _read_json(folder / "datapackage.json")
        yield _check_resources(folder, package, listed.keys())
        yield _check_private(package)
        packed_with = str(package["nanmine"]["drawn_with"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder}: datapackage.json or croissant.json lacks something ({error!r})"
        ) from None
    study = _read_study(folder)
    yield _check_labels(folder, study)
    material = bundle_material(folder)
    found = _tables_of(folder, material, study)
    yield _check_tables(folder, found)
    yield _check_figures(folder, lambda: figure_files(found, material, study), packed_with)


def _check_plain(folder: Path) -> None:
    """Refuse links, pipes and devices: they could lead the checker, or a reader, outside the package."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            name = path.relative_to(folder).as_posix()
            raise InputError(f"{folder}: {name} is a link or no plain file; a package has files and folders")


def _check_sums(folder: Path, listed: dict[str, str]) -> str:
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {SUMS}
    for name in sorted(listed.keys() ^ there):
        what = "is not listed in" if name in there else "is missing, though it is listed in"
        raise InputError(f"{folder}: {name} {what} {SUMS}")
    for name, digest in listed.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise InputError(f"{folder}: {name} is not the file that was packed (its SHA-256 differs)")
    return f"{len(listed)} files are whole"


def _read_sums(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    if not path.is_file():
        raise InputError(f"{folder}: has no {SUMS}; name the folder of a replication package")
    listed: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{path}: the line {line[:200]!r} names no file inside the package")
        if name in listed:
            raise InputError(f"{path}: {name} is listed twice")
        listed[name] = digest
    return listed


def _read_study(folder: Path) -> Study:
    """Read the study of a package, with the codebook that lies in it and no other."""
    study = load_study(folder / "study.toml")
    if study.codebook.source != (folder / "codebook.toml").read_text(encoding="utf-8"):
        raise InputError(f"{folder}: study.toml does not use the codebook.toml of the package")
    return study


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def _check_resources(folder: Path, package: dict[str, Any], listed: Collection[str]) -> str:
    for resource in package["resources"]:
        if resource["path"] not in listed:
            raise InputError(
                f"{folder}: datapackage.json describes {resource['path']!r}, which is not in the package"
            )
        content = (folder / resource["path"]).read_bytes()
        if (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}") != (
            resource["bytes"],
            resource["hash"],
        ):
            raise InputError(f"{folder}: {resource['path']} is not as datapackage.json describes it")
        _check_heading(folder / resource["path"], resource)
    described = {entry["contentUrl"] for entry in _read_json(folder / "croissant.json")["distribution"]}
    if described != {resource["path"] for resource in package["resources"]}:
        raise InputError(f"{folder}: croissant.json and datapackage.json describe different files")
    return f"{len(package['resources'])} data files are as described"


def _check_heading(path: Path, resource: dict[str, Any]) -> None:
    """Refuse a CSV file with other columns than its schema: what is not described cannot be checked."""
    fields = [field["name"] for field in resource.get("schema", {}).get("fields", ())]
    with path.open(encoding="utf-8", newline="") as lines:
        if next(csv.reader(lines), None) != fields:
            raise InputError(f"{path}: has other columns than datapackage.json describes")


def _check_private(package: dict[str, Any]) -> str:
    if package["nanmine"]["with_text"]:
        return "texts are included, as the package says"
    private = {"body"}.union(*PRIVATE.values())
    for resource in package["resources"]:
        found = private & {field["name"] for field in resource.get("schema", {}).get("fields", ())}
        if found:
            raise InputError(f"{resource['path']}: holds texts, though the package says that it has none")
    return "no titles, bodies or names are included"


def _check_labels(folder: Path, study: Study) -> str:
    threads = {record["url"] for record in _read(folder, "threads")}
    records = [record for name in ("labels", "active") for record in _read(folder, name)]
    for record in records:
        problem = study.codebook.problem_with(_label(record))
        if record["url"] not in threads or problem:
            raise InputError(
                f"{folder}: label of {record['url']}: {problem or 'the thread is not in threads.csv'}"
            )
    return f"{len(records)} labels are of known threads and of the codebook"


def _check_tables(folder: Path, found: Sequence[Table]) -> str:
    _compare(
        folder,
        "tables",
        {f"{table.name}.{form}": render(table, form).encode() for table in found for form in TABLE_FORMS},
    )
    return f"{len(found)} tables come out the same, byte for byte, in {len(TABLE_FORMS)} forms"


def _check_figures(folder: Path, draw: Callable[[], dict[str, bytes]], packed_with: str) -> str:
    """Compare the figures with those drawn anew, where the versions that drew them are installed."""
    here, packed = drawn_with(), len(list((folder / "figures").glob("*")))
    if not packed and not packed_with:
        return "no figures are included"
    if here != packed_with or not here:
        here = here or "no matplotlib"
        return f"{packed} figure files are NOT checked: drawn with {packed_with!r}, and here is {here}"
    _compare(folder, "figures", draw())
    return f"{packed} figure files come out the same, byte for byte"


def _compare(folder: Path, part: str, expected: Mapping[str, bytes]) -> None:
    """Refuse a part of a package with other files, or other bytes in one, than its data give."""
    there = {path.name for path in (folder / part).glob("*")}
    for name in sorted(there ^ expected.keys()):
        what = "does not come out of its data" if name in there else "is not there, though its data give it"
        raise InputError(f"{folder}: {part}/{name} {what}")
    for name, content in expected.items():
        if (folder / part / name).read_bytes() != content:
            raise InputError(f"{folder}: {part}/{name} is not what its data give")


def bundle_tables(folder: Path) -> list[Table]:
    """Return every table of a package, counted from its data files alone."""
    return _tables_of(folder, bundle_material(folder), _read_study(folder))


def _tables_of(folder: Path, material: Material, study: Study) -> list[Table]:
    found = study_tables(material, study, everything=True)
    return [*found, bundle_patterns(folder, study)] if (folder / "data" / "posts.csv").is_file() else found


def bundle_patterns(folder: Path, study: Study) -> Table:
    """Return the table of frequent patterns, counted from the labels and posts of a package."""
    posts = defaultdict(list)
    for post in _read(folder, "posts"):
        posts[post["url"]].append((post["body"], post["body_format"]))
    titles = {thread["url"]: thread["title"] for thread in _read(folder, "threads", with_text=True)}
    valid = [label for label in _read(folder, "labels") if label["valid"]]
    features = (
        (label["root_cause"] or "", thread_features(titles[label["url"]], posts[label["url"]]))
        for label in valid
    )
    return pattern_table(features, study)


def bundle_material(folder: Path) -> Material:
    """Read what the tables are counted from out of the data files of a package."""
    threads = _read(folder, "threads")
    by_url = {record["url"]: record for record in threads}
    labels = [_final(number, record) for number, record in enumerate(_read(folder, "labels"))]
    met: Counter[tuple[str, str]] = Counter()
    for record in _read(folder, "criteria"):
        met[by_url[record["url"]]["source"], record["criterion"]] += record["met"]
    discarded = _read(folder, "discarded")
    return Material(
        groups=group(labels),
        strata=_seen((stratum, record) for record in threads for stratum in record["strata"]),
        sources=_seen((record["source"], record) for record in threads),
        met=dict(met),
        active=len(_read(folder, "active")),
        discarded=Counter(stratum for record in discarded for stratum in record["strata"] or (OUTSIDE,)),
        origins=count_origins(_origin(final, by_url[final.url]) for final in labels if final.label.valid),
        opened=count_months((_time(r["created_at"]), r["candidate"]) for r in threads if r["created_at"]),
    )


def _read(folder: Path, name: str, *, with_text: bool = False) -> list[Record]:
    return read_records(folder / "data" / f"{name}.csv", packed_fields(name, with_text=with_text))


def _label(record: Record) -> Label:
    names = ("valid", "reason", "root_cause", "fix_pattern", "function")
    return Label(*(record[name] for name in names))


def _final(number: int, record: Record) -> FinalLabel:
    strata = tuple(record["strata"])
    return FinalLabel(number, record["url"], strata, _label(record), record["how"], record["simulated"])


def _seen(pairs: Iterator[tuple[str, Record]]) -> dict[str, tuple[int, int]]:
    seen: Counter[str] = Counter()
    candidates: Counter[str] = Counter()
    for name, record in pairs:
        seen[name] += 1
        candidates[name] += record["candidate"]
    return {name: (count, candidates[name]) for name, count in seen.items()}


def _origin(final: FinalLabel, thread: Record) -> Origin:
    repository = thread["external_id"].rpartition("#")[0] or None
    created_at = _time(thread["created_at"]) if thread["created_at"] else None
    libraries = tuple(thread["libraries"])
    return Origin(final.label.root_cause or "", thread["source"], libraries, repository, created_at)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
