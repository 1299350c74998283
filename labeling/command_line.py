"""What every `label` command shares: who acts, the desk, and output that no text can spoil."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from labeling.desk import Desk, at_desk
from pipeline.context import database_of, settings_of
from pipeline.terminal import printable


def _keep_handle(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.meta["nanmine.annotator"] = value


def acting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option `--as HANDLE`, which wins over the one of `nanmine` itself."""
    option = click.option(
        "--as", metavar="HANDLE", expose_value=False, callback=_keep_handle, help="Who labels."
    )
    return option(click.pass_context(command))


@contextmanager
def desk_of(context: click.Context, *, writing: bool = True) -> Iterator[Desk]:
    """Give the desk of whoever acts, in one transaction."""
    settings = settings_of(context)
    database = database_of(context)
    handle = context.meta.get("nanmine.annotator") or settings.annotator
    if writing:
        with at_desk(database, settings.study, handle) as desk:
            yield desk
    else:
        with database.reading() as session:
            yield Desk(session, settings.study, handle)


def say(text: str) -> None:
    """Print text for people, with everything a terminal might obey taken out."""
    click.echo(printable(text))


def say_json(document: Any) -> None:
    """Print one JSON document in ASCII, so that no character of it reaches a terminal as such."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=True))
