"""Proposals at size: how long each step takes, and how much memory: `python tests/bench/proposals.py [N]`.

1,000 made-up threads are read into the cache, some of them labelled; then N threads (100,000) are
scored whose cached rows are put together from blocks of the rows of those 1,000. The made-up threads
are as long as real ones: `columns` is how many counts of a thread are not zero on average, and it is
1,400 among the candidates of the shared corpus. Each step runs in a process of its own, after a first
call has loaded the libraries (but for `command`); `seconds` are wall time, `cpu_seconds` the processor's.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert, select

from db.engine import Database, open_database
from db.final_labels import import_final_labels
from db.proposals import CachedFeatures
from db.records import Label
from db.threads import KeywordMatch, Thread
from pipeline.dataset import Reference, references
from pipeline.feature_cache import FeatureCache
from pipeline.features import BLOCKS, NOWHERE
from pipeline.model import train
from pipeline.proposing import current_model, propose, read_labelled, refresh, train_model
from pipeline.records import PostRecord, ThreadRecord
from pipeline.scored import scored
from pipeline.store import upsert_threads
from pipeline.study import Study, load_study

CANDIDATES = 1_000
LABELS = 260
WORDS = 20_000
AT = datetime(2022, 1, 1, tzinfo=UTC)
Figures = dict[str, float]


class Writer:
    """Writes made-up threads: words as frequent as their rank says, some of them told by the cause."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        letters = "etaoinshrdlcumwfgypb"
        weights = range(len(letters), 0, -1)
        self.words = [
            "".join(self.random.choices(letters, weights, k=self.random.choice((2, 4, 5, 6, 7, 8, 9))))
            for _ in range(WORDS)
        ]
        self.ranks = list(accumulate(1 / (rank + 3) for rank in range(WORDS)))

    def sentence(self, cause: int, length: int) -> str:
        """Return a sentence of about that many words, one of them from the vocabulary of a cause."""
        words = self.random.choices(self.words, cum_weights=self.ranks, k=length)
        words[self.random.randrange(length)] = self.words[WORDS - 1 - 20 * cause - self.random.randrange(20)]
        return " ".join(words).capitalize() + "."

    def prose(self, cause: int, sentences: int) -> str:
        """Return a paragraph with a keyword in it."""
        told = [self.sentence(cause, self.random.randint(5, 20)) for _ in range(sentences)]
        return " ".join(["The loss is nan.", *told])

    def code(self, lines: int) -> str:
        """Return a block of code."""
        said = self.random.choices(self.words, cum_weights=self.ranks, k=3 * lines)
        body = (f"{said[n]} = tf.{said[n + 1]}({said[n + 2]}, {n})" for n in range(0, 3 * lines, 3))
        return "```\n" + "\n".join(body) + "\n```"

    def thread(self, number: int, cause: int) -> ThreadRecord:
        """Return thread `number` of `o/r…`, which speaks in the words of its cause."""
        size = self.random.lognormvariate(0, 0.6)
        bodies = [self.prose(cause, round(7 * size)) + "\n\n" + self.code(round(14 * size))]
        bodies += [self.prose(cause, round(4.2 * size)) for _ in range(self.random.randint(1, 8))]
        posts = tuple(
            PostRecord("reply" if n else "opening", f"{number}-{n}", body, "markdown", "a", AT)
            for n, body in enumerate(bodies)
        )
        return ThreadRecord(
            "github", f"o/r{number % 97}#{number}", f"https://github.com/o/r{number % 97}/issues/{number}",
            "issue", self.sentence(cause, 8), posts, "a", AT, closed_at=AT, libraries=("tensorflow",),
            repository=f"o/r{number % 97}",
        )  # fmt: skip


