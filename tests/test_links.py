"""URLs of threads are recognised in all their forms, and found in lists of any kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.links import canonical, find_urls, identify, read_link, read_url_list
from pipeline.study import SourceSettings, Study, load_study

SO = "https://stackoverflow.com/questions"
FORUM = "https://discuss.pytorch.org/t"


@pytest.mark.parametrize(
    ("url", "source", "external_id", "form"),
    [
        (f"{SO}/48868919", "stackoverflow", "48868919", f"{SO}/48868919"),
        (f"{SO}/48868919/softmax-inf", "stackoverflow", "48868919", f"{SO}/48868919/softmax-inf"),
        (f"{SO}/1/a-b/77?noredirect=1#comment9_77", "stackoverflow", "1", f"{SO}/1/a-b"),
        ("http://www.stackoverflow.com/q/12/345", "stackoverflow", "12", f"{SO}/12"),
        ("https://StackOverflow.com/questions/0012/", "stackoverflow", "12", f"{SO}/12"),
        (f"{FORUM}/nan-loss/51153/3", "pytorch-forums", "51153", f"{FORUM}/nan-loss/51153"),
        (f"{FORUM}/nan-loss/51153.json?page=2", "pytorch-forums", "51153", f"{FORUM}/nan-loss/51153"),
        (f"{FORUM}/51153", "pytorch-forums", "51153", f"{FORUM}/51153"),
        (f"{FORUM}/51153/3", "pytorch-forums", "51153", f"{FORUM}/51153"),
        (f"{FORUM}/-/51153", "pytorch-forums", "51153", f"{FORUM}/51153"),
        (f"{FORUM}/0-2-nan/10781", "pytorch-forums", "10781", f"{FORUM}/0-2-nan/10781"),
        (
            "https://github.com/Cadene/pretrained-models.pytorch/issues/96#issuecomment-1",
            "github",
            "Cadene/pretrained-models.pytorch#96",
            "https://github.com/Cadene/pretrained-models.pytorch/issues/96",
        ),
        (
            "https://github.com/a/b/pull/7/files",
            "github",
            "a/b#7",
            "https://github.com/a/b/pull/7",
        ),
    ],
)
def test_a_url_is_the_thread_it_means(
    study: Study, url: str, source: str, external_id: str, form: str
) -> None:
    """Every form of a URL names its source and thread, and has one form to show."""
    assert identify(url, study) == (source, external_id)
    assert canonical(url, study) == form
    assert canonical(form, study) == form


def test_some_urls_need_the_service(study: Study) -> None:
    """A short link to an answer and a topic without its id are recognised, but name no thread yet."""
    answer = read_link("https://stackoverflow.com/a/55/12", study)
    topic = read_link(f"{FORUM}/inconsistent-tensor-size", study)
    assert answer is not None
    assert topic is not None
    assert (answer.source, answer.external_id, answer.answer) == ("stackoverflow", None, "55")
    assert (topic.source, topic.external_id, topic.slug) == (
        "pytorch-forums",
        None,
        "inconsistent-tensor-size",
    )
    assert identify("https://stackoverflow.com/a/55", study) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "stackoverflow.com/q/1",
        f"{SO}/tagged/nan",
        "https://stackoverflow.com/users/1/x",
        "https://evil.example/stackoverflow.com/questions/1",
        "https://stackoverflow.com.evil.example/questions/1",
        "https://stackoverflow.com@evil.example/questions/1",
        "https://discuss.pytorch.org/c/vision/5",
        "https://discuss.tensorflow.org/t/x/5",
        "https://github.com/a/b",
        "https://github.com/a/b/issues",
        "https://github.com/a/b/discussions/3",
        "https://[bad/t/x/5",
        "ftp://stackoverflow.com/questions/1",
    ],
)
def test_other_urls_are_no_threads(study: Study, url: str) -> None:
    """What is no thread of a source of the study is none, and keeps its form."""
    assert read_link(url, study) is None
    assert canonical(url, study) == url


def test_a_source_is_known_by_its_site_and_by_its_api(study: Study) -> None:
    """A forum in a folder, and one that is reached elsewhere, are recognised by both addresses."""
    forum = SourceSettings("own", "discourse", "http://127.0.0.1:8123/forum", "https://example.org/forum")
    own = replace(study, sources={"own": forum})
    assert identify("https://example.org/forum/t/x/5", own) == ("own", "5")
    assert canonical("http://127.0.0.1:8123/forum/t/x/5/2", own) == "https://example.org/forum/t/x/5"
    assert read_link("https://example.org/t/x/5", own) is None


@pytest.mark.parametrize(
    "text",
    [
        f"{SO}/1/a\n{FORUM}/b/2\n",
        f"| posts |\n| --- |\n| {SO}/1/a |\n| {FORUM}/b/2   |",
        f'url,valid\r\n{SO}/1/a,true\r\n"{FORUM}/b/2",false\r\n',
        f"See [this]({SO}/1/a), <{FORUM}/b/2>. And again {SO}/1/a!",
        f"* **{SO}/1/a**\n* `{FORUM}/b/2`;",
    ],
)
def test_urls_are_found_in_lists_of_any_kind(text: str) -> None:
    """One a line, in Markdown, in CSV or in prose: each URL once, in order, without what surrounds it."""
    assert find_urls(text) == [f"{SO}/1/a", f"{FORUM}/b/2"]


def test_a_list_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """A missing file is one line with its name; a mark at its start and bad bytes do no harm."""
    with pytest.raises(InputError, match=r"none\.md"):
        read_url_list(tmp_path / "none.md")
    (tmp_path / "list.md").write_bytes(b"\xef\xbb\xbf" + f"{SO}/1/a \xff".encode("latin-1"))
    assert read_url_list(tmp_path / "list.md") == [f"{SO}/1/a"]


def test_the_published_lists_are_recognised(shared: Path, study: Study) -> None:
    """Of the paper's 384 URLs all but one name their thread, and that one its slug."""
    urls = [url for path in sorted((shared / "study/published").glob("*.md")) for url in read_url_list(path)]
    assert (len(urls), len(set(urls))) == (400, 384)
    unnamed = [url for url in urls if identify(url, study) is None]
    assert unnamed == [f"{FORUM}/inconsistent-tensor-size-while-loading-data-using-data-loader"]
    assert read_link(unnamed[0], study) is not None


@example("0 /")
@example("a.json.json")
@example("a.json/")
@example("1/a /")
@given(st.text(max_size=300))
def test_any_text_can_be_searched(text: str) -> None:
    """No text makes the search or the reading of its URLs fail, and a canonical form is stable."""
    bundled = load_study()
    for url in (*find_urls(text), text, f"{SO}/{text}", f"{FORUM}/{text}"):
        form = canonical(url, bundled)
        assert canonical(form, bundled) == form
