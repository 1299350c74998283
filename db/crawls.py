"""Tables of how it was mined: crawls, runs, the frontier, raw payloads and where each thread came from."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base


class Crawl(Base):
    """One pass over one source with fixed parameters; it may take several runs to finish.

    `parameters` holds what the pass was asked for (`since`, `until`, `limit`, `updated_since`, …).
    """

    __tablename__ = "crawl"
    __table_args__ = (Index(None, "source"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class CrawlRun(Base):
    """One process working on a crawl, a hydration or an import, with what it counted.

    `outcome` is `running`, `finished`, `stopped` (work left) or `failed`; `reason` says why.
    """

    __tablename__ = "crawl_run"
    __table_args__ = (
        CheckConstraint("activity in ('crawl', 'hydrate', 'import')", name="activity"),
        CheckConstraint("outcome in ('running', 'finished', 'stopped', 'failed')", name="outcome"),
        Index(None, "source"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    crawl_id: Mapped[int | None] = mapped_column(ForeignKey("crawl.id"))
    source: Mapped[str]
    activity: Mapped[str]
    version: Mapped[str]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str]
    reason: Mapped[str | None] = mapped_column(Text)
    requests: Mapped[int] = mapped_column(default=0)
    counts: Mapped[dict[str, Any]]


class FrontierEntry(Base):
    """One piece of crawl work: a list page, a search window, a thread to fetch.

    `kind` and `key` name it within its crawl, `parameters` say what to ask, `cursor` where to go
    on. `state` is `pending`, `done`, `gone` (the service no longer has it), or `truncated` (the
    service would not give all of it). Entries are taken in order of `failures` (how often the service
    failed on a pending one; `note` has the last reason), then `priority`, then `id`.
    """

    __tablename__ = "frontier_entry"
    __table_args__ = (
        UniqueConstraint("crawl_id", "kind", "key"),
        CheckConstraint("state in ('pending', 'done', 'gone', 'truncated')", name="state"),
        Index(None, "crawl_id", "state", "failures", "priority", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    crawl_id: Mapped[int] = mapped_column(ForeignKey("crawl.id"))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("frontier_entry.id"))
    kind: Mapped[str]
    key: Mapped[str]
    priority: Mapped[int]
    parameters: Mapped[dict[str, Any]]
    cursor: Mapped[dict[str, Any] | None]
    state: Mapped[str] = mapped_column(default="pending")
    note: Mapped[str | None] = mapped_column(Text)
    failures: Mapped[int] = mapped_column(default=0)


class RawPayload(Base):
    """One answer of a service as it came: bytes, zlib-compressed, append-only.

    `request` is what was asked, without secrets; `sha256` digests the uncompressed bytes and
    `request_sha256` the request. The same answer to the same request is kept once.
    """

    __tablename__ = "raw_payload"
    __table_args__ = (
        UniqueConstraint("source", "kind", "request_sha256", "sha256"),
        Index(None, "frontier_entry_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    kind: Mapped[str]
    request: Mapped[str] = mapped_column(Text)
    request_sha256: Mapped[str]
    sha256: Mapped[str]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    fetched_at: Mapped[datetime]
    crawl_run_id: Mapped[int] = mapped_column(ForeignKey("crawl_run.id"))
    frontier_entry_id: Mapped[int | None] = mapped_column(ForeignKey("frontier_entry.id"))


class Provenance(Base):
    """That a thread was found in a raw payload: query, window, page and run follow from it."""

    __tablename__ = "provenance"
    __table_args__ = (Index(None, "raw_payload_id"),)

    thread_id: Mapped[int] = mapped_column(ForeignKey("thread.id", ondelete="CASCADE"), primary_key=True)
    raw_payload_id: Mapped[int] = mapped_column(ForeignKey("raw_payload.id"), primary_key=True)


class Repository(Base):
    """A repository of the catalogue, kept with its topics as of the last listing."""

    __tablename__ = "repository"
    __table_args__ = (UniqueConstraint("source", "external_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    external_id: Mapped[str]
    full_name: Mapped[str]
    topics: Mapped[list[str]]
    facts: Mapped[dict[str, Any]]
    seen_at: Mapped[datetime]


class ListedUrl(Base):
    """A URL of a list given to `hydrate`: the thread it became, or the reason it did not."""

    __tablename__ = "listed_url"
    __table_args__ = (
        UniqueConstraint("list_name", "url"),
        CheckConstraint(
            "outcome in ('pending', 'thread', 'gone', 'moved', 'private', 'unresolved')", name="outcome"
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    list_name: Mapped[str]
    url: Mapped[str]
    stratum: Mapped[str | None]
    outcome: Mapped[str]
    reason: Mapped[str | None] = mapped_column(Text)
    thread_id: Mapped[int | None] = mapped_column(ForeignKey("thread.id"))


class Memory(Base):
    """What a source must remember across runs: a filter id, a back-off's end, a watermark."""

    __tablename__ = "memory"

    owner: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[dict[str, Any]]
