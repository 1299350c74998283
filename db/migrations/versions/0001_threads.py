"""Threads, posts, matches and criteria; crawls, runs, the frontier and raw payloads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.append_only import make_append_only
from db.base import UtcDateTime

revision = "0001"
down_revision = None

Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "crawl",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("parameters", Json, nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_crawl")),
    )
    op.create_index(op.f("ix_crawl_source"), "crawl", ["source"])
    op.create_table(
        "memory",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", Json, nullable=False),
        sa.PrimaryKeyConstraint("owner", "name", name=op.f("pk_memory")),
    )
    op.create_table(
        "repository",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("external_id", sa.String(), nullable=False),
        sa.Column("full_name", sa.String(), nullable=False),
        sa.Column("topics", Json, nullable=False),
        sa.Column("facts", Json, nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repository")),
        sa.UniqueConstraint("source", "external_id", name=op.f("uq_repository_source_external_id")),
    )
    op.create_table(
        "crawl_run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("crawl_id", sa.Integer(), nullable=True),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("activity", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("counts", Json, nullable=False),
        sa.CheckConstraint("activity in ('crawl', 'hydrate', 'import')", name=op.f("ck_crawl_run_activity")),
        sa.CheckConstraint(
            "outcome in ('running', 'finished', 'stopped', 'failed')", name=op.f("ck_crawl_run_outcome")
        ),
        sa.ForeignKeyConstraint(["crawl_id"], ["crawl.id"], name=op.f("fk_crawl_run_crawl_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_crawl_run")),
    )
    op.create_index(op.f("ix_crawl_run_source"), "crawl_run", ["source"])
    op.create_table(
        "frontier_entry",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("crawl_id", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("parameters", Json, nullable=False),
        sa.Column("cursor", Json, nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "state in ('pending', 'done', 'gone', 'truncated')", name=op.f("ck_frontier_entry_state")
        ),
        sa.ForeignKeyConstraint(["crawl_id"], ["crawl.id"], name=op.f("fk_frontier_entry_crawl_id")),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["frontier_entry.id"], name=op.f("fk_frontier_entry_parent_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_frontier_entry")),
        sa.UniqueConstraint("crawl_id", "kind", "key", name=op.f("uq_frontier_entry_crawl_id_kind_key")),
    )
    op.create_index(
        op.f("ix_frontier_entry_crawl_id_state_failures_priority_id"),
        "frontier_entry",
        ["crawl_id", "state", "failures", "priority", "id"],
    )
    op.create_table(
        "raw_payload",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("request_sha256", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("fetched_at", UtcDateTime(), nullable=False),
        sa.Column("crawl_run_id", sa.Integer(), nullable=False),
        sa.Column("frontier_entry_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["crawl_run_id"], ["crawl_run.id"], name=op.f("fk_raw_payload_crawl_run_id")),
        sa.ForeignKeyConstraint(
            ["frontier_entry_id"], ["frontier_entry.id"], name=op.f("fk_raw_payload_frontier_entry_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raw_payload")),
        sa.UniqueConstraint(
            "source",
            "kind",
            "request_sha256",
            "sha256",
            name=op.f("uq_raw_payload_source_kind_request_sha256_sha256"),
        ),
    )
    op.create_index(op.f("ix_raw_payload_frontier_entry_id"), "raw_payload", ["frontier_entry_id"])
    op.create_table(
        "thread",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("external_id", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("author", sa.String(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=True),
        sa.Column("updated_at", UtcDateTime(), nullable=True),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.Column("repository", sa.String(), nullable=True),
        sa.Column("tags", Json, nullable=False),
        sa.Column("libraries", Json, nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("n_posts", sa.Integer(), nullable=False),
        sa.Column("candidate", sa.Boolean(), nullable=False),
        sa.Column("availability", sa.String(), nullable=False),
        sa.Column("content_sha256", sa.String(), nullable=False),
        sa.Column("raw_payload_id", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "availability in ('present', 'gone', 'moved', 'private')", name=op.f("ck_thread_availability")
        ),
        sa.CheckConstraint("kind in ('issue', 'pull', 'question', 'topic')", name=op.f("ck_thread_kind")),
        sa.ForeignKeyConstraint(
            ["raw_payload_id"], ["raw_payload.id"], name=op.f("fk_thread_raw_payload_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_thread")),
        sa.UniqueConstraint("source", "external_id", name=op.f("uq_thread_source_external_id")),
        sa.UniqueConstraint("url", name=op.f("uq_thread_url")),
    )
    op.create_index(op.f("ix_thread_candidate"), "thread", ["candidate"])
    op.create_index(op.f("ix_thread_repository"), "thread", ["repository"])
    op.create_table(
        "criterion",
        sa.Column("thread_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("met", sa.Boolean(), nullable=False),
        sa.Column("evidence", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["thread_id"], ["thread.id"], name=op.f("fk_criterion_thread_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("thread_id", "name", name=op.f("pk_criterion")),
    )
    op.create_table(
        "listed_url",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("list_name", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("stratum", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("thread_id", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "outcome in ('pending', 'thread', 'gone', 'moved', 'private', 'unresolved')",
            name=op.f("ck_listed_url_outcome"),
        ),
        sa.ForeignKeyConstraint(["thread_id"], ["thread.id"], name=op.f("fk_listed_url_thread_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_listed_url")),
        sa.UniqueConstraint("list_name", "url", name=op.f("uq_listed_url_list_name_url")),
    )
    op.create_table(
        "post",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("thread_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("external_id", sa.String(), nullable=False),
        sa.Column("author", sa.String(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=True),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("body_format", sa.String(), nullable=False),
        sa.CheckConstraint("body_format in ('markdown', 'html', 'text')", name=op.f("ck_post_body_format")),
        sa.CheckConstraint("role in ('opening', 'reply', 'comment')", name=op.f("ck_post_role")),
        sa.ForeignKeyConstraint(
            ["thread_id"], ["thread.id"], name=op.f("fk_post_thread_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_post")),
        sa.UniqueConstraint("thread_id", "position", name=op.f("uq_post_thread_id_position")),
    )
    op.create_table(
        "provenance",
        sa.Column("thread_id", sa.Integer(), nullable=False),
        sa.Column("raw_payload_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["raw_payload_id"], ["raw_payload.id"], name=op.f("fk_provenance_raw_payload_id")
        ),
        sa.ForeignKeyConstraint(
            ["thread_id"], ["thread.id"], name=op.f("fk_provenance_thread_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("thread_id", "raw_payload_id", name=op.f("pk_provenance")),
    )
    op.create_index(op.f("ix_provenance_raw_payload_id"), "provenance", ["raw_payload_id"])
    op.create_table(
        "thread_stratum",
        sa.Column("thread_id", sa.Integer(), nullable=False),
        sa.Column("stratum", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["thread_id"], ["thread.id"], name=op.f("fk_thread_stratum_thread_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("thread_id", "stratum", name=op.f("pk_thread_stratum")),
    )
    op.create_index(op.f("ix_thread_stratum_stratum"), "thread_stratum", ["stratum"])
    op.create_table(
        "keyword_match",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("thread_id", sa.Integer(), nullable=False),
        sa.Column("post_id", sa.Integer(), nullable=True),
        sa.Column("field", sa.String(), nullable=False),
        sa.Column("part", sa.String(), nullable=False),
        sa.Column("keyword", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("start_offset", sa.Integer(), nullable=False),
        sa.Column("end_offset", sa.Integer(), nullable=False),
        sa.Column("extended", sa.Boolean(), nullable=False),
        sa.CheckConstraint("field in ('title', 'body')", name=op.f("ck_keyword_match_field")),
        sa.CheckConstraint("part in ('prose', 'code')", name=op.f("ck_keyword_match_part")),
        sa.ForeignKeyConstraint(
            ["post_id"], ["post.id"], name=op.f("fk_keyword_match_post_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["thread_id"], ["thread.id"], name=op.f("fk_keyword_match_thread_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keyword_match")),
    )
    op.create_index(op.f("ix_keyword_match_post_id"), "keyword_match", ["post_id"])
    op.create_index(op.f("ix_keyword_match_thread_id"), "keyword_match", ["thread_id"])
    make_append_only(op.execute, op.get_context().dialect.name, "raw_payload")
