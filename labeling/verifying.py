"""Whether what the database holds is what people did: hashes, codebooks, roles, forks."""

from __future__ import annotations

from db.label_events import broken_links
from db.records import Event
from labeling.bundle import forks_of
from labeling.desk import Desk
from pipeline.codebook import Codebook, to_codebook


def problems(desk: Desk) -> list[str]:
    """Return one line for everything that does not hold; none if all is well."""
    history = desk.history
    books = {event.codebook: to_codebook(event.payload["source"]) for event in history.codebooks}
    found = broken_links(history.events)
    found += [line for event in history.events if (line := _label_problem(event, books))]
    found += [line for event in history.events if (line := _reference_problem(desk, event))]
    found += [f"{url}: {handle} has two live labels" for url, handle in forks_of(history)]
    return found


def _label_problem(event: Event, books: dict[str | None, Codebook]) -> str | None:
    if event.label is None or event.codebook not in books:
        return None
    problem = books[event.codebook].problem_with(event.label)
    return f"event {event.uid}: {problem}" if problem else None


def _reference_problem(desk: Desk, event: Event) -> str | None:
    named = [event.supersedes, event.payload.get("decision"), *event.payload.get("basis", ())]
    missing = [uid for uid in named if uid and uid not in desk.history.by_uid]
    return f"event {event.uid} refers to {missing[0]}, which is not here" if missing else None
