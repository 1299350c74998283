"""The shares of a study are unbiased though threads are drawn actively in between: a simulation.

Many small studies with rare causes that a model is uncertain of. The study's own order and the fold
that decides what counts are the real ones; only the database and the people are left out.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from math import sqrt
from statistics import fmean, stdev
from typing import Any

import pytest
from scipy.stats import binom

from db.history import History
from db.records import Event
from db.thread_history import ACTIVE, ThreadHistory
from labeling.drawing import draw_key
from pipeline.statistics import clopper_pearson

STUDIES = 200
CANDIDATES, QUOTA, BATCH, EAGER = 60, 12, 15, 10  # EAGER: threads labelled actively before each batch
SHARES = {"IR": 0.5, "GE": 0.3, "RE": 0.2}  # of the valid threads, which are two in three
HARD = {"IR": 0.2, "GE": 0.5, "RE": 0.8, None: 0.1}  # how uncertain the model is, give or take
RARE = "RE"
Estimate = Callable[["Study"], tuple[int, int]]  # threads of the rare cause, and valid threads


class Study:
    """One study with a single stratum, labelled until its quota is met."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        urls = [f"https://example.test/{number}" for number in range(CANDIDATES)]
        self.causes = {url: chance.choices([*SHARES, None], [*SHARES.values(), 0.5])[0] for url in urls}
        doubts = {url: HARD[self.causes[url]] + chance.gauss(0, 0.2) for url in urls}
        self.eager = sorted(urls, key=lambda url: -doubts[url])
        self.order = sorted(urls, key=lambda url: draw_key(seed, "TI", url))
        self.numbers = itertools.count(1)
        self.history = History()
        self.add("setup", payload={"protocol": "faithful", "quotas": {"TI": QUOTA}})
        self.label_all()

    def add(self, kind: str, url: str | None = None, **columns: Any) -> Event:
        """Let something happen."""
        number = next(self.numbers)
        blank: dict[str, Any] = dict.fromkeys(Event.__dataclass_fields__)
        at = datetime(2022, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
        known = {"id": number, "uid": str(number), "sequence": number, "origin": "here", "at": at}
        event = Event(**(blank | known | {"payload": {}, "kind": kind, "thread_url": url} | columns))
        self.history.add(event)
        return event

    def label_all(self) -> None:
        """Draw the study's batches by chance, label each in order, and the uncertain threads in between."""
        while self.history.spent("TI") < QUOTA and self.order:
            for _ in range(EAGER):
                self.label_uncertain()
            batch, self.order = self.order[:BATCH], self.order[BATCH:]
            for url in batch:
                self.draw(url, "main", ["TI"])
            for url in batch:
                if self.history.spent("TI") < QUOTA and not self.history.threads[url].decisions:
                    self.label(url)

    def label_uncertain(self) -> None:
        """Draw and label the most uncertain thread that nobody drew."""
        url = next((url for url in self.eager if url not in self.history.threads), None)
        if url is not None:
            self.draw(url, ACTIVE, [])
            self.label(url)

    def draw(self, url: str, phase: str, strata: list[str]) -> None:
        """Draw a thread after all others."""
        self.add("draw", url, phase=phase, payload={"strata": strata, "position": len(self.history.events)})

    def label(self, url: str) -> None:
        """Label a thread as what it is, and have a valid one checked."""
        cause = self.causes[url]
        said = {"verdict": "valid", "root_cause": cause} if cause else {"verdict": "invalid", "reason": "r"}
        vote = self.add("decision", url, annotator="ada", phase="independent", **said)
        if cause:
            self.add(
                "check", url, annotator="bo", phase="check", verdict="agree", payload={"decision": vote.uid}
            )

    def valid(self, counts: Callable[[ThreadHistory], object]) -> Iterator[str]:
        """Yield the cause of each valid thread that counts."""
        for url, story in self.history.threads.items():
            label = self.history.outcome(url).label
            if label is not None and label.root_cause and counts(story):
                yield label.root_cause

    def counted(self) -> tuple[int, int]:
        """Count as the tables do."""
        causes = list(self.valid(lambda story: self.history.counted_strata(story.url)))
        return causes.count(RARE), len(causes)

    def naive(self) -> tuple[int, int]:
        """Count every label there is."""
        causes = list(self.valid(lambda story: True))
        return causes.count(RARE), len(causes)

    def careless(self) -> tuple[int, int]:
        """Count every thread that the study drew, whether its turn had come or not."""
        causes = list(self.valid(lambda story: story.sample_draws))
        return causes.count(RARE), len(causes)


@pytest.fixture(scope="module")
def studies() -> list[Study]:
    """Many studies, each with its own seed."""
    return [Study(seed) for seed in range(STUDIES)]


def bias(studies: list[Study], estimate: Estimate) -> float:
    """Return the mean error of the rare cause's share, in standard errors."""
    errors = [count / of - SHARES[RARE] for count, of in map(estimate, studies)]
    return fmean(errors) / (stdev(errors) / sqrt(len(errors)))


def coverage(studies: list[Study], estimate: Estimate) -> float:
    """Return how often the 95 % interval of the share holds the truth."""
    found = [clopper_pearson(*estimate(study)) for study in studies]
    return fmean(interval.low <= SHARES[RARE] <= interval.high for interval in found if interval)


def test_the_shares_of_the_study_sample_are_unbiased(studies: list[Study]) -> None:
    """The mean share is the truth within two standard errors, and intervals hold it as often as due."""
    assert {study.counted()[1] for study in studies} == {QUOTA}
    assert abs(bias(studies, Study.counted)) < 2
    intervals = [(count, clopper_pearson(count, QUOTA)) for count in range(QUOTA + 1)]
    expected = sum(
        binom.pmf(count, QUOTA, SHARES[RARE])
        for count, interval in intervals
        if interval and interval.low <= SHARES[RARE] <= interval.high
    )
    error = sqrt(expected * (1 - expected) / STUDIES)
    assert coverage(studies, Study.counted) == pytest.approx(expected, abs=2 * error)


@pytest.mark.parametrize("estimate", [Study.naive, Study.careless])
def test_counting_active_labels_would_be_biased(studies: list[Study], estimate: Estimate) -> None:
    """All labels, or those of all drawn threads, overstate what the model finds hard."""
    assert bias(studies, estimate) > 4


def test_active_labels_do_enter_the_sample(studies: list[Study]) -> None:
    """Many of the labels that count were given before the study's order came to their threads."""
    sample = [
        story
        for study in studies
        for story in study.history.sample
        if study.history.counted_strata(story.url)
    ]
    assert sum(story.was_drawn_actively for story in sample) > len(sample) / 10
