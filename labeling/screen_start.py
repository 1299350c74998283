"""Starting the annotation screen: only on a terminal, and only where Textual is installed."""

from __future__ import annotations

import sys

import click

from db.errors import UsageError
from labeling.desk import Desk
from pipeline.context import database_of, settings_of


def start(context: click.Context) -> None:
    """Open the screen for whoever acts; UsageError without a terminal, a handle or Textual."""
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise UsageError("label tui needs a terminal; without one use: label next, show, set, invalid, undo")
    try:
        from labeling.tui import AnnotationScreen
    except ModuleNotFoundError:
        raise UsageError("label tui needs Textual: pip install 'nanmine[tui]'") from None
    settings = settings_of(context)
    database = database_of(context)
    handle = context.meta.get("nanmine.annotator") or settings.annotator
    with database.reading() as session:
        person = Desk(session, settings.study, handle).person
    AnnotationScreen(database, settings.study, person.handle).run()
