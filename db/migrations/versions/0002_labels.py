"""The append-only events of labeling."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.append_only import make_append_only
from db.base import UtcDateTime

revision = "0002"
down_revision = "0001"

KINDS = (
    "setup", "annotator", "codebook", "draw", "decision", "check", "adjudication", "import",
    "proposal", "resolution", "reveal", "reopen",
)  # fmt: skip
VERDICTS = ("valid", "invalid", "unsure", "parked", "withdrawn", "agree", "discard", "defer")
ACTS = sa.text("kind <> 'import'")
FIRST = sa.text("supersedes is null and kind in ('decision', 'check')")
JUDGES_OWN = """
    exists (select 1 from label_event as other
            where other.thread_url = new.thread_url and other.annotator = new.annotator
            and ((new.kind = 'adjudication' and other.kind in ('decision', 'check'))
              or (new.kind in ('decision', 'check') and other.kind = 'adjudication')))
"""
JUDGES_OWN_MESSAGE = "nobody adjudicates a thread they labelled or checked, nor the other way round"


def upgrade() -> None:
    """Create the table, refuse changes of its rows, and refuse judges in their own case."""
    op.create_table(
        "label_event",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("uid", sa.String, nullable=False),
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("thread_id", sa.Integer),
        sa.Column("thread_url", sa.String),
        sa.Column("annotator", sa.String),
        sa.Column("phase", sa.String),
        sa.Column("verdict", sa.String),
        sa.Column("reason", sa.String),
        sa.Column("root_cause", sa.String),
        sa.Column("fix_pattern", sa.String),
        sa.Column("function", sa.String),
        sa.Column("codebook", sa.String),
        sa.Column("content_sha256", sa.String),
        sa.Column("supersedes", sa.String),
        sa.Column("payload", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("previous_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_event")),
        sa.ForeignKeyConstraint(["thread_id"], ["thread.id"], name=op.f("fk_label_event_thread_id")),
        sa.UniqueConstraint("uid", name=op.f("uq_label_event_uid")),
        sa.UniqueConstraint("origin", "sequence", name=op.f("uq_label_event_origin_sequence")),
        sa.UniqueConstraint("origin", "supersedes", name=op.f("uq_label_event_origin_supersedes")),
        sa.CheckConstraint(f"kind in {KINDS}", name=op.f("ck_label_event_kind")),
        sa.CheckConstraint(f"verdict in {VERDICTS}", name=op.f("ck_label_event_verdict")),
        sa.CheckConstraint(
            "(verdict = 'valid') = (root_cause is not null)", name=op.f("ck_label_event_cause_of_valid")
        ),
        sa.CheckConstraint(
            "(verdict = 'invalid') = (reason is not null)", name=op.f("ck_label_event_reason_of_invalid")
        ),
        sa.CheckConstraint(
            "verdict = 'valid' or (fix_pattern is null and function is null)",
            name=op.f("ck_label_event_details_of_valid"),
        ),
    )
    op.create_index(op.f("ix_label_event_thread_url_kind"), "label_event", ["thread_url", "kind"])
    op.create_index(
        "ix_label_event_acts", "label_event", ["thread_url"], sqlite_where=ACTS, postgresql_where=ACTS
    )
    op.create_index(
        "uq_label_event_first",
        "label_event",
        ["origin", "kind", "thread_url", "annotator", "phase"],
        unique=True,
        sqlite_where=FIRST,
        postgresql_where=FIRST,
    )
    make_append_only(op.execute, op.get_bind().dialect.name, "label_event")
    _refuse_judges_in_their_own_case(op.get_bind().dialect.name)


def _refuse_judges_in_their_own_case(dialect: str) -> None:
    if dialect == "sqlite":
        op.execute(
            f"create trigger label_event_own_case before insert on label_event when {JUDGES_OWN} "
            f"begin select raise(abort, '{JUDGES_OWN_MESSAGE}'); end"
        )
        return
    op.execute(
        "create function label_event_own_case() returns trigger language plpgsql as "
        f"$$ begin if {JUDGES_OWN} then raise exception '{JUDGES_OWN_MESSAGE}'; end if; return new; end $$"
    )
    op.execute(
        "create trigger label_event_own_case before insert on label_event "
        "for each row execute function label_event_own_case()"
    )
