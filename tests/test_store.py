"""Threads are stored once, judged by the study, and keep their labels when their text goes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from db.crawls import ListedUrl, Memory
from db.engine import Database
from db.threads import Criterion, KeywordMatch, Post, Thread, ThreadStratum
from pipeline.records import PostRecord, ThreadRecord
from pipeline.store import Counts, derive, hashed, recompute, to_record, upsert_threads
from pipeline.study import Study, load_study

KEY = b"key"
WHEN = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)


def thread(**changes: object) -> ThreadRecord:
    """Return a candidate of the bundled study, changed as asked."""
    posts = (
        PostRecord("opening", "1", "The loss is `nan` at once.", "markdown", "ada", WHEN),
        PostRecord("reply", "2", "Clip it.", "markdown", "bob", WHEN),
    )
    whole = ThreadRecord(
        source="github",
        external_id="o/r#1",
        url="https://github.com/o/r/issues/1",
        kind="issue",
        title="Loss goes to NaN",
        posts=posts,
        author="ada",
        created_at=WHEN,
        updated_at=WHEN,
        closed_at=WHEN,
        repository="o/r",
        tags=("pytorch",),
        libraries=("pytorch",),
    )
    return replace(whole, **changes)


def store(database: Database, study: Study, *threads: ThreadRecord) -> Counts:
    """Store threads that came from no payload."""
    with database.writing() as session:
        return upsert_threads(session, study, [(record, None) for record in threads], KEY)


def test_threads_that_claim_one_address_are_stored_apart(database: Database, study: Study) -> None:
    """Records with one URL and several ids lose nobody: the later ones' addresses are marked."""
    assert store(database, study, *(thread(external_id=f"o/r#{n}") for n in (1, 2, 3))) == Counts(new=3)
    assert store(database, study, thread(external_id="o/r#4")) == Counts(new=1)
    with database.reading() as session:
        urls = list(session.scalars(select(Thread.url).order_by(Thread.external_id)))
    assert urls == [f"https://github.com/o/r/issues/1{'#' * n}" for n in range(4)]


def test_a_thread_is_stored_with_what_the_study_makes_of_it(database: Database, study: Study) -> None:
    """Matches with their place, a verdict for each criterion, and the strata are kept."""
    assert store(database, study, thread()) == Counts(new=1)
    with database.reading() as session:
        row = session.scalars(select(Thread)).one()
        assert (row.candidate, row.n_posts, [stratum.stratum for stratum in row.strata]) == (True, 2, ["PI"])
        assert {verdict.name: verdict.met for verdict in session.scalars(select(Criterion))} == dict.fromkeys(
            ("closed", "replied", "library", "keyword"), True
        )
        places = select(KeywordMatch.field, KeywordMatch.part, KeywordMatch.text, KeywordMatch.start)
        assert session.execute(places).all() == [("title", "prose", "NaN", 13), ("body", "code", "nan", 13)]


def test_storing_again_changes_nothing(database: Database, study: Study) -> None:
    """The same thread a second time is unchanged, and no row is added."""
    store(database, study, thread())
    assert store(database, study, thread()) == Counts(unchanged=1)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Post)) == 2


def test_a_changed_thread_is_replaced(database: Database, study: Study) -> None:
    """A thread whose text changed keeps its row and gets new posts, matches and verdicts."""
    store(database, study, thread())
    shorter = thread(title="Loss", posts=(PostRecord("opening", "1", "info", "markdown"),))
    assert store(database, study, shorter) == Counts(changed=1)
    with database.reading() as session:
        row = session.scalars(select(Thread)).one()
        assert (row.candidate, row.title, len(row.posts)) == (False, "Loss", 1)
        assert session.scalars(select(KeywordMatch)).all() == []


