"""Is the database whole? The file, its references, the payloads, and what is derived from the texts."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db.crawls import RawPayload
from db.engine import Database
from db.errors import DatabaseError
from db.summaries import wrong_summaries
from db.threads import Thread
from pipeline.store import derive, to_record
from pipeline.study import Study

SHOWN = 5


def check_database(database: Database, study: Study) -> Iterator[str]:
    """Yield a line for each check that holds; raise DatabaseError for the first that does not."""
    with database.reading() as session:
        if session.get_bind().dialect.name == "sqlite":
            yield from _check_file(session)
        yield _check_payloads(session)
        yield _check_derived(session, study)
        yield _check_summaries(session)


def _check_file(session: Session) -> Iterator[str]:
    found = session.execute(text("pragma integrity_check")).scalars().all()
    if found != ["ok"]:
        raise DatabaseError(f"the file is damaged: {found[0]}; restore it from a copy")
    yield "file: whole"
    broken = session.execute(text("pragma foreign_key_check")).all()
    if broken:
        raise DatabaseError(
            f"{len(broken)} rows refer to rows that are not there, the first in table {broken[0][0]}"
        )
    yield "references: whole"


def _check_payloads(session: Session) -> str:
    number = 0
    rows = select(RawPayload.id, RawPayload.sha256, RawPayload.body).execution_options(yield_per=200)
    for id_, digest, body in session.execute(rows):
        try:
            same = hashlib.sha256(zlib.decompress(body)).hexdigest() == digest
        except zlib.error:
            same = False
        if not same:
            raise DatabaseError(
                f"raw payload {id_} is not what was received; restore the database from a copy"
            )
        number += 1
    return f"raw payloads: {number} match their digests"


def _check_derived(session: Session, study: Study) -> str:
    """Compare each thread's candidacy with what the study makes of its text today."""
    number, stale = 0, []
    rows = select(Thread).where(Thread.availability == "present").execution_options(yield_per=200)
    for thread in session.scalars(rows):
        number += 1
        if derive(study, to_record(thread)).candidate != thread.candidate:
            stale.append(thread.url)
        session.expunge(thread)
    if stale:
        first = ", ".join(stale[:SHOWN])
        raise DatabaseError(
            f"{len(stale)} threads were judged by other rules than this study's ({first});"
            " run: nanmine db recompute"
        )
    return f"threads: {number} agree with the study's criteria"


def _check_summaries(session: Session) -> str:
    """Compare what the tables count with what it is derived from."""
    if wrong := wrong_summaries(session):
        raise DatabaseError(
            f"what is counted of {wrong} threads is not what is stored of them; run: nanmine db recompute"
        )
    return "summaries: what the tables count is what is stored"