def fill(url: str) -> Figures:
    """Store the candidates, read them into the cache, label some, and train."""
    study, database, writer = load_study(), open_database(url), Writer(1)
    causes = [writer.random.randrange(len(study.codebook.causes)) for _ in range(CANDIDATES)]
    records = [(writer.thread(number, cause), None) for number, cause in enumerate(causes)]
    with database.writing() as session:
        upsert_threads(session, study, records, b"key")
    with database.reading() as session:
        found = references(session, study)
    cache = FeatureCache(study)
    cache.fill(database, found[:10])
    figures = timed("fill", lambda: cache.fill(database, found))
    for one, cause in zip(found[:LABELS], causes, strict=False):
        label(database, study, one, cause)
    figures |= timed("train", lambda: train_model(database, study, _model(url)))
    with database.reading() as session:
        rows = [row for row, _ in cache.find(session, found)]
        columns = cache.features(session, rows).counts.nnz / len(found)
    database.close()
    return {"columns": round(columns)} | figures


def label(database: Database, study: Study, thread: Reference, cause: int) -> None:
    """Import the final label of a thread: two of three are valid."""
    book = study.codebook
    code = book.cause_codes[cause]
    told = Label(True, None, code) if thread.thread_id % 3 else Label(False, book.reason_codes[0])
    with database.writing() as session:
        import_final_labels(session, [(session.get_one(Thread, thread.thread_id), told)], simulated=True)


