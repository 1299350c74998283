"""Metadata with which Datasette describes the tables and views of a study's database."""

from __future__ import annotations

from typing import Any

import db.crawls
import db.labels
import db.proposals
import db.summaries
import db.threads  # noqa: F401  (registers the tables)
from db.base import Base

VIEWS = {
    "threads": "Every thread with its strata in one cell.",
    "posts": "Every post with the URL and title of its thread.",
    "matches": "Every keyword match with its thread and post.",
    "label_history": "Every act of labeling that is about a thread, in words; final labels follow from them.",
    "proposals": "What the model proposes for each thread now.",
    "thread_summary_now": "What thread_summary has to be, worked out from the rows it is about.",
}


def datasette_metadata(name: str) -> dict[str, Any]:
    """Return the metadata of a database file with the stem `name`, for `datasette FILE -m METADATA`."""
    tables = {
        str(mapper.class_.__tablename__): _first_line(mapper.class_.__doc__)
        for mapper in Base.registry.mappers
    }
    described = {table: {"description": text} for table, text in sorted({**tables, **VIEWS}.items())}
    hidden = {
        f"{table}_search": {"hidden": True, "description": "A full-text index."}
        for table in ("post", "thread")
    }
    return {"title": "nanmine", "databases": {name: {"tables": {**described, **hidden}}}}


def _first_line(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())
