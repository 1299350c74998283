"""The texts of a replication package: README, citation and licence notes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from pipeline.bundle_metadata import About, Resource, licence_url
from pipeline.provenance import program_version
from pipeline.published import load_published

LICENCES = {
    "github": "Texts of issues and pull requests belong to their authors; GitHub's terms of service apply.",
    "stackexchange": "Texts are under CC BY-SA, in the version in force when each was posted.",
    "discourse": "Texts belong to their authors, under the terms of service of the forum.",
}
WITH_TEXT = "Titles and bodies are included, and the table of frequent patterns comes out of them."
WITHOUT_TEXT = """\
No title, body, author or name is included, but for what the services put into their addresses: words
of titles, and the owners of repositories. The table of frequent patterns quotes texts, so it is not
in this package: `nanmine export bundle --with-text` writes one with texts and with that table."""


def readme(about: About, resources: Sequence[Resource]) -> str:
    """Return the README: what is in the package and the one command that regenerates its tables."""
    files = "\n".join(f"| `{resource.path}` | {resource.rows} |" for resource in resources)
    bodies = WITH_TEXT if about.with_text else WITHOUT_TEXT
    warning = f"\n**{about.warning}, not by people.**\n" if about.warning else ""
    return f"""# {about.title}
{warning}
Regenerate every table and figure from this folder alone, and compare them with `tables/` and `figures/`:

    pip install nanmine=={program_version()}
    nanmine verify bundle .

Figures are compared where the versions that drew them are installed (`drawn_with` in
`datapackage.json`). `nanmine tables --bundle . --out DIR` writes the regenerated tables to DIR. Without
nanmine, `sha256sum -c SHA256SUMS` checks the files.

| file | rows |
| --- | --- |
{files}

Fields are explained in `DATA_DICTIONARY.md`. `study.toml` says what was mined and what counts,
`codebook.toml` what the labels mean; `codebooks/` holds the versions in force while people labelled,
`protocol.json` the rules they labelled under, `model/card.json` the model, if one was trained. The
labels of `data/active.csv` are of threads that a model's uncertainty drew: they trained the model and
count in no table.
`tables/` has each table as Markdown, CSV, LaTeX and JSON, `figures/` the figures as SVG and PNG.
`datapackage.json` describes the data for Frictionless tools, `croissant.json` for Croissant ones.

{bodies}
Annotators appear under names made for this package. Licences: `LICENSES.md`; to cite: `CITATION.cff`.

Fingerprint of the data: `{about.fingerprint}`
"""


def citation(about: About) -> str:
    """Return CITATION.cff (1.2.0); the study that this one follows is its reference."""
    license_, published = about.study.package.license, about.study.published
    lines = [
        "cff-version: 1.2.0",
        f"message: {_quoted(f'If you use these data, please cite them: {about.citation}')}",
        "type: dataset",
        f"title: {_quoted(about.title)}",
        f"version: {_quoted(about.fingerprint[:12])}",
        *([f"date-released: {_quoted(about.date)}"] if about.date else []),
        *([f"license: {license_}"] if license_ else []),
        "authors:",
        *_people(about.creators, "  "),
    ]
    return "\n".join([*lines, *(_reference(published) if published else [])]) + "\n"


def _reference(name: str) -> list[str]:
    published = load_published(name)
    return [
        "references:",
        "  - type: conference-paper",
        f"    title: {_quoted(published.title)}",
        f"    doi: {published.doi}",
        f"    year: {published.year}",
        "    authors:",
        *_people(published.authors, "      "),
    ]


def _people(names: Iterable[str], indent: str) -> Iterator[str]:
    """Yield "Family, Given" as a person and any other name as a group."""
    for name in names:
        family, comma, given = name.partition(", ")
        if comma:
            yield f"{indent}- family-names: {_quoted(family)}"
            yield f"{indent}  given-names: {_quoted(given)}"
        else:
            yield f"{indent}- name: {_quoted(name)}"


def _quoted(text: str) -> str:
    """Return a text as a YAML scalar: every JSON text is one."""
    return json.dumps(text, ensure_ascii=False)


def licences(about: About) -> str:
    """Return the licence notes: one for each source, and what they mean for this package."""
    license_ = about.study.package.license
    own = (
        f"are under {license_} ({licence_url(license_)})."
        if license_
        else "have no licence yet: whoever publishes them names one in [package] of study.toml."
    )
    included = (
        "Texts are included: each stays under the terms above." if about.with_text else "No text is included."
    )
    sources = [
        f"- **{name}** ({source.site}): {LICENCES[source.service]}"
        for name, source in about.study.sources.items()
    ]
    facts = f"{included} Ids, URLs, dates and counts are facts."
    return "\n".join(["# Licences", "", *sources, "", facts, "", f"Labels, tables and figures {own}", ""])
