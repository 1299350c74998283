"""What a source may ask of the database while it crawls: threads, repositories, things to remember."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select

from db.crawls import Memory, Repository
from db.engine import Database
from db.threads import Thread
from pipeline.sources.base import RepositoryRecord


class StoredLookup:
    """Answers a source's questions about what is stored; see `pipeline.sources.base.Lookup`."""

    def __init__(self, database: Database, source: str) -> None:
        self._database = database
        self._source = source

    def memory(self, name: str) -> dict[str, Any] | None:
        """Return what the source remembers under `name`."""
        with self._database.reading() as session:
            row = session.get(Memory, (self._source, name))
            return row.value if row else None

    def known(self, external_ids: Sequence[str]) -> dict[str, datetime | None]:
        """Return the `updated_at` of those threads that are stored, by external id."""
        found: dict[str, datetime | None] = {}
        with self._database.reading() as session:
            for start in range(0, len(external_ids), 500):
                some = Thread.external_id.in_(external_ids[start : start + 500])
                rows = select(Thread.external_id, Thread.updated_at).where(
                    Thread.source == self._source, some
                )
                found |= {row.external_id: row.updated_at for row in session.execute(rows)}
        return found

    def stored(self, since: datetime | None, until: datetime | None, accepted: bool = False) -> Sequence[str]:
        """Return the external ids of the present threads created in [since, until], oldest first."""
        threads = select(Thread.external_id).where(
            Thread.source == self._source, Thread.availability == "present"
        )
        if accepted:
            threads = threads.where(Thread.accepted)
        if since is not None:
            threads = threads.where(Thread.created_at >= since)
        if until is not None:
            threads = threads.where(Thread.created_at <= until)
        with self._database.reading() as session:
            return list(session.scalars(threads.order_by(Thread.created_at, Thread.id)))

    def repositories(self) -> Sequence[RepositoryRecord]:
        """Return the catalogue of the source, by external id."""
        with self._database.reading() as session:
            rows = session.scalars(
                select(Repository).where(Repository.source == self._source).order_by(Repository.id)
            )
            return [
                RepositoryRecord(row.external_id, row.full_name, tuple(row.topics), row.facts) for row in rows
            ]
