"""Tables of what was mined: threads, their posts, keyword matches, criteria and strata."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, SQLColumnExpression, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from db.base import Base


class Thread(Base):
    """One issue, pull request, question or topic; the unit of the study."""

    __tablename__ = "thread"
    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        CheckConstraint("kind in ('issue', 'pull', 'question', 'topic')", name="kind"),
        CheckConstraint("availability in ('present', 'gone', 'moved', 'private')", name="availability"),
        Index(None, "candidate"),
        Index(None, "repository"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    external_id: Mapped[str]
    url: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    title: Mapped[str] = mapped_column(Text)
    author: Mapped[str | None]
    created_at: Mapped[datetime | None]
    updated_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    repository: Mapped[str | None]
    tags: Mapped[list[str]]
    libraries: Mapped[list[str]]
    accepted: Mapped[bool]
    n_posts: Mapped[int]
    candidate: Mapped[bool]
    availability: Mapped[str] = mapped_column(default="present")
    content_sha256: Mapped[str]
    raw_payload_id: Mapped[int | None] = mapped_column(ForeignKey("raw_payload.id"))

    posts: Mapped[list[Post]] = relationship(order_by="Post.position", passive_deletes=True)
    strata: Mapped[list[ThreadStratum]] = relationship(passive_deletes=True)


def by_url(session: Session) -> SQLColumnExpression[str]:
    """Return what orders threads by URL as Python orders text, on every database."""
    return Thread.url if session.get_bind().dialect.name == "sqlite" else Thread.url.collate("C")


class ThreadStratum(Base):
    """A stratum the thread belongs to; one thread can belong to several."""

    __tablename__ = "thread_stratum"
    __table_args__ = (Index(None, "stratum"),)

    thread_id: Mapped[int] = mapped_column(ForeignKey("thread.id", ondelete="CASCADE"), primary_key=True)
    stratum: Mapped[str] = mapped_column(primary_key=True)


class Post(Base):
    """One post of a thread as its service sent it: position 0 opens the thread.

    `role` is `opening`, `reply`, or `comment` for a Stack Overflow comment, which is kept but is
    not counted in `n_posts` and makes no thread a candidate.
    """

    __tablename__ = "post"
    __table_args__ = (
        UniqueConstraint("thread_id", "position"),
        CheckConstraint("role in ('opening', 'reply', 'comment')", name="role"),
        CheckConstraint("body_format in ('markdown', 'html', 'text')", name="body_format"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    thread_id: Mapped[int] = mapped_column(ForeignKey("thread.id", ondelete="CASCADE"))
    position: Mapped[int]
    role: Mapped[str]
    external_id: Mapped[str]
    author: Mapped[str | None]
    created_at: Mapped[datetime | None]
    accepted: Mapped[bool]
    body: Mapped[str] = mapped_column(Text)
    body_format: Mapped[str]


class KeywordMatch(Base):
    """One keyword occurrence: where it stands, in prose or code, and whether it counts.

    `start` and `end` are offsets in code points: in the title, or in the post's text as
    `pipeline.text.to_text` gives it. Extended keywords are recorded but do not count.
    """

    __tablename__ = "keyword_match"
    __table_args__ = (
        CheckConstraint("field in ('title', 'body')", name="field"),
        CheckConstraint("part in ('prose', 'code')", name="part"),
        Index(None, "thread_id"),
        Index(None, "post_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    thread_id: Mapped[int] = mapped_column(ForeignKey("thread.id", ondelete="CASCADE"))
    post_id: Mapped[int | None] = mapped_column(ForeignKey("post.id", ondelete="CASCADE"))
    field: Mapped[str]
    part: Mapped[str]
    keyword: Mapped[str]
    text: Mapped[str]
    start: Mapped[int] = mapped_column("start_offset")
    end: Mapped[int] = mapped_column("end_offset")
    extended: Mapped[bool]


class Criterion(Base):
    """The verdict of one criterion of the study on one thread, with what it rests on."""

    __tablename__ = "criterion"

    thread_id: Mapped[int] = mapped_column(ForeignKey("thread.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    met: Mapped[bool]
    evidence: Mapped[str]
