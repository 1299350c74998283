"""What is counted of each thread, and triggers that note the threads whose row may have changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

JOINED = {"sqlite": "group_concat({0}, ',')", "postgresql": "string_agg({0}, ',')"}
COUNTED = (
    "verdict", "simulated", "strata", "reason", "root_cause", "fix_pattern", "function",
    "source", "candidate", "criteria",
)  # fmt: skip
NOW = """
    create view thread_summary_now as
    select thread.id as thread_id, imported.verdict, imported.simulated,
      coalesce((select {stratum} from (select stratum from thread_stratum
        where thread_id = thread.id order by stratum) as ordered), '') as strata,
      imported.reason, imported.root_cause, imported.fix_pattern, imported.function,
      thread.source, thread.candidate,
      coalesce((select {verdict} from (select name || case when met then '+' else '-' end as verdict
        from criterion where thread_id = thread.id order by name) as ordered), '') as criteria
    from thread left join label_event as imported on imported.id = (
      select event.id from label_event as event
      where event.thread_url = thread.url and event.kind = 'import'
      and not exists (select 1 from label_event as later
        where later.thread_url = thread.url and later.supersedes = event.uid)
      and not exists (select 1 from label_event as other
        where other.thread_url = thread.url and other.kind <> 'import')
      order by event.at desc, event.origin desc, event.sequence desc limit 1)
"""
WATCHED = {  # what notes the thread of a row; every change of these columns counts, or of any
    "thread": ("values ({row}.id)", ("source", "candidate", "url")),
    "thread_stratum": ("values ({row}.thread_id)", ()),
    "criterion": ("values ({row}.thread_id)", ()),
    "label_event": ("select id from thread where url = {row}.thread_url", ()),
}
ROWS = {"insert": ("new",), "update": ("old", "new"), "delete": ("old",)}


def upgrade() -> None:
    """Create the table, the view that says what it holds, and the triggers; fill it."""
    dialect = op.get_context().dialect.name
    op.create_table(
        "thread_summary",
        sa.Column("thread_id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("verdict", sa.String),
        sa.Column("simulated", sa.Boolean),
        sa.Column("strata", sa.String, nullable=False),
        sa.Column("reason", sa.String),
        sa.Column("root_cause", sa.String),
        sa.Column("fix_pattern", sa.String),
        sa.Column("function", sa.String),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("candidate", sa.Boolean, nullable=False),
        sa.Column("criteria", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("thread_id", name=op.f("pk_thread_summary")),
    )
    op.create_table(
        "stale_summary",
        sa.Column("thread_id", sa.Integer, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("thread_id", name=op.f("pk_stale_summary")),
    )
    joined = JOINED[dialect]
    op.execute(NOW.format(stratum=joined.format("stratum"), verdict=joined.format("verdict")))
    names = ", ".join(("thread_id", *COUNTED))
    op.execute(f"insert into thread_summary ({names}) select {names} from thread_summary_now")  # noqa: S608
    op.create_index("ix_thread_summary_counted", "thread_summary", list(COUNTED))
    for table, (noted, columns) in WATCHED.items():
        (_watch_sqlite if dialect == "sqlite" else _watch_postgresql)(table, noted, columns)


def _watch_sqlite(table: str, noted: str, columns: tuple[str, ...]) -> None:
    for act, rows in ROWS.items():
        of = f" of {', '.join(columns)}" if columns and act == "update" else ""
        notes = "".join(f" insert or ignore into stale_summary {noted.format(row=row)};" for row in rows)
        op.execute(f"create trigger {table}_{act}_stale after {act}{of} on {table} begin{notes} end")


def _watch_postgresql(table: str, noted: str, columns: tuple[str, ...]) -> None:
    for act, rows in ROWS.items():
        of = f" of {', '.join(columns)}" if columns and act == "update" else ""
        notes = "".join(
            f" insert into stale_summary {noted.format(row=row)} on conflict do nothing;" for row in rows
        )
        op.execute(
            f"create function {table}_{act}_stale() returns trigger language plpgsql as "
            f"$$ begin{notes} return null; end $$"
        )
        op.execute(
            f"create trigger {table}_{act}_stale after {act}{of} on {table} "
            f"for each row execute function {table}_{act}_stale()"
        )
