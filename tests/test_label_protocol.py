"""Keys of the protocol change what they name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from db.engine import Database
from db.records import Event, Label
from db.threads import Thread, ThreadStratum
from labeling.checking import check, next_check
from labeling.deciding import decide
from labeling.desk import Desk, at_desk
from labeling.drawing import POOL, draw, pool
from labeling.people import add_annotator
from labeling.queue import next_thread
from labeling.reading import label_to_check
from labeling.taxonomy import propose, resolve, seal, stale_threads, with_category
from pipeline.codebook import to_codebook
from pipeline.study import Study

VALID = Label(True, root_cause="IR")
PAIR = {"ada": "annotator", "bo": "annotator", "di": "lead"}


class Room:
    """A study with some choices, and three people who own every stratum alike."""

    def __init__(self, database: Database, study: Study, **labeling: object) -> None:
        self.database = database
        choices = {"seed": 7, "pilot_size": 0, "batch": 4, "check_after": "any_time", **labeling}
        self.study = replace(study, labeling=choices)
        with self.desk(None) as desk:
            for handle, role in PAIR.items():
                add_annotator(desk, handle, role, simulated=True)

    @contextmanager
    def desk(self, handle: str | None) -> Iterator[Desk]:
        """Sit down for one transaction."""
        with at_desk(self.database, self.study, handle) as desk:
            yield desk

    def label(self, label: Label = VALID) -> Event:
        """Have the first thread labelled by ada."""
        with self.desk("ada") as desk:
            return decide(desk, next_thread(desk), label)


def fill(database: Database, **numbers: int) -> None:
    """Put that many candidates into each stratum; `TI_PI` names both. The last has no date."""
    with database.writing() as session:
        for strata, number in numbers.items():
            for n in range(number):
                thread = made_thread(f"o/{strata}#{n}")
                thread.created_at = datetime(2010 + n, 1, 1, tzinfo=UTC) if n < number - 1 else None
                thread.strata = [ThreadStratum(stratum=code) for code in strata.split("_")]
                session.add(thread)


def made_thread(name: str) -> Thread:
    """Return a candidate without posts."""
    return Thread(
        source="github", external_id=name, url=f"https://example.test/{name}", kind="issue", title=name,
        tags=[], libraries=[], accepted=True, n_posts=2, candidate=True, content_sha256="0" * 64,
    )  # fmt: skip


@pytest.mark.parametrize("stratified", [False, True])
def test_a1_the_pilot_is_drawn_from_each_stratum_alike_or_from_all(
    database: Database, study: Study, stratified: bool
) -> None:
    """A stratified pilot takes the same number from each stratum; another takes the first of all."""
    fill(database, TI=12, TP=2, PI=2, PP=2)
    room = Room(database, study, pilot_size=8, pilot_stratified=stratified)
    with room.desk("ada") as desk:
        first = [thread.url for thread in pool(desk, POOL)[:8]]
        drawn = draw(desk)
    counts = Counter(event.payload["strata"][0] for event in drawn)
    assert (counts == {"TI": 2, "TP": 2, "PI": 2, "PP": 2}) is stratified
    assert ([event.thread_url for event in drawn] == first) is not stratified


@pytest.mark.parametrize(
    ("order", "numbers"), [("oldest", [0, 1, 2, 3, 4, 5]), ("newest", [4, 3, 2, 1, 0, 5]), ("seeded", None)]
)
def test_a2_the_order_of_threads(
    database: Database, study: Study, order: str, numbers: list[int] | None
) -> None:
    """Threads are drawn by date, those without one last, or shuffled by the seed alone."""
    fill(database, TI=6)
    with Room(database, study, order=order).desk("ada") as desk:
        found = [int(thread.external_id.split("#")[1]) for thread in pool(desk, "TI")]
    if numbers is None:
        assert sorted(found) == [0, 1, 2, 3, 4, 5]
        assert found not in ([0, 1, 2, 3, 4, 5], [4, 3, 2, 1, 0, 5])
    else:
        assert found == numbers


@pytest.mark.parametrize(("blind", "is_shown"), [(False, True), (True, False)])
def test_a4_a_blind_check_hides_the_label(
    database: Database, study: Study, blind: bool, is_shown: bool
) -> None:
    """Who checks sees the label, unless checks are blind."""
    fill(database, TI=2)
    room = Room(database, study, owned_strata=False, check_blind=blind)
    room.label()
    with room.desk("bo") as desk:
        assert (label_to_check(desk, next_check(desk)) is not None) is is_shown


@pytest.mark.parametrize("revisit", [False, True])
def test_a6_a_new_category_lists_what_was_labelled_before(
    database: Database, study: Study, revisit: bool
) -> None:
    """Once a category is added, labels made before it are listed where the study wants them revisited."""
    fill(database, TI=3)
    room = Room(database, study, owned_strata=False, revisit_after_new_category=revisit)
    labelled = room.label().thread_url
    with room.desk("ada") as desk:
        proposal = propose(desk, "Cosmic ray", "A bit flips by itself.", next_thread(desk))
    with room.desk("bo") as desk:
        resolve(desk, proposal.uid, "accept", code="CR")
    source = with_category(room.study.codebook.source, proposal, "CR", "code-irrelevant")
    room.study = replace(room.study, codebook=to_codebook(source))
    with room.desk("di") as desk:
        seal(desk)
        assert [item.url for item in stale_threads(desk)] == ([labelled] if revisit else [])


@pytest.mark.parametrize(("compared", "state"), [(False, "checked"), (True, "disputed")])
def test_a10_fix_patterns_may_have_to_agree(
    database: Database, study: Study, compared: bool, state: str
) -> None:
    """Two labels that differ in the fix pattern alone agree, unless fix patterns are compared."""
    fill(database, TI=2)
    room = Room(database, study, owned_strata=False, check_fix_pattern=compared)
    one, other = study.codebook.fix_patterns_of("IR")[:2]
    url = str(room.label(replace(VALID, fix_pattern=one)).thread_url)
    with room.desk("bo") as desk:
        check(desk, next_check(desk), replace(VALID, fix_pattern=other))
        assert desk.history.outcome(url).state == state


@pytest.mark.parametrize(("counted", "places"), [("each", (1, 1)), ("first", (1, 0))])
def test_a11_a_cross_listed_thread_counts_in_each_stratum_or_in_the_first(
    database: Database, study: Study, counted: str, places: tuple[int, int]
) -> None:
    """A thread of two strata takes a place in both, or only in the first by name."""
    fill(database, TI_PI=2)
    room = Room(database, study, pilot_size=2, cross_listed=counted)
    room.label()
    with room.desk("ada") as desk:
        assert (desk.history.spent("PI"), desk.history.spent("TI")) == places


@pytest.mark.parametrize(
    ("choices", "counted"),
    [
        ({}, ("PI", "TI")),
        ({"cross_listed": "first"}, ("TI",)),
        ({"uncounted_causes": ["IR"]}, ()),
        ({"protocol": "blind_double", "cross_listed": "first"}, ("TI",)),
    ],
)
def test_a7_a11_hold_for_a_stratum_that_draws_the_thread_after_its_label(
    database: Database, study: Study, choices: dict[str, object], counted: tuple[str, ...]
) -> None:
    """What a thread counts in is the same whether its second stratum draws it before the label or after."""
    fill(database, TI_PI=1)
    room = Room(database, study, **choices)
    with room.desk("ada") as desk:
        url = str(draw(desk, ["TI"])[0].thread_url)
        decide(desk, desk.thread(url), VALID)
        draw(desk, ["PI"])
        assert desk.history.strata_of(url) == counted