def _model(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///")).with_suffix(".model.npz")


def one_label(url: str) -> Figures:
    """Add a label, and propose afresh for all candidates: what `propose run --refresh` does once loaded."""
    study, database = load_study(), open_database(url)
    with database.reading() as session:
        found = references(session, study)
    refresh(database, study, _model(url))
    rounds = []
    for one in found[LABELS : LABELS + 7]:
        label(database, study, one, 0)
        rounds.append(timed("one_label", lambda: refresh(database, study, _model(url))))
    database.close()
    return {name: sorted(each[name] for each in rounds)[len(rounds) // 2] for name in rounds[0]}


def score_again(url: str) -> Figures:
    """Learn and score without a file or a row written: the arithmetic alone of one more label."""
    study, database = load_study(), open_database(url)
    with database.reading() as session:
        found = references(session, study)
    cache, (_, model, _) = FeatureCache(study), current_model(database, study, _model(url))

    def again() -> None:
        labelled = read_labelled(database, study, grouped=False)
        fresh = train(labelled.examples, cache.rules, settings=model.settings)
        list(scored(database, cache, fresh, found))

    again()
    figures = timed("learn_and_score", again)
    database.close()
    return figures


def command(url: str) -> Figures:
    """Run the commands whole, with the start of Python and of its libraries."""
    program = "from flows.cli import main; main()"
    words = [sys.executable, "-c", program, "--database", url, "propose", "run"]
    label_next(url)
    return wall("command", lambda: told(words)) | wall("command_refresh", lambda: told([*words, "--refresh"]))


def told(words: list[str]) -> None:
    """Run a command that tells how many proposals it made."""
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    if not done.stdout.startswith(f"{CANDIDATES} proposals by model"):
        raise RuntimeError(done.stdout + done.stderr)


def label_next(url: str) -> None:
    """Label one more candidate."""
    study, database = load_study(), open_database(url)
    with database.reading() as session:
        found = references(session, study)
    label(database, study, found[-1], 1)
    database.close()


def multiply(url: str, number: int) -> Figures:
    """Add threads without texts, to N in all, whose rows of the cache are put together from others'."""
    study, database = load_study(), open_database(url)
    cache, random_ = FeatureCache(study), np.random.default_rng(1)
    with database.reading() as session:
        model_rows = session.execute(select(CachedFeatures.__table__)).mappings().all()
    with database.writing() as session:
        for start in range(CANDIDATES, number, CANDIDATES):
            numbers = range(start + 1, min(start + CANDIDATES, number) + 1)
            session.execute(insert(Thread), [_thread(n) for n in numbers])
            session.execute(insert(KeywordMatch), [_match(n) for n in numbers])
            rows = (_mixed(random_.choice(len(model_rows), len(BLOCKS)), model_rows) for _ in numbers)
            keys = ({"key": cache.key(_reference(n))} for n in numbers)
            session.execute(insert(CachedFeatures), [row | key for row, key in zip(rows, keys, strict=True)])
    database.close()
    return {}


def _url(n: int) -> str:
    return f"https://github.com/o/r/issues/{n}"


def _thread(n: int) -> dict[str, Any]:
    return {
        "id": n, "source": "github", "external_id": f"o/r#{n}", "url": _url(n), "kind": "issue",
        "title": "nan", "tags": [], "libraries": [], "accepted": False, "n_posts": 2, "candidate": True,
        "content_sha256": "", "repository": "o/r", "created_at": AT,
    }  # fmt: skip


def _reference(n: int) -> Reference:
    return Reference(n, _url(n), "", "o/r")


def _match(n: int) -> dict[str, Any]:
    return {
        "thread_id": n, "field": "title", "part": "prose", "keyword": "nan", "text": "nan",
        "start": 0, "end": 3, "extended": False,
    }  # fmt: skip


def _mixed(chosen: Any, rows: Any) -> dict[str, Any]:
    """Return a row of the cache whose first block is the first chosen row's, and so on."""
    lengths = np.array([np.frombuffer(rows[row]["lengths"], dtype=np.int32) for row in chosen])
    ends = np.cumsum(lengths, axis=1)
    parts = [(rows[row], int(ends[n, n] - lengths[n, n]), int(ends[n, n])) for n, row in enumerate(chosen)]
    last = rows[chosen[-1]]
    traces = [row["traces"][2 * start : 2 * end] for row, start, end in parts]
    return {
        "lengths": lengths.diagonal().tobytes(),
        "facts": last["facts"],
        "cues": last["cues"],
        "indices": b"".join(row["indices"][4 * start : 4 * end] for row, start, end in parts),
        "counts": b"".join(row["counts"][start:end] for row, start, end in parts),
        "traces": b"".join(traces) + last["traces"][2 * len(last["counts"]) :],
        "pieces": max((row for row, *_ in parts), key=_n_pieces)["pieces"],
    }


def _n_pieces(row: Any) -> int:
    pieces = np.frombuffer(row["traces"], dtype=np.uint16)
    return int(pieces[pieces != NOWHERE].max())


def score(url: str) -> Figures:
    """Score every thread from the cache."""
    study, database = load_study(), open_database(url)
    _, model, _ = current_model(database, study, _model(url))
    cache = FeatureCache(study)
    with database.reading() as session:
        found = references(session, study)
    list(scored(database, cache, model, found[:CANDIDATES]))
    figures = timed("score", lambda: [part.valid.sum() for part in scored(database, cache, model, found)])
    database.close()
    return {"scored": len(found)} | figures | {"score_mb": _megabytes()}


def run_all(url: str) -> Figures:
    """Propose for every thread, with evidence."""
    study, database = load_study(), open_database(url)
    figures = timed("run_all", lambda: propose(database, study, _model(url)))
    database.close()
    return figures | {"run_all_mb": _megabytes()}


def timed(name: str, work: Callable[[], Any]) -> Figures:
    """Return the wall and the processor time of some work."""
    used = time.process_time()
    figures = wall(name, work)
    return figures | {f"{name}_cpu_seconds": round(time.process_time() - used, 3)}


def wall(name: str, work: Callable[[], Any]) -> Figures:
    """Return the wall time of some work."""
    started = time.perf_counter()
    work()
    return {f"{name}_seconds": round(time.perf_counter() - started, 3)}


def _megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measured(url: str, number: int) -> Iterator[Figures]:
    """Yield the figures of each step, each from a process of its own."""
    steps: list[Callable[..., Figures]] = [fill, one_label, score_again, command, multiply, score, run_all]
    for step in steps:
        arguments = (url, number) if step is multiply else (url,)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            yield process.submit(step, *arguments).result()


def main(number: int) -> None:
    """Print seconds and megabytes as one JSON document."""
    figures: Figures = {"load": round(os.getloadavg()[0], 1)}
    with tempfile.TemporaryDirectory() as folder:
        for found in measured(f"sqlite:///{Path(folder) / 'bench.db'}", number):
            figures |= found
    print(json.dumps(figures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
