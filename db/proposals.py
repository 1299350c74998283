"""Tables of proposals: cached features, trained models, and what they propose for each thread."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    Select,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from db.base import Base
from db.threads import Thread, by_url

BATCH = 500  # rows read or written at a time
MANY = 10_000  # keys beyond which all keys are read at once


class CachedFeatures(Base):
    """The features of one text, under a key that digests the text, the cues and the feature version.

    `lengths` (int32) says how many columns of each block are not zero, `indices` (int32) and `counts`
    (uint8) are those columns; `facts` are float32, `cues` (int16) the cues that hit. `traces` (uint16)
    are the pieces in which each column, then each cue, is met first; `pieces`, packed, what they read.
    The small values come first: SQLite need not walk the long ones to reach them.
    """

    __tablename__ = "cached_features"
    __table_args__ = (UniqueConstraint("key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str]
    lengths: Mapped[bytes] = mapped_column(LargeBinary)
    facts: Mapped[bytes] = mapped_column(LargeBinary)
    cues: Mapped[bytes] = mapped_column(LargeBinary)
    indices: Mapped[bytes] = mapped_column(LargeBinary)
    counts: Mapped[bytes] = mapped_column(LargeBinary)
    traces: Mapped[bytes] = mapped_column(LargeBinary)
    pieces: Mapped[bytes] = mapped_column(LargeBinary)


CACHED = CachedFeatures.__table__  # rows of it come without the work of the mapper


class ProposalModel(Base):
    """A model: its name, the digest of its file (none for the cues alone), its card, when it was last made.

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


TRAINED = (  # the models with a file, the newest first
    select(ProposalModel)
    .where(ProposalModel.digest.is_not(None))
    .order_by(ProposalModel.made_at.desc(), ProposalModel.id.desc())
)


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


def latest_proposals(session: Session, thread_ids: Collection[int] | None = None) -> Iterator[StoredProposal]:
    """Yield the newest proposal for each thread that has one, or each of some, by URL, reading as it goes."""
    columns = (
        Proposal.thread_id,
        Thread.url,
        Proposal.valid_probability,
        Proposal.causes,
        Proposal.fix_patterns,
        Proposal.evidence,
        ProposalModel.name,
    )
    query = _latest(session, *columns)
    if thread_ids is not None:
        query = query.where(Thread.id.in_(thread_ids))
    for row in session.execute(query, execution_options={"yield_per": BATCH}):
        yield StoredProposal(*row)


def latest_outcomes(session: Session) -> Iterator[tuple[int, str, float, list[dict[str, Any]]]]:
    """Yield thread, URL, probability of validity and causes of the newest proposals, by URL."""
    query = _latest(session, Proposal.thread_id, Thread.url, Proposal.valid_probability, Proposal.causes)
    yield from session.execute(query, execution_options={"yield_per": BATCH}).tuples()


def _latest(session: Session, *columns: Any) -> Select[Any]:
    own = aliased(Proposal)
    newest = select(func.max(own.id)).where(own.thread_id == Thread.id).scalar_subquery()
    return (
        select(*columns)
        .join_from(Thread, Proposal, Proposal.id == newest)
        .join(ProposalModel, ProposalModel.id == Proposal.model_id)
        .order_by(by_url(session))
    )


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
    """Remember a model (the columns of ProposalModel) and return its id; a known one was made once more."""
    known = session.scalars(select(ProposalModel).where(ProposalModel.name == row["name"])).first()
    if known is not None:
        known.made_at = row["made_at"]
        return known.id
    return session.execute(insert(ProposalModel).values(row).returning(ProposalModel.id)).scalar_one()


def newest_model(session: Session) -> ProposalModel | None:
    """Return the model that was trained last, or None."""
    return session.scalars(TRAINED.limit(1)).first()


def keep_figures(session: Session, data: str, codebook: str, figures: dict[str, Any]) -> str | None:
    """Write figures onto the card of the newest model of these labels (their digest) and this codebook.

    Return the model's name, or None if no model was trained on just these. The model's file stays as it is.
    """
    for model in session.scalars(TRAINED):
        if (model.card.get("data"), model.card.get("codebook")) == (data, codebook):
            model.card = model.card | {"figures": figures}
            return model.name
    return None


def replace_proposals(session: Session, model_id: int, rows: Sequence[dict[str, Any]]) -> None:
    """Store what a model proposes for some threads, in place of what it proposed for them before."""
    own = delete(Proposal).where(Proposal.model_id == model_id)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        session.execute(own.where(Proposal.thread_id.in_([row["thread_id"] for row in batch])))
        session.execute(insert(Proposal), [row | {"model_id": model_id} for row in batch])


def drop_proposals(session: Session, model_id: int, kept: Collection[int]) -> None:
    """Remove what a model proposed for threads other than those kept."""
    found = session.execute(select(Proposal.id, Proposal.thread_id).where(Proposal.model_id == model_id))
    gone = [id_ for id_, thread_id in found if thread_id not in kept]
    for start in range(0, len(gone), BATCH):
        session.execute(delete(Proposal).where(Proposal.id.in_(gone[start : start + BATCH])))


def cached_ids(session: Session, keys: Sequence[str]) -> dict[str, int]:
    """Return the id of the row of the cache under each key that is there; of many keys, of all there are."""
    query = select(CACHED.c.key, CACHED.c.id)
    if len(keys) > MANY:
        return dict(map(tuple, session.execute(query)))
    batches = (keys[start : start + BATCH] for start in range(0, len(keys), BATCH))
    queries = (query.where(CACHED.c.key.in_(batch)) for batch in batches)
    return {key: id_ for query in queries for key, id_ in session.execute(query)}


def cached_rows(session: Session, ids: Sequence[int], columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return some columns of the rows of the cache with these ids, in their order."""
    wanted = select(CACHED.c.id, *(CACHED.c[name] for name in columns))
    found: dict[int, tuple[Any, ...]] = {}
    for start in range(0, len(ids), BATCH):
        query = wanted.where(CACHED.c.id.in_(ids[start : start + BATCH]))
        found.update((row[0], row[1:]) for row in session.execute(query).tuples())
    return [found[id_] for id_ in ids]


def cache_features(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows (the columns of CachedFeatures) to the cache; keys that are there stay as they are."""
    there = cached_ids(session, [row["key"] for row in rows])
    fresh = {row["key"]: row for row in rows if row["key"] not in there}
    if fresh:
        session.execute(insert(CachedFeatures), list(fresh.values()))
