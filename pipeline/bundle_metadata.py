"""Metadata of a replication package: data dictionary, Frictionless data package, Croissant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "jsonPath": "cr:jsonPath",
    "recordSet": "cr:recordSet",
    "sc": "https://schema.org/",
    "source": "cr:source",
}


CSV_RULES = """\
CSV files are UTF-8 with a heading. Lists and nested values are JSON. An empty cell of a field that may
be null is null; a text there that is empty, or backslashes alone, has one backslash more. A cell that
a spreadsheet would execute has a single quote before it."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One data file of the package: its place, fields, rows, size in bytes and SHA-256."""

    name: str
    path: str
    fields: tuple[Field, ...]
    rows: int
    size: int
    sha256: str

    @property
    def media_type(self) -> str:
        """The media type that its ending stands for."""
        return "text/csv" if self.path.endswith(".csv") else "application/jsonl"


@dataclass(frozen=True, slots=True)
class About:
    """What a package is about: the study, the fingerprint of its data, and whether texts are included."""

    study: Study
    fingerprint: str
    with_text: bool


def dictionary(resources: Sequence[Resource]) -> str:
    """Return the data dictionary as Markdown: every file, every field."""
    lines = ["# Data dictionary", ""]
    lines += [
        "CSV files are UTF-8 with a heading. An empty cell of a field that may be null is null. A cell that a"
    ]
    lines += ["spreadsheet would execute has a single quote before it. Lists and nested values are JSON.", ""]
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
    return {
        "profile": "data-package",
        "name": about.study.name,
        "title": about.study.title,
        "version": about.fingerprint[:12],
        "description": f"Made by nanmine {program_version()} from data of fingerprint {about.fingerprint}.",
        "resources": [_resource(resource) for resource in resources],
        "nanmine": {"fingerprint": about.fingerprint, "with_text": about.with_text},
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
    form = resource.path.rpartition(".")[2]
    tabular = {"profile": "tabular-data-resource", "schema": {"fields": fields, "missingValues": [""]}}
    return {
        "name": resource.name,
        "path": resource.path,
        "format": form,
        "mediatype": resource.media_type,
        "encoding": "utf-8",
        "bytes": resource.size,
        "hash": f"sha256:{resource.sha256}",
        **(tabular if form == "csv" else {"profile": "data-resource"}),
    }


def croissant(resources: Sequence[Resource], about: About) -> dict[str, Any]:
    """Return the Croissant 1.0 description (JSON-LD)."""
    texts = "with" if about.with_text else "without"
    description = f"{about.study.title}: threads, labels and tables, {texts} texts."
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": about.study.name,
        "description": f"{description} Fingerprint {about.fingerprint}.",
        "version": "1.0.0",
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
        "encodingFormat": resource.media_type,
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
    extract = {"column": field.name} if resource.path.endswith(".csv") else {"jsonPath": f"$.{field.name}"}
    return {
        "@type": "cr:Field",
        "@id": f"{resource.name}/{field.name}",
        "name": f"{resource.name}/{field.name}",
        "description": field.description,
        "dataType": CROISSANT.get(field.type, "sc:Text"),
        "source": {"fileObject": {"@id": resource.path}, "extract": extract},
    }