def test_a_thread_that_is_gone_loses_its_text_and_keeps_its_place(database: Database, study: Study) -> None:
    """Title, author and posts are blanked; identity, verdicts and strata stay."""
    store(database, study, thread())
    store(database, study, thread(title="", posts=(), availability="gone"))
    with database.reading() as session:
        row = session.scalars(select(Thread)).one()
        assert (row.title, row.author, row.posts, row.availability) == ("", None, [], "gone")
        assert (row.candidate, row.external_id, len(row.strata)) == (True, "o/r#1", 1)


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({"closed_at": None}, "closed"),
        ({"posts": thread().posts[:1]}, "replied"),
        ({"libraries": ()}, "library"),
        ({"title": "Loss", "posts": (thread().posts[1], thread().posts[1])}, "keyword"),
    ],
)
def test_each_criterion_can_be_missed(study: Study, changes: dict[str, object], missed: str) -> None:
    """A thread that misses one criterion is no candidate, and the verdict says which."""
    found = derive(study, thread(**changes))
    assert not found.candidate
    assert [name for name, met, _ in found.criteria if not met] == [missed]


def test_a_comment_makes_no_candidate(study: Study) -> None:
    """A keyword in a Stack Overflow comment is recorded and does not count."""
    posts = (PostRecord("opening", "1", "<p>help</p>", "html"), PostRecord("comment", "2", "nan", "markdown"))
    found = derive(study, thread(source="stackoverflow", title="x", posts=posts, accepted=True))
    assert len(found.matches) == 1
    assert ("keyword", False, "no counted keyword") in found.criteria


def test_cross_listed_thread_lies_in_both_strata(study: Study) -> None:
    """A thread about both libraries belongs to a stratum of each."""
    assert derive(study, thread(libraries=("pytorch", "tensorflow"))).strata == ("PI", "TI")


def test_source_outside_the_study_is_no_candidate(study: Study) -> None:
    """A thread of a source that the study does not have is stored without strata or verdicts."""
    found = derive(study, thread(source="tensorflow-forum"))
    assert (found.criteria, found.strata, found.candidate) == ((), (), False)


def test_a_listed_stratum_survives_a_change(database: Database, study: Study) -> None:
    """The stratum that a list gave a thread stays when the thread changes."""
    store(database, study, thread())
    with database.writing() as session:
        id_ = session.scalar(select(Thread.id))
        session.add(ListedUrl(list_name="l", url="u", stratum="TI", outcome="thread", thread_id=id_))
    store(database, study, thread(title="Still NaN"))
    with database.reading() as session:
        assert sorted(session.scalars(select(ThreadStratum.stratum))) == ["PI", "TI"]


def test_authors_are_keyed_hashes(database: Database, study: Study) -> None:
    """No account name is stored, a hash differs from key to key, and is not hashed twice."""
    store(database, study, thread())
    with database.reading() as session:
        authors = {*session.scalars(select(Post.author)), *session.scalars(select(Thread.author))}
        assert all(author.startswith("anon:") for author in authors)
    assert hashed("ada", "github", b"one") != hashed("ada", "github", b"two")
    once = hashed("ada", "github", b"one")
    assert hashed(once, "github", b"one") == once
    assert hashed(None, "github", b"one") is None


@given(title=st.text(), body=st.text())
def test_any_text_comes_back_as_it_was_stored(title: str, body: str, study: Study) -> None:
    """A thread read back from its row is the thread that was stored, unstorable characters apart."""
    record = thread(title=title, posts=(PostRecord("opening", "1", body, "text"),), author=None)
    row = Thread(**{name: getattr(record, name) for name in ThreadRecord.__slots__ if name != "posts"})
    row.posts = [
        Post(**{name: getattr(post, name) for name in PostRecord.__slots__}) for post in record.posts
    ]
    assert to_record(row) == record


def test_other_rules_are_applied_by_recompute(database: Database, study: Study, tmp_path) -> None:
    """After the keywords changed, recompute judges every stored thread anew and labels nothing."""
    store(database, study, thread())
    (tmp_path / "study.toml").write_text('[keywords]\ncounted = ["deadlock"]\n')
    other = load_study(tmp_path / "study.toml")
    assert recompute(database, other) == Counts(changed=1)
    assert recompute(database, other) == Counts(unchanged=1)
    with database.reading() as session:
        assert session.scalars(select(Thread)).one().candidate is False


def test_the_author_key_is_made_once(database: Database) -> None:
    """One database has one key, and it is in no thread."""
    from pipeline.store import author_key

    with database.writing() as session:
        first = author_key(session)
    with database.writing() as session:
        assert author_key(session) == first
        assert session.get_one(Memory, ("nanmine", "author_key")).value["key"] == first.hex()
