"""Payloads: what is read and what is refused, whoever sent it."""

from __future__ import annotations

import itertools
import json

import pytest

from pipeline import payloads
from pipeline.errors import Malformed
from pipeline.payloads import TooMuch, collect, read_json
from pipeline.transport import MAX_BODY, NetworkFault


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, null]}', {"a": [1, None]}),
        (b"\xef\xbb\xbf[]", []),
        (b'{"id": 9007199254740993}', {"id": 9007199254740993}),
        (b'"\\ud800 \\u0000"', "\ud800 \x00"),
        (b'"\xed\xa0\x80"', "\ud800"),
        (b"[" * 200 + b"]" * 200, json.loads("[" * 200 + "]" * 200)),
    ],
)
def test_json_is_read_as_sent(body: bytes, value: object) -> None:
    """Large ids, NUL and lone surrogates come through unchanged."""
    assert read_json(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"<html>502</html>",
        b'{"items": [{"id": 1',
        b"",
        b"  ",
        b"\xff\xfe",
        b"[NaN]",
        b"9" * 5000,
        b'{"a": 1} x',
    ],
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    """HTML, a truncated text, nothing, bad bytes and numbers out of bounds are refused."""
    with pytest.raises(Malformed) as caught:
        read_json(body)
    assert not isinstance(caught.value, TooMuch)


@pytest.mark.parametrize("depth", [201, 900, 10_000, 200_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    """An answer nested too deep is refused, as a list and as objects."""
    with pytest.raises(TooMuch):
        read_json(b"[" * depth + b"]" * depth)
    with pytest.raises(TooMuch):
        read_json(b'{"a":' * depth + b"1" + b"}" * depth)


def test_size_is_bounded() -> None:
    """A body is refused at its bound, without reading what follows."""
    chunks = itertools.repeat(b" " * 2**20)
    with pytest.raises(TooMuch):
        collect(chunks)
    with pytest.raises(TooMuch):
        read_json(b" " * (MAX_BODY + 1))


def test_a_dripping_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that drips past its time is a network fault, to be asked for again."""
    ticks = itertools.count(0.0, 1.0)
    monkeypatch.setattr(payloads.time, "monotonic", lambda: next(ticks))
    with pytest.raises(NetworkFault):
        collect(itertools.repeat(b"x"), seconds=5)
    assert collect([b"ab", b"c"]) == b"abc"
