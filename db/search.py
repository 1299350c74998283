"""The full-text index of titles and bodies on SQLite, kept in step by whoever stores threads.

A trigger for each row would flush the index for each row, which makes an import twice as slow; one
statement for a batch costs next to nothing. PostgreSQL has no such index.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, text
from sqlalchemy.orm import Session

INDEXED = {"thread": ("title", "id"), "post": ("body", "thread_id")}


def index_threads(session: Session, thread_ids: Sequence[int]) -> None:
    """Add the titles and bodies of threads that are not in the index."""
    _for_each_table(session, thread_ids, "insert into {0}_search(rowid, {1}) select id, {1} from {0}")


def unindex_threads(session: Session, thread_ids: Sequence[int]) -> None:
    """Take titles and bodies out of the index; called before the rows change."""
    _for_each_table(
        session,
        thread_ids,
        "insert into {0}_search({0}_search, rowid, {1}) select 'delete', id, {1} from {0}",
    )


def _for_each_table(session: Session, thread_ids: Sequence[int], statement: str) -> None:
    if session.get_bind().dialect.name != "sqlite" or not thread_ids:
        return
    for table, (column, owner) in INDEXED.items():
        query = text(f"{statement.format(table, column)} where {owner} in :ids")
        session.execute(query.bindparams(bindparam("ids", expanding=True)), {"ids": list(thread_ids)})
