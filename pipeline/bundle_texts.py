"""The texts of a replication package: README, citation and licence notes."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.bundle_metadata import About, Resource
from pipeline.provenance import program_version
from pipeline.published import load_published
from pipeline.study import Study

LICENCES = {
    "github": "Texts of issues and pull requests belong to their authors; GitHub's terms of service apply.",
    "stackexchange": "Texts are under CC BY-SA, in the version in force when each was posted.",
    "discourse": "Texts belong to their authors, under the terms of service of the forum.",
}


def readme(about: About, resources: Sequence[Resource]) -> str:
    """Return the README: what is in the package and the one command that regenerates its tables."""
    files = "\n".join(f"| `{resource.path}` | {resource.rows} |" for resource in resources)
    bodies = (
        "Titles and bodies are included."
        if about.with_text
        else "No title, body, author or name is included."
    )
    return f"""# {about.study.title}: replication package

Regenerate every table from this folder alone, and compare it with `tables/`:

    pip install nanmine=={program_version()}
    nanmine verify bundle .

`nanmine tables --bundle . --out DIR` writes the regenerated tables to DIR. Without nanmine,
`sha256sum -c SHA256SUMS` checks the files.

| file | rows |
| --- | --- |
{files}

Fields are explained in `DATA_DICTIONARY.md`. `study.toml` says what was mined and what counts,
`codebook.toml` what the labels mean; `codebooks/` holds the versions in force while people labelled,
`protocol.json` the rules they labelled under. The labels of `data/active.csv` are of threads that a
model's uncertainty drew: they trained the model and count in no table.
`tables/` has each table as Markdown, CSV, LaTeX and JSON, `figures/` the figures as SVG and PNG.
`datapackage.json` describes the data for Frictionless tools, `croissant.json` for Croissant ones.

{bodies} Annotators appear under names made for this package. Licences: `LICENSES.md`.

Fingerprint of the data: `{about.fingerprint}`
"""


def citation(study: Study) -> str:
    """Return CITATION.cff (1.2.0); the study that this one follows is its reference."""
    lines = [
        "cff-version: 1.2.0",
        "message: If you use these data, please cite them.",
        "type: dataset",
        f"title: {json.dumps(study.title + ': replication package', ensure_ascii=False)}",
        "authors:",
        f"  - name: {json.dumps('The authors of the study ' + study.name, ensure_ascii=False)}",
    ]
    if study.published:
        lines += _reference(study.published)
    return "\n".join(lines) + "\n"


def _reference(name: str) -> list[str]:
    published = load_published(name)
    people = [f"      - name: {json.dumps(person, ensure_ascii=False)}" for person in published.authors]
    return [
        "references:",
        "  - type: conference-paper",
        f"    title: {json.dumps(published.title, ensure_ascii=False)}",
        f"    doi: {published.doi}",
        f"    year: {published.year}",
        "    authors:",
        *people,
    ]


def licences(study: Study, with_text: bool) -> str:
    """Return the licence notes: one for each source, and what they mean for this package."""
    lines = ["# Licences", ""]
    for name, source in study.sources.items():
        lines.append(f"- **{name}** ({source.site}): {LICENCES[source.service]}")
    included = (
        "Texts are included: each stays under the terms above." if with_text else "No text is included."
    )
    lines += ["", f"{included} Ids, URLs, dates and counts are facts.", ""]
    lines += [
        "Labels, tables and figures are the study's own; whoever publishes them states the licence.",
        "",
    ]
    return "\n".join(lines)
