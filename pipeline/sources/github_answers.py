"""What an answer of GitHub means: good, limited and until when, gone, or refused. Pure functions."""

from __future__ import annotations

import email.utils
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.errors import Gone, Malformed, Refused, SourceError, Unauthorized
from pipeline.payloads import read_json
from pipeline.transport import Answer, retry_after

LONGEST_WINDOW = 3660.0  # seconds: no quota of GitHub is counted over more than an hour
SECONDARY_WAIT = 60.0  # seconds, where a secondary limit names no time
SECONDARY_WORDS = ("secondary rate limit", "abuse detection", "submitted too quickly")
PRIMARY_WORDS = ("api rate limit exceeded", "rate limit already exceeded")
RATE_TYPES = frozenset(("RATE_LIMIT", "RATE_LIMITED", "GRAPHQL_RATE_LIMIT"))
HEAVY_TYPES = frozenset(("RESOURCE_LIMITS_EXCEEDED", "MAX_NODE_LIMIT_EXCEEDED", "TIMEOUT"))
NODE_TYPES = frozenset(("NOT_FOUND", "FORBIDDEN"))  # about a single node, which is gone or private
HEAVY_WORDS = ("something went wrong while executing your query", "timedout", "timed out", "timeout")
NO_SUCH_REPOSITORIES = "listed users and repositories cannot be searched"


class NoSuchRepositories(SourceError):
    """None of the repositories that a search names can be searched."""


class TooHeavy(SourceError):
    """GraphQL could not work the query off: ask for less at a time."""


@dataclass(frozen=True, slots=True)
class Limited:
    """A limit was hit; `until` is when the server says it is free, None where it does not say."""

    reason: str
    until: datetime | None


def limit_of(answer: Answer, now: datetime) -> Limited | None:
    """Return the rate limit that an answer reports (403, 429, or a 200 with nothing but a message)."""
    message = message_of(answer).lower()
    secondary = any(words in message for words in SECONDARY_WORDS)
    if answer.status == 200:
        return Limited("secondary rate limit", free_at(answer, now)) if secondary else None
    if answer.status not in (403, 429):
        return None
    exhausted = answer.headers.get("x-ratelimit-remaining") == "0"
    if secondary or (answer.status == 429 and not exhausted):
        return Limited("secondary rate limit", free_at(answer, now))
    if exhausted or any(words in message for words in PRIMARY_WORDS):
        return Limited("rate limit", free_at(answer, now))
    if "retry-after" in answer.headers:
        return Limited("secondary rate limit", free_at(answer, now))
    return None


def free_at(answer: Answer, now: datetime) -> datetime | None:
    """Return when the server lets us ask again: its Retry-After, else the reset of a used-up quota."""
    named = retry_after(answer.headers, now)
    if named is not None or answer.headers.get("x-ratelimit-remaining") != "0":
        return named
    return reset_of(answer, now)


def reset_of(answer: Answer, now: datetime) -> datetime | None:
    """Return when the answer's quota is full again by our clock, or None if that is past or unbelievable.

    The reset is a time of the server's clock. Where ours is wrong, the server's own Date says how far
    away it is.
    """
    try:
        reset = datetime.fromtimestamp(int(answer.headers["x-ratelimit-reset"]), UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        return None
    clocks = [now] + [date for date in [_date_of(answer)] if date is not None]
    waits = [(reset - clock).total_seconds() for clock in clocks]
    believable = [wait for wait in waits if 0 < wait <= LONGEST_WINDOW]
    return now + timedelta(seconds=min(believable) + 1) if believable else None


def _date_of(answer: Answer) -> datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return None
    return date.astimezone(UTC) if date.tzinfo else None


def message_of(answer: Answer) -> str:
    """Return what a refusal says for people, in one line."""
    try:
        document = read_json(answer.body)
    except Malformed:
        return ""
    message = document.get("message") if isinstance(document, dict) and "items" not in document else None
    return " ".join(message.split())[:300] if isinstance(message, str) else ""


def refusal(answer: Answer, what: str) -> SourceError:
    """Return the error that a status of 4xx (no rate limit) stands for."""
    said = message_of(answer) or f"HTTP {answer.status}"
    if answer.status == 401:
        return Unauthorized(f"github: {what}: {said}; check NANMINE_GITHUB_TOKEN")
    if answer.status in (404, 410, 451):
        return Gone(f"github: {what}: {said} ({answer.status})")
    if answer.status == 403:
        return Gone(f"github: {what}: {said} (403)", "private")
    if answer.status == 422 and NO_SUCH_REPOSITORIES in answer.body.decode(errors="replace"):
        return NoSuchRepositories(f"github: {what}: none of its repositories can be searched")
    return Refused(f"github: {what}: {said} ({answer.status})")


def error_types(errors: Any) -> list[str]:
    """Return the type of each error of a GraphQL answer, in capitals; an error without one is ''."""
    types = []
    for error in errors if isinstance(errors, list) else []:
        error = error if isinstance(error, dict) else {}
        extensions = error.get("extensions")
        code = extensions.get("code") if isinstance(extensions, dict) else None
        kind = error.get("type") or code or _worded_type(str(error.get("message")))
        types.append(str(kind).upper())
    return types


def forbidden(errors: Any) -> frozenset[tuple[Any, ...]]:
    """Return where in a GraphQL answer, as (list, index), stand nodes that exist and are not for us."""
    paths = [
        error.get("path")
        for error, kind in zip(errors or (), error_types(errors), strict=True)
        if kind == "FORBIDDEN"
    ]
    return frozenset(tuple(path[:2]) for path in paths if isinstance(path, list))


def _worded_type(message: str) -> str:
    said = message.lower()
    if any(words in said for words in (*SECONDARY_WORDS, *PRIMARY_WORDS)):
        return "RATE_LIMIT"
    return "TIMEOUT" if any(words in said for words in HEAVY_WORDS) else ""
