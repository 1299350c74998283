"""The sandbox's world: what its threads claim is what the pipeline makes of them."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.sandbox.expected import SOURCES, to_record
from pipeline.sandbox.world import WorldThread, generate_world, load_world
from pipeline.store import derive
from pipeline.study import Study, load_study

WORLD = load_world()


@pytest.fixture(scope="module")
def study() -> Study:
    """The bundled study."""
    return load_study()


@pytest.mark.parametrize("thread", WORLD.threads, ids=lambda thread: f"{thread.service}-{thread.id}")
def test_a_thread_meets_exactly_the_criteria_that_it_claims(thread: WorldThread, study: Study) -> None:
    """Each thread is a candidate if it says so, and otherwise misses the criterion that it names."""
    derived = derive(study, to_record(WORLD, thread, study))
    missed = [name for name, met, _ in derived.criteria if not met]
    expected = [thread.misses] if thread.misses not in (None, "fork") else []
    assert missed == expected


@pytest.mark.parametrize("thread", [t for t in WORLD.threads if t.candidate], ids=lambda t: str(t.id))
def test_every_candidate_has_a_right_answer_of_the_codebook(thread: WorldThread, study: Study) -> None:
    """The right label of each candidate is possible under the codebook."""
    assert thread.truth is not None
    assert study.codebook.problem_with(thread.truth) is None


def test_every_cause_reason_and_fix_pattern_occurs(study: Study) -> None:
    """The world holds each root cause, each reason, and each fix pattern but `other-fix`."""
    truths = [thread.truth for thread in WORLD.threads if thread.truth]
    assert {truth.root_cause for truth in truths} - {None} == set(study.codebook.cause_codes)
    assert {truth.reason for truth in truths} - {None} == set(study.codebook.reason_codes)
    patterns = {pattern.code for pattern in study.codebook.fix_patterns} - {"other-fix"}
    assert {truth.fix_pattern for truth in truths} - {None} == patterns


def test_each_stratum_has_fifteen_to_twenty_five_valid_threads(study: Study) -> None:
    """Every stratum of the study has valid threads enough for a table with a spread."""
    counts: Counter[str] = Counter()
    for thread in WORLD.threads:
        if thread.truth and thread.truth.valid:
            counts.update(derive(study, to_record(WORLD, thread, study)).strata)
    assert set(counts) == {"TI", "TP", "PI", "PP"}
    assert all(15 <= count <= 25 for count in counts.values()), counts


def test_every_criterion_has_a_near_miss() -> None:
    """For each way to fail there is a thread that fails only there."""
    misses = {(thread.service, thread.misses) for thread in WORLD.threads if thread.misses}
    assert misses == {
        *(("github", name) for name in ("closed", "replied", "library", "keyword", "fork")),
        *(("stackexchange", name) for name in ("accepted", "library", "keyword")),
        *(("discourse", name) for name in ("accepted", "keyword")),
    }


def test_ids_and_times_are_consistent() -> None:
    """Ids are unique within a service, posts are in order, and a thread changes last when it closes."""
    for service in SOURCES:
        threads = WORLD.threads_of(service)
        posts = [post.id for thread in threads for post in thread.posts]
        assert len({thread.id for thread in threads}) == len(threads)
        assert len(set(posts)) == len(posts)
        assert max(posts) < (2**31 if service != "github" else 2**53)
    for thread in WORLD.threads:
        times = [post.created_at for post in thread.posts]
        assert times == sorted(times)
        assert thread.updated_at >= times[-1]


def test_the_world_has_long_threads_deleted_authors_and_hostile_texts() -> None:
    """Some topics have over 20 and over 50 posts; a deleted account and raw HTML occur in each kind."""
    topics = [len(thread.posts) for thread in WORLD.threads_of("discourse")]
    assert max(topics) > 50
    assert any(20 < length <= 50 for length in topics)
    for service in SOURCES:
        assert any(post.author is None for thread in WORLD.threads_of(service) for post in thread.posts)
    assert sum("<script>" in thread.title + thread.posts[0].body for thread in WORLD.threads) >= 2


def test_a_generated_world_is_the_same_every_time_and_all_candidates(study: Study) -> None:
    """The same seed gives the same world, whose threads all meet the criteria."""
    world = generate_world(250, seed=3)
    assert world == generate_world(250, seed=3)
    assert Counter(thread.service for thread in world.threads) == dict.fromkeys(SOURCES, 250)
    assert all(derive(study, to_record(world, thread, study)).candidate for thread in world.threads)
