"""`nanmine import` and `nanmine status`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pipeline.context import database_of, settings_of
from pipeline.errors import InputError

INPUT = click.Path(exists=True, dir_okay=False, path_type=Path)
SHOWN = 20  # skipped lines that are said one by one


@click.command("import")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--strict", is_flag=True, help="Import nothing if any line cannot be used.")
@click.pass_context
def import_threads(context: click.Context, files: tuple[Path, ...], strict: bool) -> None:
    """Load threads from FILES: JSON Lines, plain or gzip, as `export threads --posts` writes them."""
    from flows.progress import counting
    from pipeline.imports import import_files

    study = settings_of(context).study
    with counting("threads") as progress:
        report = import_files(database_of(context), study, files, strict=strict, progress=progress)
    for line in report.skipped[:SHOWN]:
        click.echo(f"skipped {line}", err=True)
    for source, number in sorted(report.outside.items()):
        click.echo(f"{number} threads of {source}: not a source of this study, in no stratum", err=True)
    counts = report.total
    click.echo(
        f"{counts.new} new, {counts.changed} changed, {counts.unchanged} unchanged,"
        f" {len(report.skipped)} lines skipped"
    )
    if report.skipped and not (counts.new or counts.changed or counts.unchanged):
        raise InputError(f"{files[0]}: no line could be used; the first: {report.skipped[0]}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Count threads, candidates, labels and proposals per stratum; unfinished work; last runs."""
    from pipeline.status import read_status, render_status

    with database_of(context).reading() as session:
        found = read_status(session, settings_of(context).study)
    click.echo(json.dumps(found, indent=2) if as_json else render_status(found))
