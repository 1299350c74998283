"""Labels as rows: the final label of each thread, or each annotator's own.

Only the study's: a label of a thread that a model's uncertainty drew would be imported elsewhere as
one that counts.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from db.final_labels import final_labels
from labeling.desk import Desk
from pipeline.spreadsheet import safe_cell

FINAL = ("url", "strata", "valid", "reason", "root_cause", "fix_pattern", "function", "how")
OWN = ("url", "annotator", "valid", "reason", "root_cause", "fix_pattern", "function")


def final_rows(desk: Desk) -> list[dict[str, Any]]:
    """Return the final labels by URL, with the keys FINAL."""
    finals = sorted(final_labels(desk.session), key=lambda final: final.url)
    return [
        {"url": final.url, "strata": list(final.strata), **asdict(final.label), "how": final.how}
        for final in finals
    ]


def annotator_rows(desk: Desk) -> list[dict[str, Any]]:
    """Return each annotator's live label by URL and handle, with the keys OWN.

    Of blind labels only those of threads whose labels are all in: before, no export shows them.
    """
    rows = []
    secret = {event.thread_url for event in desk.history.blind_labels()}
    for story in sorted(desk.history.sample, key=lambda story: story.url):
        if story.url in secret:
            continue
        for handle, vote in sorted(story.votes.items()):
            if vote.label is not None:
                rows.append({"url": story.url, "annotator": handle, **asdict(vote.label)})
    return rows


def as_jsonl(rows: Sequence[dict[str, Any]]) -> str:
    """Return one JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_csv(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """Return CSV that no spreadsheet executes."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return written.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " ".join(value)
    return safe_cell(value or "")
