"""`nanmine export`: records out of the database, and the replication package."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import BinaryIO

import click

from db.errors import UsageError
from pipeline.context import database_of, settings_of
from pipeline.files import whole_file, write_whole

KINDS = ("threads", "matches", "labels", "proposals", "events", "annotations")


@click.command()
@click.argument("kind", type=click.Choice([*KINDS, "bundle", "datasette"]))
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv", "parquet"]), default="jsonl", show_default=True
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write here; a folder for bundle."
)
@click.option("--posts", is_flag=True, help="Threads with their posts.")
@click.option("--with-text", is_flag=True, help="A bundle with titles and bodies.")
@click.pass_context
def export(
    context: click.Context, kind: str, form: str, out: Path | None, posts: bool, with_text: bool
) -> None:
    """Export records, a bundle, or the metadata with which Datasette describes the database."""
    if posts and kind != "threads":
        raise UsageError("--posts goes with threads")
    if with_text and kind != "bundle":
        raise UsageError("--with-text goes with bundle")
    if kind == "bundle":
        _export_bundle(context, out, with_text)
    elif kind == "datasette":
        _export_metadata(context, out)
    elif out is None:
        _export(context, kind, form, posts, sys.stdout.buffer)
    else:
        _export_file(context, kind, form, posts, out)


def _export(context: click.Context, kind: str, form: str, posts: bool, stream: BinaryIO) -> int:
    from pipeline.export import export_records, exported_fields, label_notes
    from pipeline.serial import write_records

    with database_of(context).reading() as session:
        for note in label_notes(session) if kind == "labels" else ():
            click.echo(note, err=True)
        records = export_records(session, kind, with_posts=posts)
        return write_records(records, exported_fields(kind, with_posts=posts), form, stream)


def _export_file(context: click.Context, kind: str, form: str, posts: bool, out: Path) -> None:
    with whole_file(out) as stream:
        number = _export(context, kind, form, posts, stream)
    click.echo(f"{number} {kind} in {out}", err=True)


def _export_metadata(context: click.Context, out: Path | None) -> None:
    from sqlalchemy import make_url

    from pipeline.datasette import datasette_metadata

    stem = Path(make_url(settings_of(context).database_url).database or "nanmine").stem
    text = json.dumps(datasette_metadata(stem), indent=2) + "\n"
    if out is None:
        click.echo(text, nl=False)
    else:
        write_whole(out, text)


def _export_bundle(context: click.Context, out: Path | None, with_text: bool) -> None:
    from pipeline.bundle import write_bundle

    if out is None:
        raise UsageError("export bundle needs --out DIR")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not an empty folder; name a new one")
    partial = out.with_name(f".{out.name}.partial")
    try:
        with database_of(context).reading() as session:
            written = write_bundle(session, settings_of(context).study, partial, with_text=with_text)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    click.echo(f"{len(written)} files in {out}", err=True)
