"""What a command is handed by the root command: its settings and, when asked for, its database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.settings import Settings

if TYPE_CHECKING:
    from db.engine import Database


def settings_of(context: click.Context) -> Settings:
    """Return the settings that the root command built."""
    settings: Settings = context.ensure_object(dict)["settings"]()
    return settings


def database_of(context: click.Context) -> Database:
    """Open the database of the settings; it is closed when the command ends."""
    from db.engine import open_database  # help must not wait for SQLAlchemy

    root = context.find_root()
    opened = root.meta.get("nanmine.database")
    if opened is None:
        opened = root.meta["nanmine.database"] = open_database(settings_of(context).database_url)
        root.call_on_close(opened.close)
    return opened
