"""Metadata with which Datasette describes the tables and views of a study's database."""

from __future__ import annotations

from typing import Any

import db.crawls
import db.label_events
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


# Which view is searched through which index, and the column that holds the index's row.
SEARCHED = {"threads": ("thread_search", "thread_id"), "posts": ("post_search", "post_id")}
HIDDEN = {
    "alembic_version": "Which migrations the file has been through.",
    "cached_features": "What the model computed of texts; it is made anew where it is missing.",
    "post_search": "The full-text index of bodies.",
    "thread_search": "The full-text index of titles.",
}


def datasette_metadata(name: str) -> dict[str, Any]:
    """Return the metadata of a database file with the stem `name`, for `datasette FILE -m METADATA`."""
    tables = {
        str(mapper.class_.__tablename__): _first_line(mapper.class_.__doc__)
        for mapper in Base.registry.mappers
    }
    described = {
        table: {"description": text, "hidden": table in HIDDEN}
        for table, text in sorted({**tables, **VIEWS, **HIDDEN}.items())
    }
    for view, (index, key) in SEARCHED.items():
        described[view] |= {"fts_table": index, "fts_pk": key}
    return {"title": "nanmine", "databases": {name: {"tables": described}}}


def _first_line(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())
