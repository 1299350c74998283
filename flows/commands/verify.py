"""`nanmine verify`: checks of what nanmine has written."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def verify() -> None:
    """Check a replication package."""


@verify.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def bundle(folder: Path) -> None:
    """Check a package's files, metadata and labels, and make its tables and figures anew from its data."""
    from pipeline.bundle_check import check_bundle

    for line in check_bundle(folder):
        click.echo(line)
