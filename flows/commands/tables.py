"""`nanmine tables`: the study's tables from the labels in the database."""

from __future__ import annotations

from pathlib import Path

import click

from db.errors import UsageError
from pipeline.context import database_of, settings_of
from pipeline.material import read_material
from pipeline.numerics import OTHERS, Library, library
from pipeline.published import load_published
from pipeline.study_tables import parse_forms, study_tables, table_text, write_tables
from pipeline.table import Table

FILES = "md,csv,tex,json"


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Write files here."
)
@click.option(
    "--format",
    "formats",
    metavar="LIST",
    help="Any of md, csv, tex, json, html, by commas; md on a screen, else all but html.",
)
@click.option("--compare", metavar="NAME", help="Set a published study beside this one (wang2022).")
@click.option(
    "--audit", metavar="NAME", help="Recompute what a published study prints, and list what disagrees."
)
@click.option(
    "--lists",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="The folder with the published URL lists, for --audit.",
)
@click.option(
    "--bundle",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Count from a replication package instead of the database.",
)
@click.option("--all", "everything", is_flag=True, help="With those that take seconds: Table 2, patterns.")
@click.option(
    "--probe",
    type=click.Choice(OTHERS),
    help="As --all, with Table 2 probed by PyTorch's kernels and backward pass too (nanmine[torch]).",
)
@click.pass_context
def tables(
    context: click.Context,
    out: Path | None,
    formats: str | None,
    compare: str | None,
    audit: str | None,
    lists: Path | None,
    bundle: Path | None,
    everything: bool,
    probe: str | None,
) -> None:
    """Print the study's tables from the labels in the database, or write all of them to files."""
    if bundle and (audit or compare or probe):
        raise UsageError(
            "--bundle prints a package's own tables; it goes without --audit, --compare and --probe"
        )
    if probe and audit:
        raise UsageError("--probe goes without --audit")
    if lists and not audit:
        raise UsageError("--lists goes with --audit")
    forms = parse_forms(formats or (FILES if out else "md"))
    if audit:
        from pipeline.audit import audit_tables

        found = audit_tables(load_published(audit), lists)
    elif bundle:
        from pipeline.bundle_check import bundle_tables

        found = bundle_tables(bundle)
    else:
        everything = everything or out is not None or probe is not None
        found = _own_tables(context, compare, everything, [library(probe)] if probe else [])
    if out is not None:
        click.echo(f"{len(write_tables(found, out, forms))} files in {out}", err=True)
        return
    for form in forms:
        click.echo(table_text(found, form), nl=False)


def _own_tables(
    context: click.Context, compare: str | None, everything: bool, others: list[Library]
) -> list[Table]:
    """Return the tables of the study, and its comparison with a published one if that is asked for."""
    study = settings_of(context).study
    published = load_published(compare) if compare else None
    with database_of(context).reading() as session:
        material = read_material(session, everything=everything)
        found = study_tables(material, study, everything=everything, others=others)
        if everything:
            from pipeline.patterns import read_patterns

            found.append(read_patterns(session, study))
    if published:
        from pipeline.comparison import comparison_tables

        found += comparison_tables(material.groups, study, published)
    return found
