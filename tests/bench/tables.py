"""A million labels: time and memory of tables, exports and report: `python tests/bench/tables.py [N]`.

First from a database file with N imported labels and proposals for two thirds of the threads, which is
filled in a process of its own so that only the measured part shows in the peak of memory; then all
tables from N final labels in memory.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from db.engine import open_database
from db.label_events import LabelEvent
from db.proposals import keep_model, replace_proposals
from db.records import FinalLabel, Label
from db.threads import Criterion, Thread, ThreadStratum
from pipeline.export import export_records
from pipeline.material import read_groups, read_material
from pipeline.report import report_html
from pipeline.status import read_status
from pipeline.study import Study, load_study
from pipeline.study_tables import study_tables
from pipeline.tables import fix_patterns, functions, group, reasons, root_causes, shares

STRATA = (("TI",), ("TP",), ("PI",), ("PP",), ("PI", "TI"), ())
CRITERIA = ("closed", "keyword", "library", "replied")
BATCH = 10_000
MODEL = {
    "name": "model of the bench",
    "digest": "0" * 64,
    "card": {},
    "made_at": datetime(2022, 1, 2, tzinfo=UTC),
}


def labels_of(study: Study) -> list[Label]:
    """Return every label that the codebook allows, once."""
    book = study.codebook
    valid = [
        Label(True, None, cause, fix) for cause in book.cause_codes for fix in book.fix_patterns_of(cause)
    ]
    return [*valid, *(Label(False, reason) for reason in book.reason_codes)]


def final_labels(study: Study, number: int) -> list[FinalLabel]:
    """Return that many final labels, spread evenly over strata and labels."""
    pool = labels_of(study)
    return [
        FinalLabel(n, f"https://x.test/{n}", STRATA[n % 6], pool[n % len(pool)], "imported")
        for n in range(number)
    ]


def fill(url: str, number: int) -> None:
    """Store that many threads with strata, criteria, an imported label and a proposal, wide as real ones."""
    pool, database = labels_of(load_study()), open_database(url)
    for start in range(1, number + 1, BATCH):
        chunk = range(start, min(start + BATCH, number + 1))
        members = [{"thread_id": n, "stratum": code} for n in chunk for code in STRATA[n % 6]]
        with database.writing() as session:
            session.execute(insert(Thread), [_thread(n) for n in chunk])
            session.execute(insert(ThreadStratum), members)
            session.execute(insert(Criterion), [_criterion(n, name) for n in chunk for name in CRITERIA])
            session.execute(insert(LabelEvent), [_event(n, pool[n % len(pool)]) for n in chunk])
            model = keep_model(session, MODEL)
            replace_proposals(session, model, [_proposal(n, pool) for n in chunk if n % 3])
    database.close()


def _url(n: int) -> str:
    return f"https://github.com/owner-{n % 997}/repository-{n % 13}/issues/{n}"


def _thread(n: int) -> dict[str, Any]:
    repository = f"owner-{n % 997}/repository-{n % 13}"
    return {
        "id": n, "source": "github", "external_id": f"{repository}#{n}", "url": _url(n), "kind": "issue",
        "title": f"The loss is nan after {n} steps of mixed precision", "tags": ["tensorflow"],
        "libraries": ["tensorflow"], "accepted": False, "n_posts": 2, "candidate": n % 3 > 0,
        "content_sha256": f"{n:064}", "created_at": datetime(2020, 1 + n % 12, 1, tzinfo=UTC),
        "repository": repository,
    }  # fmt: skip


def _criterion(n: int, name: str) -> dict[str, Any]:
    return {"thread_id": n, "name": name, "met": name != "keyword" or n % 3 > 0, "evidence": "title, post 1"}


def _event(n: int, label: Label) -> dict[str, Any]:
    return {
        "uid": f"{n:032}", "origin": "0" * 32, "sequence": n, "kind": "import", "thread_id": n,
        "thread_url": _url(n), "verdict": "valid" if label.valid else "invalid", "reason": label.reason,
        "root_cause": label.root_cause, "fix_pattern": label.fix_pattern, "content_sha256": f"{n:064}",
        "payload": {"note": "labels.csv"}, "simulated": True, "at": datetime(2022, 1, 1, tzinfo=UTC),
        "previous_hash": f"{n - 1:064}", "hash": f"{n:064}",
    }  # fmt: skip


def _proposal(n: int, pool: list[Label]) -> dict[str, Any]:
    causes = [pool[(n // 7 + place) % len(pool)].root_cause or "IR" for place in range(3)]
    shares = (0.6, 0.3, 0.1)
    piece = {"text": "The loss is nan after some steps of mixed precision.", "weight": 1.5, "position": 0}
    return {
        "thread_id": n, "valid_probability": n % 997 / 997, "evidence": [piece] * 4,
        "causes": [{"code": c, "probability": share} for c, share in zip(causes, shares, strict=True)],
        "fix_patterns": [{"code": "add-epsilon", "probability": 1.0}],
    }  # fmt: skip


def main(number: int) -> None:
    """Print seconds and megabytes as one JSON document."""
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1) as filling:
        url = f"sqlite:///{Path(folder) / 'bench.db'}"
        filling.submit(fill, url, number).result()
        figures = {"labels": number} | from_database(url) | in_memory(number)
    print(json.dumps(figures))


def from_database(url: str) -> dict[str, float]:
    """Read from a database file, one thing after the other: counts, exports, all tables, the report.

    The megabytes are the peak so far.
    """
    study, database = load_study(), open_database(url)
    figures: dict[str, float] = {}
    with database.reading() as session:
        readers: dict[str, Callable[[], object]] = {
            "groups": lambda: read_groups(session, unchecked=True),
            "tables": lambda: study_tables(read_material(session), study),
            "status": lambda: read_status(session, study),
            "export_labels": lambda: sum(1 for _ in export_records(session, "labels")),
            "export_events": lambda: sum(1 for _ in export_records(session, "events")),
            "export_proposals": lambda: sum(1 for _ in export_records(session, "proposals")),
            "all_tables": lambda: study_tables(
                read_material(session, everything=True), study, everything=True
            ),
            "report": lambda: report_html(session, study),
        }
        for name, read in readers.items():
            started, worked = time.perf_counter(), time.process_time()
            read()
            figures |= {f"{name}_seconds": _since(started), f"{name}_mb": _megabytes()}
            figures[f"{name}_cpu_seconds"] = round(time.process_time() - worked, 2)
    return figures


def in_memory(number: int) -> dict[str, float]:
    """Count all tables of final labels."""
    study = load_study()
    labels = final_labels(study, number)
    started = time.perf_counter()
    groups = group(labels)
    for count in (root_causes, fix_patterns, functions, shares, reasons):
        count(groups, study)
    return {"counting_seconds": _since(started), "counting_mb": _megabytes()}


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 2)


def _megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
