"""Metadata of a replication package: data dictionary, Frictionless data package, Croissant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.fields import Field
from pipeline.provenance import program_version
from pipeline.study import Study

FRICTIONLESS = {"strings": "array", "json": "any"}
CROISSANT = {
    "integer": "sc:Integer",
    "number": "sc:Float",
    "boolean": "sc:Boolean",
    "datetime": "sc:DateTime",
}
# What Croissant 1.0 calls its own; the standard context maps each to its vocabulary.
TERMS = """citeAs column equivalentProperty extract field fileObject fileProperty fileSet format includes
isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate
separator source subField transform"""
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    **{term: f"cr:{term}" for term in TERMS.split()},
}
CSV_RULES = """\
CSV files are UTF-8 with a heading. Lists and nested values are JSON. An empty cell of a field that may
be null is null; a text there that is empty, or backslashes alone, has one backslash more. A cell that
a spreadsheet would execute has a single quote before it. Keywords such as nan are words here: pandas
needs `read_csv(path, keep_default_na=False, na_values=[""])`."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One data file of the package: its name, fields, rows, size in bytes and SHA-256."""

    name: str
    fields: tuple[Field, ...]
    rows: int
    size: int
    sha256: str

    @property
    def path(self) -> str:
        """Its path in the package."""
        return f"data/{self.name}.csv"


@dataclass(frozen=True, slots=True)
class About:
    """What a package is about: the study, its data's fingerprint and newest date, whether texts are in."""

    study: Study
    fingerprint: str
    newest: datetime | None
    with_text: bool
    warning: str = ""  # how many labels are by simulated annotators
    drawn_with: str = ""  # what drew the figures, in which versions

    @property
    def title(self) -> str:
        """The title of the package."""
        return f"{self.study.title}: replication package"

    @property
    def creators(self) -> tuple[str, ...]:
        """Who made the data, as study.toml names them."""
        return self.study.package.creators or (f"The authors of the study {self.study.name}",)

    @property
    def date(self) -> str:
        """The day of the newest act of labeling or thread; empty where there is neither."""
        return self.newest.date().isoformat() if self.newest else ""

    @property
    def citation(self) -> str:
        """How to cite the package, in words."""
        year = f" ({self.date[:4]})" if self.date else ""
        return self.study.package.citation or f"{'; '.join(self.creators)}{year}. {self.title}."


def licence_url(license_: str) -> str:
    """Return the page of an SPDX identifier."""
    return f"https://spdx.org/licenses/{license_}.html"


def dictionary(resources: Sequence[Resource]) -> str:
    """Return the data dictionary as Markdown: every file, every field."""
    lines = ["# Data dictionary", "", CSV_RULES, ""]
    for resource in resources:
        lines += [
            f"## {resource.path}",
            "",
            f"{resource.rows} rows.",
            "",
            "| field | type | null | meaning |",
        ]
        lines += ["| --- | --- | --- | --- |"]
        lines += [
            f"| `{f.name}` | {f.type} | {'may be' if f.nullable else 'never'} | {f.description} |"
            for f in resource.fields
        ]
        lines.append("")
    return "\n".join(lines)


def data_package(resources: Sequence[Resource], about: About) -> dict[str, Any]:
    """Return the Frictionless descriptor (datapackage.json)."""
    license_ = about.study.package.license
    return {
        "profile": "data-package",
        "name": about.study.name,
        "title": about.title,
        "version": about.fingerprint[:12],
        **({"created": f"{about.date}T00:00:00Z"} if about.date else {}),
        **({"licenses": [{"name": license_, "path": licence_url(license_)}]} if license_ else {}),
        "contributors": [{"title": name, "role": "author"} for name in about.creators],
        "description": f"Made by nanmine {program_version()} from data of fingerprint {about.fingerprint}.",
        "resources": [_resource(resource) for resource in resources],
        "nanmine": {
            "fingerprint": about.fingerprint,
            "with_text": about.with_text,
            "drawn_with": about.drawn_with,
        },
    }


def _resource(resource: Resource) -> dict[str, Any]:
    fields = [
        {
            "name": field.name,
            "type": FRICTIONLESS.get(field.type, field.type),
            "description": field.description,
            **({} if field.nullable else {"constraints": {"required": field.type not in ("string",)}}),
        }
        for field in resource.fields
    ]
    return {
        "profile": "tabular-data-resource",
        "name": resource.name,
        "path": resource.path,
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "bytes": resource.size,
        "hash": f"sha256:{resource.sha256}",
        "schema": {"fields": fields, "missingValues": [""]},
    }


def croissant(resources: Sequence[Resource], about: About) -> dict[str, Any]:
    """Return the Croissant 1.0 description (JSON-LD)."""
    texts = "with" if about.with_text else "without"
    warning = f" {about.warning}." if about.warning else ""
    description = f"{about.study.title}: threads, labels and tables, {texts} texts.{warning}"
    license_ = about.study.package.license
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": about.study.name,
        "description": f"{description} Fingerprint {about.fingerprint}.",
        "version": "1.0.0",
        "citeAs": about.citation,
        "creator": [{"@type": "sc:Organization", "name": name} for name in about.creators],
        **({"datePublished": about.date} if about.date else {}),
        **({"license": licence_url(license_)} if license_ else {}),
        "distribution": [_file_object(resource) for resource in resources],
        "recordSet": [_record_set(resource) for resource in resources],
    }


def _file_object(resource: Resource) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": resource.path,
        "name": resource.path,
        "contentUrl": resource.path,
        "contentSize": f"{resource.size} B",
        "encodingFormat": "text/csv",
        "sha256": resource.sha256,
    }


def _record_set(resource: Resource) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": resource.name,
        "name": resource.name,
        "field": [_field(resource, field) for field in resource.fields],
    }


def _field(resource: Resource, field: Field) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{resource.name}/{field.name}",
        "name": f"{resource.name}/{field.name}",
        "description": field.description,
        "dataType": CROISSANT.get(field.type, "sc:Text"),
        "source": {"fileObject": {"@id": resource.path}, "extract": {"column": field.name}},
    }
