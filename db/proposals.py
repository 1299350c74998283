"""Tables of proposals: cached features, trained models, and what they propose for each thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from db.base import Base
from db.threads import Thread

BATCH = 500


class CachedFeatures(Base):
    """The features of one text, under a key that digests the text, the cues and the feature version.

    `indices` (int32) and `counts` (uint8) are the columns that are not zero; `facts` are float32;
    `cues` (int16) are the cues that hit, and `hits` where they did.
    """

    __tablename__ = "cached_features"

    key: Mapped[str] = mapped_column(primary_key=True)
    indices: Mapped[bytes] = mapped_column(LargeBinary)
    counts: Mapped[bytes] = mapped_column(LargeBinary)
    facts: Mapped[bytes] = mapped_column(LargeBinary)
    cues: Mapped[bytes] = mapped_column(LargeBinary)
    hits: Mapped[list[Any]] = mapped_column(JSON)


class ProposalModel(Base):
    """A model: its name, the digest of its file (none for the cues alone), its card.

    The card is the file's, with the cross-validated `figures` once they were measured on its labels.
    """

    __tablename__ = "proposal_model"
    __table_args__ = (UniqueConstraint("name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    digest: Mapped[str | None]
    card: Mapped[dict[str, Any]]
    made_at: Mapped[datetime]


class Proposal(Base):
    """What one model proposes for one thread.

    `causes` and `fix_patterns` are [{code, probability}], highest first; `evidence` is [{text,
    weight, position}]. A thread's newest proposal counts.
    """

    __tablename__ = "proposal"
    __table_args__ = (
        UniqueConstraint("thread_id", "model_id"),
        CheckConstraint("valid_probability between 0 and 1", name="valid_probability"),
        Index(None, "model_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    thread_id: Mapped[int] = mapped_column(ForeignKey("thread.id", ondelete="CASCADE"))
    model_id: Mapped[int] = mapped_column(ForeignKey("proposal_model.id"))
    valid_probability: Mapped[float]
    causes: Mapped[list[Any]] = mapped_column(JSON)
    fix_patterns: Mapped[list[Any]] = mapped_column(JSON)
    evidence: Mapped[list[Any]] = mapped_column(JSON)


@dataclass(frozen=True, slots=True)
class StoredProposal:
    """The newest proposal for a thread, with the thread's URL and the model's name."""

    thread_id: int
    url: str
    valid_probability: float
    causes: list[dict[str, Any]]
    fix_patterns: list[dict[str, Any]]
    evidence: list[dict[str, Any]]
    model: str


def latest_proposals(session: Session) -> list[StoredProposal]:
    """Return the newest proposal for each thread that has one, by URL."""
    newest = select(func.max(Proposal.id)).group_by(Proposal.thread_id)
    query = (
        select(
            Proposal.thread_id,
            Thread.url,
            Proposal.valid_probability,
            Proposal.causes,
            Proposal.fix_patterns,
            Proposal.evidence,
            ProposalModel.name,
        )
        .join(Thread, Thread.id == Proposal.thread_id)
        .join(ProposalModel, ProposalModel.id == Proposal.model_id)
        .where(Proposal.id.in_(newest))
        .order_by(Thread.url)
    )
    return [StoredProposal(*row) for row in session.execute(query)]


def proposal_records(session: Session) -> Iterator[dict[str, Any]]:
    """Yield the newest proposals as they are exported, by URL."""
    for found in latest_proposals(session):
        yield {
            "url": found.url,
            "valid_probability": found.valid_probability,
            "causes": found.causes,
            "fix_patterns": found.fix_patterns,
            "evidence": found.evidence,
            "model": found.model,
        }


def keep_model(session: Session, row: dict[str, Any]) -> int:
    """Remember a model (the columns of ProposalModel) and return its id; a known name keeps its row."""
    known = session.scalar(select(ProposalModel.id).where(ProposalModel.name == row["name"]))
    if known is not None:
        return known
    return session.execute(insert(ProposalModel).values(row).returning(ProposalModel.id)).scalar_one()


def newest_model(session: Session) -> ProposalModel | None:
    """Return the model that was trained last, or None."""
    query = select(ProposalModel).where(ProposalModel.digest.is_not(None))
    return session.scalars(query.order_by(ProposalModel.id.desc()).limit(1)).first()


def keep_figures(session: Session, data: str, codebook: str, figures: dict[str, Any]) -> str | None:
    """Write figures onto the card of the newest model of these labels (their digest) and this codebook.

    Return the model's name, or None if no model was trained on just these. The model's file stays as it is.
    """
    query = select(ProposalModel).where(ProposalModel.digest.is_not(None)).order_by(ProposalModel.id.desc())
    for model in session.scalars(query):
        if (model.card.get("data"), model.card.get("codebook")) == (data, codebook):
            model.card = model.card | {"figures": figures}
            return model.name
    return None


def replace_proposals(session: Session, model_id: int, rows: list[dict[str, Any]]) -> None:
    """Store what a model proposes, in place of what it proposed before."""
    session.execute(delete(Proposal).where(Proposal.model_id == model_id))
    for start in range(0, len(rows), BATCH):
        session.execute(
            insert(Proposal), [row | {"model_id": model_id} for row in rows[start : start + BATCH]]
        )


def cached_features(session: Session, keys: Iterable[str]) -> dict[str, tuple[bytes, bytes, bytes, bytes]]:
    """Return (indices, counts, facts, cues) of the keys that are in the cache."""
    wanted = list(keys)
    columns = (
        CachedFeatures.key,
        CachedFeatures.indices,
        CachedFeatures.counts,
        CachedFeatures.facts,
        CachedFeatures.cues,
    )
    found: dict[str, tuple[bytes, bytes, bytes, bytes]] = {}
    for start in range(0, len(wanted), BATCH):
        query = select(*columns).where(CachedFeatures.key.in_(wanted[start : start + BATCH]))
        found.update({row[0]: (row[1], row[2], row[3], row[4]) for row in session.execute(query)})
    return found


def cached_hits(session: Session, keys: Iterable[str]) -> dict[str, list[Any]]:
    """Return where the cues hit, for the keys that are in the cache."""
    wanted = list(keys)
    found: dict[str, list[Any]] = {}
    for start in range(0, len(wanted), BATCH):
        query = select(CachedFeatures.key, CachedFeatures.hits)
        rows = session.execute(query.where(CachedFeatures.key.in_(wanted[start : start + BATCH])))
        found.update((key, hits) for key, hits in rows)
    return found


def cache_features(session: Session, rows: list[dict[str, Any]]) -> None:
    """Add rows (the columns of CachedFeatures) to the cache; keys that are there stay as they are."""
    there = cached_hits(session, [row["key"] for row in rows])
    fresh = {row["key"]: row for row in rows if row["key"] not in there}
    if fresh:
        session.execute(insert(CachedFeatures), list(fresh.values()))
