"""Text that leaves the program: for a terminal and for a spreadsheet."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.spreadsheet import original_cell, safe_cell
from pipeline.terminal import printable

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
anything = st.text(st.characters(categories=None))


@given(anything)
def test_printable_text_holds_no_control(text: str) -> None:
    """No control, bidi or surrogate code point is left but tab and line feed."""
    for character in printable(text):
        assert character in "\t\n" or unicodedata.category(character) not in ("Cc", "Cs")
        assert character not in BIDI


@given(anything)
def test_printable_is_idempotent(text: str) -> None:
    """Text that is printable stays as it is."""
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07loss", "]0;titleloss"),
        ("\x1b[2Jnan", "[2Jnan"),
        ("a\u202eb", "ab"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("[bold]tensor[/]", "[bold]tensor[/]"),
        ("\x9b31m", "31m"),
    ],
)
def test_printable_keeps_what_can_be_read(text: str, shown: str) -> None:
    """Only what a terminal would obey is taken out; markup stays as it was written."""
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "＝1"])
def test_a_formula_is_quoted(text: str) -> None:
    """A cell that could start a formula gets a quote and comes back as it was."""
    assert safe_cell(text) == "'" + text
    assert original_cell(safe_cell(text)) == text


@given(anything)
def test_a_cell_comes_back_as_it_was(text: str) -> None:
    """Making a cell safe loses nothing, and a safe cell starts no formula."""
    assert original_cell(safe_cell(text)) == text
    assert not safe_cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))
