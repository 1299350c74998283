"""The codebook as versions: proposals of categories, sealed versions, and what a change affects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from db.errors import NothingToDo, RefusedByProtocol, UsageError
from db.records import Event
from db.threads import Thread
from labeling.codebooks import CodebookDiff, codebook_diff, codebook_digest
from labeling.deciding import NO_NOTES, park
from labeling.desk import Desk
from pipeline.codebook import Codebook, to_codebook


@dataclass(frozen=True, slots=True)
class Stale:
    """A thread to look at again, and why."""

    url: str
    reasons: tuple[str, ...]


def propose(desk: Desk, name: str, definition: str, thread: Thread | None = None) -> Event:
    """Propose a category with its definition; the thread that calls for it waits until it is resolved."""
    desk.require("annotator", "lead")
    if not name.strip() or not definition.strip():
        raise UsageError("a proposal needs a name and a definition")
    proposal = desk.record(
        "proposal", thread, phase="taxonomy", payload={"name": name, "definition": definition}
    )
    if thread is not None:
        park(desk, thread, proposal.uid, NO_NOTES)
    return proposal


def open_proposals(desk: Desk) -> list[Event]:
    """Return the proposals that nobody has resolved."""
    return [proposal for proposal in desk.history.proposals if proposal.uid not in desk.history.resolutions]


def resolve(desk: Desk, uid: str, outcome: str, *, code: str | None = None, comment: str = "") -> Event:
    """Accept a proposal under a new `code`, merge it into an existing one, or reject it.

    Threads that waited for it come back in the queue. An accepted category is written into the
    codebook file by hand or by `with_category`, and counts once that version is sealed. Nobody
    resolves a proposal of their own.
    """
    found = [proposal for proposal in open_proposals(desk) if proposal.uid.startswith(uid)] if uid else []
    if len(found) != 1:
        raise UsageError(f"proposal {uid!r}: {'several begin so' if found else 'there is no open one'}")
    desk.require("annotator", "lead")
    if found[0].annotator == desk.handle:
        raise RefusedByProtocol("a proposal is resolved by somebody else than who made it")
    codes = desk.study.codebook.cause_codes
    if outcome == "merge" and code not in codes:
        raise UsageError(f"merge into one of {', '.join(codes)}")
    if outcome == "accept" and (not code or code in codes):
        raise UsageError("an accepted category needs a new code: --code CODE")
    payload = {"proposal": found[0].uid, "outcome": outcome, "code": code, "comment": comment}
    return desk.record("resolution", phase="taxonomy", payload=payload)


def with_category(source: str, proposal: Event, code: str, type_: str) -> str:
    """Return a codebook's TOML with the proposed category added at its end; ValueError if it is wrong."""
    lines = {
        "code": code,
        "name": proposal.payload["name"],
        "type": type_,
        "definition": proposal.payload["definition"],
    }
    block = "\n".join(f"{key} = {_toml_string(value)}" for key, value in lines.items())
    extended = f"{source.rstrip()}\n\n[[causes]]\n{block}\n"
    to_codebook(extended)
    return extended


def _toml_string(value: str) -> str:
    escaped = (
        value.replace("\\", "\\\\")
        .replace('"', '\\"')
        .replace("\n", "\\n")
        .replace("\r", "\\r")
        .replace("\t", "\\t")
    )
    return f'"{escaped}"'


def sealed_codebook(desk: Desk) -> Codebook | None:
    """Return the codebook sealed last."""
    sealed = desk.history.codebooks
    return to_codebook(sealed[-1].payload["source"]) if sealed else None


def pending_changes(desk: Desk) -> CodebookDiff:
    """Return what the study's codebook file changes against the version sealed last."""
    sealed = sealed_codebook(desk)
    return codebook_diff(sealed or desk.study.codebook, desk.study.codebook)


def seal(desk: Desk, merges: Mapping[str, str] | None = None) -> Event:
    """Seal the study's codebook as the next version; `merges` maps removed causes to those that take them in.

    Nothing labelled is touched: merged codes are read as what they became, and what the change of a
    definition affects is listed by `stale_threads`.
    """
    book = desk.study.codebook
    if not desk.history.codebooks:
        desk.set_up()
        return desk.history.codebooks[-1]
    change = pending_changes(desk)
    if change.is_empty:
        raise NothingToDo(
            f"the codebook is sealed as version {desk.history.codebooks[-1].payload['version']}"
        )
    merged = dict(merges or {})
    for old, new in merged.items():
        if old not in change.removed or new not in book.cause_codes:
            raise UsageError(f"merge {old}={new}: {old} must be gone from the codebook and {new} in it")
    last = desk.history.codebooks[-1]
    payload: dict[str, Any] = {
        "version": last.payload["version"] + 1,
        "parent": last.codebook,
        "source": book.source,
        "merges": merged,
        "affected": sorted({*change.changed, *change.removed} - merged.keys()),
        "added": list(change.added),
    }
    return desk.seal(payload, codebook_digest(book))


def stale_threads(desk: Desk) -> list[Stale]:
    """Return every thread to look at again: its text, its category or what its ruling rests on changed."""
    found = []
    shas = _contents(desk)
    for url, story in sorted(desk.history.threads.items()):
        reasons = _codebook_reasons(desk, list(desk.history.standing_votes(story).values()))
        if any(vote.content_sha256 != shas.get(url) for vote in story.votes.values() if url in shas):
            reasons.append("the thread's text changed after it was labelled")
        if desk.history.is_stale(url):
            reasons.append("a label changed after it was adjudicated")
        if story.forks:
            reasons.append("two databases hold different labels of one person")
        if reasons:
            found.append(Stale(url, tuple(reasons)))
    return found


def _contents(desk: Desk) -> dict[str, str]:
    rows = desk.session.execute(select(Thread.url, Thread.content_sha256))
    return {url: sha for url, sha in rows if url in desk.history.threads}


def _codebook_reasons(desk: Desk, votes: list[Event]) -> list[str]:
    versions = {event.codebook: event.payload["version"] for event in desk.history.codebooks}
    reasons = []
    for vote in votes:
        label = desk.history.merged(vote.label)
        made_under = versions.get(vote.codebook, 0)
        later = [event for event in desk.history.codebooks if event.payload["version"] > made_under]
        if label is None or not later:
            continue
        code = label.root_cause or label.reason
        affected = any(code in event.payload["affected"] for event in later)
        added = desk.protocol.revisit_after_new_category and any(
            event.payload.get("added") for event in later
        )
        if affected or added:
            reasons.append(f"{code} was labelled under codebook version {made_under}")
    return reasons
