"""What a command is handed by the root command: its settings and, when asked for, its database."""

from __future__ import annotations

import click

from db.engine import Database, open_database
from pipeline.settings import Settings


def settings_of(context: click.Context) -> Settings:
    """Return the settings that the root command built."""
    return context.ensure_object(dict)["settings"]()  # type: ignore[no-any-return]


def database_of(context: click.Context) -> Database:
    """Open the database of the settings; it is closed when the command ends."""
    root = context.find_root()
    opened = root.meta.get("nanmine.database")
    if opened is None:
        opened = root.meta["nanmine.database"] = open_database(settings_of(context).database_url)
        root.call_on_close(opened.close)
    return opened  # type: ignore[no-any-return]
