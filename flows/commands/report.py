"""`nanmine report`: one self-contained page of the study."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.context import database_of, settings_of
from pipeline.files import write_whole


@click.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE.html")
@click.pass_context
def report(context: click.Context, out: Path) -> None:
    """Write one self-contained HTML page: tables, figures, agreement, provenance, threads."""
    from pipeline.report import report_html

    with database_of(context).reading() as session:
        page = report_html(session, settings_of(context).study)
    write_whole(out, page)
    click.echo(f"report in {out}", err=True)
