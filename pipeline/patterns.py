"""Frequent patterns: what is over-represented in the threads of one root cause against all others.

Section 3 of the paper asks for this. A thread is a set of features: calls in its code, operations,
and error messages; each feature is tested in each code-relevant cause with Fisher's exact test, and
the p-values of all tests together are adjusted after Benjamini and Hochberg.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.final_labels import each_final_label
from db.records import FinalLabel
from db.threads import Post, Thread
from pipeline.material import batches_of_causes
from pipeline.statistics import false_discovery
from pipeline.study import Study
from pipeline.table import Cell, Share, Table
from pipeline.text import to_text

LEAST = 3  # threads, of whatever cause, that must show a feature
RATE = 0.1  # false discoveries among the features marked
SHOWN = 15  # features listed for each cause
LONGEST = 100_000  # characters of a post that are read
CALL = re.compile(r"(?<![\w.])([A-Za-z_][\w]{0,40}(?:\.[A-Za-z_]\w{0,40}){0,5})\(")
ERROR = re.compile(r"\b((?:[A-Z][A-Za-z]{2,40}(?:Error|Exception|Warning)): [^\n]{1,80})")
BACKWARD = re.compile(r"\b([A-Z][A-Za-z]{1,40}Backward\d?)\b")
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A feature in the threads of a cause: `inside` of `of` show it, `outside` of `others` elsewhere."""

    kind: str
    feature: str
    cause: str
    inside: int
    of: int
    outside: int
    others: int

    @property
    def lift(self) -> float:
        """How many times as frequent the feature is in the cause as in all threads."""
        return (self.inside / self.of) / ((self.inside + self.outside) / (self.of + self.others))


Features = frozenset[tuple[str, str]]


@cache
def _names(kind: str) -> frozenset[str]:
    text = Path(__file__).with_name("patterns.toml").read_text(encoding="utf-8")
    return frozenset(tomllib.loads(text)[kind])


def features_of(text: str, code: str) -> Features:
    """Return the (kind, feature) pairs of a thread's whole text and of its code alone."""
    calls = [call for call in CALL.findall(code) if call.rpartition(".")[2] not in _names("no_calls")]
    operations = {call.rpartition(".")[2] for call in calls} & _names("operations")
    errors = {NUMBER.sub("N", message.strip()) for message in ERROR.findall(text)}
    errors |= set(BACKWARD.findall(text))
    return frozenset(
        [
            *(("call", call) for call in calls),
            *(("operation", operation) for operation in operations),
            *(("message", error) for error in errors),
        ]
    )


def thread_features(title: str, posts: Iterable[tuple[str, str]]) -> Features:
    """Return the features of a thread of that title and those posts, each a body and its format."""
    texts = [to_text(body[:LONGEST], form) for body, form in posts]
    code = (text.code_text if text.code else text.plain for text in texts)
    return features_of("\n".join([title, *(text.plain for text in texts)]), "\n".join(code))


def read_features(session: Session, labels: Iterable[FinalLabel]) -> Iterator[tuple[str, Features]]:
    """Yield (root cause, features) of every valid labelled thread."""
    for causes in batches_of_causes(labels):
        for id_, thread in _threads(session, list(causes)).items():
            yield causes[id_], thread_features(*thread)


def _threads(session: Session, ids: list[int]) -> dict[int, tuple[str, list[tuple[str, str]]]]:
    """Return the title and the posts of each thread, as an export has them: without comments on answers."""
    titles = session.execute(select(Thread.id, Thread.title).where(Thread.id.in_(ids)))
    threads: dict[int, tuple[str, list[tuple[str, str]]]] = {id_: (title, []) for id_, title in titles}
    query = select(Post.thread_id, Post.body, Post.body_format).where(Post.role != "comment")
    query = query.where(Post.thread_id.in_(ids)).order_by(Post.thread_id, Post.position)
    for id_, body, form in session.execute(query):
        threads[id_][1].append((body, form))
    return threads


def count_patterns(threads: Iterable[tuple[str, Features]], causes: Sequence[str]) -> list[Pattern]:
    """Count every feature of at least LEAST threads in each of `causes` against all other threads."""
    sizes: Counter[str] = Counter()
    everywhere: Counter[tuple[str, str]] = Counter()
    within: Counter[tuple[str, tuple[str, str]]] = Counter()
    for cause, features in threads:
        sizes[cause] += 1
        everywhere.update(features)
        within.update((cause, feature) for feature in features)
    frequent = sorted(feature for feature, count in everywhere.items() if count >= LEAST)
    found = []
    for cause, feature in product((cause for cause in causes if sizes[cause]), frequent):
        inside = within[cause, feature]
        counts = (inside, sizes[cause], everywhere[feature] - inside, sizes.total() - sizes[cause])
        found.append(Pattern(*feature, cause, *counts))
    return found


def p_values(patterns: Sequence[Pattern]) -> list[float]:
    """Return the one-sided p-value of Fisher's exact test for each pattern."""
    from scipy.stats import hypergeom

    numbers = [(p.inside - 1, p.of + p.others, p.inside + p.outside, p.of) for p in patterns]
    return [float(p) for p in hypergeom.sf(*zip(*numbers, strict=True))] if numbers else []


def pattern_table(threads: Iterable[tuple[str, Features]], study: Study) -> Table:
    """Return the strongest features of each code-relevant cause, with support, lift and p-values."""
    relevant = study.codebook.types[0].code
    causes = [cause.code for cause in study.codebook.causes if cause.type == relevant]
    patterns = count_patterns(threads, causes)
    raw = p_values(patterns)
    tested = zip(patterns, raw, false_discovery(raw), strict=True)
    over = [row for row in tested if row[0].lift > 1]
    rows: list[tuple[Cell, ...]] = []
    for cause in causes:
        own = sorted((row for row in over if row[0].cause == cause), key=lambda row: (row[1], row[0].feature))
        rows += [_row(*row) for row in own[:SHOWN]]
    columns = (
        "Root Cause",
        "Kind",
        "Feature",
        "In cause",
        "Support(%)",
        "Elsewhere",
        "Lift",
        "p",
        "q",
        "Found",
    )
    notes = (
        f"{len(patterns)} tests of features of at least {LEAST} threads, adjusted together.",
        f"p: Fisher's exact test, one-sided; q: Benjamini and Hochberg; found: q below {RATE}.",
        f"At most {SHOWN} features of each cause are shown, the least p first.",
    )
    title = "What is over-represented in each code-relevant cause"
    return Table("patterns", title, columns, tuple(rows), notes, grouped=True)


def read_patterns(session: Session, study: Study) -> Table:
    """Return the table of patterns of a study's own labels and texts."""
    return pattern_table(read_features(session, each_final_label(session)), study)


def _row(pattern: Pattern, p: float, q: float) -> tuple[Cell, ...]:
    support = Share(pattern.inside, pattern.of)
    named = (pattern.cause, pattern.kind, pattern.feature)
    return (*named, pattern.inside, support, pattern.outside, pattern.lift, p, q, "yes" if q < RATE else "")
