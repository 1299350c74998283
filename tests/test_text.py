"""Bodies become one plain text with the code marked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text import MAX_CHARACTERS, clean, to_text


def code_in(body: str, body_format: str) -> list[str]:
    """Return the code pieces of a body."""
    text = to_text(body, body_format)
    return [text.plain[start:end] for start, end in text.code]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("loss is `nan` here", ["nan"]),
        ("``a `tick` b`` end", ["a `tick` b"]),
        ("before\n```python\nx = inf\n```\nafter", ["```python\nx = inf\n```\n"]),
        ("text\n\n    indented = nan\n\ntext", ["    indented = nan\n"]),
        ("no code at all", []),
        ("an unclosed ` tick", []),
        ("`one` and `two`", ["one", "two"]),
        ("> quoted `nan`", ["nan"]),
    ],
)
def test_markdown_code_is_marked_where_it_stands(body: str, code: list[str]) -> None:
    """Fences, indented blocks and inline code of Markdown are code; offsets are those of the body."""
    assert code_in(body, "markdown") == code
    assert to_text(body, "markdown").plain == body


def test_html_becomes_text_with_its_code() -> None:
    """HTML loses its tags and entities, keeps line breaks between blocks, and its code is marked."""
    body = "<p>a &amp;lt; <code>np.nan</code></p><pre><code>loss = inf\n</code></pre>"
    body += "<ul><li>one</li><li>two</li></ul>"
    text = to_text(body, "html")
    assert text.plain == "a &lt; np.nan\nloss = inf\none\ntwo\n"
    assert code_in(body, "html") == ["np.nan", "loss = inf\n"]


def test_html_scripts_are_no_text() -> None:
    """What a page would run is not what a person reads."""
    assert to_text("<script>nan()</script><style>inf{}</style>said", "html").plain == "said"


def test_deeply_nested_html_is_read() -> None:
    """Ten thousand nested elements exhaust nothing."""
    assert "nan" in to_text("<div>" * 10_000 + "nan" + "</div>" * 10_000, "html").plain


def test_a_long_body_is_cut() -> None:
    """A body beyond the bound is cut there."""
    assert len(to_text("x" * (MAX_CHARACTERS + 5), "text").plain) == MAX_CHARACTERS


def test_unstorable_characters_are_replaced() -> None:
    """NUL and lone surrogates, which databases refuse, become the replacement character."""
    assert clean("a\x00b\ud800c") == "a\ufffdb\ufffdc"


def test_part_at_tells_code_from_prose() -> None:
    """Every offset is in code or in prose, and the two texts hold all of it."""
    text = to_text("a `b` c", "markdown")
    assert [text.part_at(offset) for offset in (0, 3, 5)] == ["prose", "code", "prose"]
    assert (text.code_text, text.prose_text) == ("b", "a `\n` c")


@given(
    st.text(alphabet=st.sampled_from("a`~ \n\t<>&;#/-*pre"), max_size=200),
    st.sampled_from(["markdown", "html", "text"]),
)
def test_code_spans_are_sorted_and_disjoint(body: str, body_format: str) -> None:
    """Whatever the body, the code spans lie in the text, in order, without overlap."""
    text = to_text(body, body_format)
    position = 0
    for start, end in text.code:
        assert position <= start < end <= len(text.plain)
        position = end
