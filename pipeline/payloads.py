"""Reading what a service sent: bounded in size, in time and in depth, whoever sent it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any, NoReturn

from pipeline.errors import Malformed
from pipeline.transport import MAX_BODY, NetworkFault

MAX_DEPTH = 200
MAX_SECONDS = 120.0  # for one body, however slowly it drips


class TooMuch(Malformed):
    """An answer that is too large or too deep to be read: asking again would bring the same."""


def collect(chunks: Iterable[bytes], seconds: float = MAX_SECONDS) -> bytes:
    """Join the decoded chunks of one body (`iter_content` of requests, `iter_bytes` of httpx).

    Raises TooMuch beyond MAX_BODY bytes, before more is decoded, and NetworkFault when the body
    takes longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    pieces, size = [], 0
    for chunk in chunks:
        size += len(chunk)
        if size > MAX_BODY:
            raise TooMuch(f"the answer is larger than {MAX_BODY} bytes")
        if time.monotonic() > deadline:
            raise NetworkFault(f"the answer took longer than {seconds:g} s")
        pieces.append(chunk)
    return b"".join(pieces)


def read_json(body: bytes) -> Any:
    """Return the JSON value of `body`.

    Raises Malformed for what is no JSON (HTML, a truncated text, nothing) and TooMuch for more than
    MAX_BODY bytes or MAX_DEPTH levels. Strings come as sent: `pipeline.text.clean` makes them storable.
    """
    if len(body) > MAX_BODY:
        raise TooMuch(f"the answer is larger than {MAX_BODY} bytes")
    try:
        value = json.loads(body.decode("utf-8-sig", "surrogatepass"), parse_constant=_refuse_constant)
    except RecursionError:
        raise TooMuch(f"the answer is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise Malformed(_complaint(body, error)) from None
    if _is_deeper(value, MAX_DEPTH):
        raise TooMuch(f"the answer is nested deeper than {MAX_DEPTH} levels")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _complaint(body: bytes, error: ValueError) -> str:
    if body.lstrip()[:1] == b"<":
        return "the answer is HTML, not JSON"
    return f"the answer is not JSON: {error}" if body.strip() else "the answer is empty"


def _is_deeper(value: Any, levels: int) -> bool:
    containers = [value] if isinstance(value, dict | list) else []
    while containers and levels:
        levels -= 1
        inner = (item.values() if isinstance(item, dict) else item for item in containers)
        containers = [child for children in inner for child in children if isinstance(child, dict | list)]
    return bool(containers)
