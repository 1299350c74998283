"""Triggers that make a table append-only, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def make_append_only(execute: Callable[[str], Any], dialect: str, table: str) -> None:
    """Refuse every UPDATE and DELETE of `table`'s rows; `execute` runs one SQL statement."""
    message = f"{table} is append-only"
    if dialect == "sqlite":
        for act in ("update", "delete"):
            execute(
                f"create trigger {table}_no_{act} before {act} on {table} "
                f"begin select raise(abort, '{message}'); end"
            )
        return
    execute(
        f"create function {table}_append_only() returns trigger language plpgsql as "
        f"$$ begin raise exception '{message}'; end $$"
    )
    execute(
        f"create trigger {table}_append_only before update or delete on {table} "
        f"for each row execute function {table}_append_only()"
    )
