"""Readable views for people and for Datasette, and on SQLite a full-text index."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

JOINED = {
    "sqlite": "(select group_concat(stratum, ', ') from (select stratum from thread_stratum"
    " where thread_id = thread.id order by stratum))",
    "postgresql": "(select string_agg(stratum, ', ' order by stratum) from thread_stratum"
    " where thread_id = thread.id)",
}
VIEWS = {
    "threads": "select thread.url, thread.title, thread.source, thread.kind, {strata} as strata,"
    " thread.candidate, thread.accepted, thread.n_posts, thread.created_at, thread.closed_at,"
    " thread.repository, thread.availability, thread.id as thread_id from thread",
    "posts": "select thread.url, thread.title, post.position, post.role, post.accepted, post.created_at,"
    " post.body, post.body_format, post.id as post_id from post join thread on thread.id = post.thread_id",
    "matches": "select thread.url, thread.title, post.position, keyword_match.field, keyword_match.part,"
    " keyword_match.keyword, keyword_match.text, keyword_match.start_offset, keyword_match.end_offset,"
    " keyword_match.extended from keyword_match join thread on thread.id = keyword_match.thread_id"
    " left join post on post.id = keyword_match.post_id",
    "label_history": "select label_event.thread_url as url, thread.title, label_event.kind,"
    " label_event.annotator, label_event.phase, label_event.verdict, label_event.reason,"
    " label_event.root_cause, label_event.fix_pattern, label_event.function, label_event.simulated,"
    " label_event.at, label_event.uid, label_event.supersedes from label_event"
    " left join thread on thread.id = label_event.thread_id where label_event.thread_url is not null",
    "proposals": "select thread.url, thread.title, proposal.valid_probability, proposal.causes,"
    " proposal.fix_patterns, proposal.evidence, proposal_model.name as model from proposal"
    " join thread on thread.id = proposal.thread_id"
    " join proposal_model on proposal_model.id = proposal.model_id"
    " where proposal.id in (select max(id) from proposal group by thread_id)",
}
INDEXED = {"thread": "title", "post": "body"}


def upgrade() -> None:
    """Create the views, and the full-text index where it is SQLite's."""
    dialect = op.get_context().dialect.name
    for name, query in VIEWS.items():
        op.execute(f"create view {name} as {query.format(strata=JOINED[dialect])}")
    if dialect == "sqlite":
        for table, column in INDEXED.items():
            _index(table, column)


def _index(table: str, column: str) -> None:
    """Make the index of a text column; `db.search` keeps it in step.

    The name in double quotes is how Datasette finds the index of a table.
    """
    index = f"{table}_search"
    op.execute(f'create virtual table {index} using fts5({column}, content="{table}", content_rowid="id")')
    op.execute(f"insert into {index}({index}) values ('rebuild')")  # noqa: S608
