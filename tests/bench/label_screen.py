"""Measure the annotation screen on a pseudo-terminal: CPU to open a 100 kB thread, and key to screen.

`python tests/bench/label_screen.py` prints one JSON document; times are milliseconds.
"""

from __future__ import annotations

import json
import os
import pty
import select
import statistics
import sys
import tempfile
import time
from dataclasses import replace

from db.engine import open_database
from db.threads import Post, Thread, ThreadStratum
from labeling.desk import at_desk
from labeling.document import to_document
from labeling.people import add_annotator
from pipeline.study import load_study

BODY = "".join(
    f"Step {number}: the loss is nan, see\n\n```\nx = log({number})\n```\n\n" for number in range(2400)
)
KEYS = (b"j", b"k", b"1", b"f", b"2", b" ", b"b") * 6
SCREEN = """
import sys
from dataclasses import replace
from db.engine import open_database
from labeling.tui import AnnotationScreen
from pipeline.study import load_study
study = replace(load_study(), labeling={"pilot_size": 0})
AnnotationScreen(open_database(sys.argv[1]), study, "ada").run()
"""


def long_thread() -> Thread:
    """Return a thread of 100 kB."""
    post = Post(
        position=0,
        role="opening",
        external_id="0",
        accepted=False,
        body=BODY[:100_000],
        body_format="markdown",
    )
    return Thread(
        source="github", external_id="o/r#1", url="https://github.com/o/r/issues/1", kind="issue",
        title="nan", tags=[], libraries=[], accepted=False, n_posts=1, candidate=True,
        content_sha256="", posts=[post],
        strata=[ThreadStratum(stratum="TI")],
    )  # fmt: skip


def open_milliseconds(rounds: int = 5) -> float:
    """Return the median CPU time that wrapping and marking the thread takes."""
    keywords, times = load_study().keywords, []
    for _ in range(rounds):
        started = time.process_time()
        to_document(long_thread(), keywords, 80)
        times.append((time.process_time() - started) * 1000)
    return statistics.median(times)


def key_milliseconds(url: str) -> list[float]:
    """Return the times from writing a key to the first byte the screen writes."""
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="80", LINES="24")
        os.execv(sys.executable, [sys.executable, "-c", SCREEN, url])
    _quiet(terminal, 3.0)
    times = []
    for key in KEYS:
        started = time.perf_counter()
        os.write(terminal, key)
        select.select([terminal], [], [], 2.0)
        times.append((time.perf_counter() - started) * 1000)
        _quiet(terminal, 0.1)
    os.write(terminal, b"q")
    _quiet(terminal, 1.0)
    os.waitpid(process, 0)
    return times


def _quiet(terminal: int, seconds: float) -> None:
    """Read until nothing was written for some time."""
    while select.select([terminal], [], [], seconds)[0]:
        try:
            if not os.read(terminal, 65536):
                return
        except OSError:
            return


def main() -> None:
    """Print the figures."""
    study = replace(load_study(), labeling={"pilot_size": 0})
    with tempfile.TemporaryDirectory() as scratch:
        url = f"sqlite:///{scratch}/bench.db"
        database = open_database(url)
        with database.writing() as session:
            session.add(long_thread())
        with at_desk(database, study) as desk:
            add_annotator(desk, "ada")
        database.close()
        times = sorted(key_milliseconds(url))
    figures = {
        "open_cpu_ms": round(open_milliseconds(), 1),
        "key_median_ms": round(statistics.median(times), 1),
        "key_p90_ms": round(times[len(times) * 9 // 10], 1),
        "load": round(os.getloadavg()[0], 1),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
