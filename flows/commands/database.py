"""`nanmine db`: migrations and integrity."""

from __future__ import annotations

import click

from pipeline.context import database_of, settings_of


@click.group()
def db() -> None:
    """Migrate and check the database."""


@db.command()
@click.pass_context
def upgrade(context: click.Context) -> None:
    """Bring the schema to this program's; a database that has it already is left alone."""
    from db.engine import create_engine_for, explaining, head_revision, schema_revision
    from db.engine import upgrade as upgrade_schema

    engine = create_engine_for(settings_of(context).database_url)
    with explaining(engine.url):
        before = schema_revision(engine)
        upgrade_schema(engine)
    engine.dispose()
    click.echo(
        f"schema {head_revision()}" + ("" if before == head_revision() else f", was {before or 'empty'}")
    )


@db.command()
@click.pass_context
def check(context: click.Context) -> None:
    """Check the file, the foreign keys, every stored payload's digest and what is derived from the texts."""
    from pipeline.integrity import check_database

    for line in check_database(database_of(context), settings_of(context).study):
        click.echo(line)


@db.command()
@click.pass_context
def recompute(context: click.Context) -> None:
    """Work out matches, criteria and strata anew from the stored texts, after the study's rules changed."""
    from pipeline.store import recompute as recompute_threads

    counts = recompute_threads(database_of(context), settings_of(context).study)
    click.echo(f"{counts.changed} changed, {counts.unchanged} unchanged")
