"""Cached features, models and proposals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.base import UtcDateTime

revision = "0003"
down_revision = "0002"
CACHED = ("lengths", "facts", "cues", "indices", "counts", "traces", "pieces")


def upgrade() -> None:
    """Create the three tables."""
    op.create_table(
        "cached_features",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        *(sa.Column(name, sa.LargeBinary, nullable=False) for name in CACHED),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cached_features")),
        sa.UniqueConstraint("key", name=op.f("uq_cached_features_key")),
    )
    op.create_table(
        "proposal_model",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("digest", sa.String),
        sa.Column("card", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("made_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposal_model")),
        sa.UniqueConstraint("name", name=op.f("uq_proposal_model_name")),
    )
    op.create_table(
        "proposal",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("thread_id", sa.Integer, nullable=False),
        sa.Column("model_id", sa.Integer, nullable=False),
        sa.Column("valid_probability", sa.Float, nullable=False),
        sa.Column("causes", sa.JSON, nullable=False),
        sa.Column("fix_patterns", sa.JSON, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposal")),
        sa.ForeignKeyConstraint(
            ["thread_id"], ["thread.id"], name=op.f("fk_proposal_thread_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["model_id"], ["proposal_model.id"], name=op.f("fk_proposal_model_id")),
        sa.UniqueConstraint("thread_id", "model_id", name=op.f("uq_proposal_thread_id_model_id")),
        sa.CheckConstraint("valid_probability between 0 and 1", name=op.f("ck_proposal_valid_probability")),
    )
    op.create_index(op.f("ix_proposal_model_id"), "proposal", ["model_id"])
