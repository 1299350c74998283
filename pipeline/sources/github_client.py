"""Asks GitHub, REST and GraphQL, with several tokens in turn; the one policy decides on every answer.

PyGithub's requester builds and sends the requests. Its own retry, spacing and paging are off, as
they lose limits, queries and tokens' shares: `pipeline.transport` waits, and the sources page.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from github import Auth, Github
from github.Requester import Requester

from pipeline.errors import Gone, Malformed, Refused
from pipeline.payloads import TooMuch, read_json
from pipeline.sources.github_answers import (
    HEAVY_TYPES,
    NODE_TYPES,
    RATE_TYPES,
    SECONDARY_WAIT,
    Limited,
    TooHeavy,
    error_types,
    free_at,
    limit_of,
    refusal,
    reset_of,
)
from pipeline.sources.github_wire import TIMEOUT, Wire
from pipeline.transport import Accepted, Again, Answer, Judgement, Transport

API_VERSION = "2022-11-28"
SEARCH_SPACING = {True: 2.0, False: 6.0}  # seconds between searches with and without a token
REDIRECTS = 3
AT_ONCE = timedelta(milliseconds=1)

Expectation = Callable[[Any], bool]
TRIES_OF_HEAVY = 2  # a query that can be made smaller is, after so many 5xx


@dataclass(slots=True)
class Turns:
    """Whose turn it is: for each resource the token that is free first, else the next one."""

    tokens: int
    current: int = -1
    _held: dict[tuple[int, str], tuple[datetime, str]] = field(default_factory=dict)

    def take(self, resource: str, now: datetime) -> tuple[datetime, str] | None:
        """Choose a token; return until when even that one must wait, and why, if it must."""
        in_turn = [(self.current + 1 + step) % self.tokens for step in range(self.tokens)]
        self.current = min(in_turn, key=lambda token: max(now, self._free_at(token, resource, now)))
        held = self._held.get((self.current, resource))
        return held if held is not None and held[0] > now else None

    def hold(self, resource: str, until: datetime, why: str) -> None:
        """Leave the current token alone for `resource` until a time."""
        known = self._held.get((self.current, resource))
        if known is None or until > known[0]:
            self._held[self.current, resource] = (until, why)

    def _free_at(self, token: int, resource: str, now: datetime) -> datetime:
        return self._held.get((token, resource), (now, ""))[0]


@dataclass(slots=True)
class _Call:
    """One request on its way: what it is called, whose limits it counts against, and what it should bring."""

    what: str
    resource: str
    is_expected: Expectation
    divisible: bool = False
    value: Any = None
    faults: int = 0

    def again(self, reason: str, until: datetime | None) -> Again:
        """Try again after a fault of the server; a query that could be smaller not for long."""
        self.faults += 1
        if self.divisible and self.faults >= TRIES_OF_HEAVY:
            raise TooHeavy(f"github: {self.what}: {reason}")
        return Again(reason, until=until)

    def too_heavy(self, reason: str) -> Again:
        """Have the query made smaller, or try again if it cannot be."""
        if self.divisible:
            raise TooHeavy(f"github: {self.what}: {reason}")
        return Again(reason)


@dataclass(frozen=True, slots=True)
class Reply:
    """A good answer: what was asked, without secrets, the JSON value, and the bytes it was read from."""

    request: str
    value: Any
    answer: Answer

    @property
    def has_next(self) -> bool:
        """The answer links to a next page."""
        return 'rel="next"' in self.answer.headers.get("link", "")


class Client:
    """One GitHub for one process; safe to share between threads, which wait for one another."""

    def __init__(self, url: str, tokens: tuple[str, ...], agent: str, transport: Transport) -> None:
        self.url = url.rstrip("/")
        self.has_token = bool(tokens)
        self._transport = transport
        self._wire = Wire(self.url)
        self._requesters = [_requester(self.url, token, agent) for token in tokens or (None,)]
        self._turns = Turns(len(self._requesters))
        self._lock = threading.Lock()

    @property
    def now(self) -> datetime:
        """The time of the transport's clock."""
        return self._transport.clock.now()

    def get(
        self, path: str, parameters: dict[str, str], is_expected: Expectation, resource: str = "core"
    ) -> Reply:
        """Ask REST for `path` and follow redirects on the same host, with the whole query.

        An answer that is not what `is_expected` says is asked for again. Raises Gone, NoSuchRepositories,
        Unauthorized, Refused, TooMuch, and what `Transport.ask` raises.
        """
        address, asked = self.url + path, dict(parameters)
        for _ in range(REDIRECTS):
            call = _Call(f"GET {address}", resource, is_expected)
            answer = self._ask(call, "GET", address, parameters=asked)
            if answer.status < 300:
                return Reply(_written(path, parameters), call.value, answer)
            address, asked = self._redirected(address, answer, parameters)
        raise Refused(f"github: GET {self.url}{path}: more than {REDIRECTS} redirects")

    def graphql(self, document: str, variables: dict[str, Any], divisible: bool = False) -> Reply:
        """Ask GraphQL; the value is the whole answer, its `data` there, its errors about single nodes.

        Raises TooHeavy for a `divisible` query that should be made smaller, and what `get` raises.
        """
        call = _Call(f"POST {self.url}/graphql", "graphql", _is_graphql, divisible)
        body = {"query": document, "variables": variables}
        answer = self._ask(call, "POST", self._requesters[0].graphql_url, input=body)
        if answer.status >= 300:
            raise Refused(f"github: {call.what}: redirected ({answer.status}); check the API's address")
        return Reply(f"POST /graphql {variables}", call.value, answer)

    def close(self) -> None:
        """Close the connection."""
        self._wire.hang_up()

    def _ask(self, call: _Call, verb: str, address: str, **what: Any) -> Answer:
        def send() -> Answer:
            requester = self._requesters[self._turns.current]
            headers = {"Accept": "application/vnd.github+json"}
            return self._wire.send(requester, verb, address, headers=headers, **what)

        with self._lock:
            held = self._turns.take(call.resource, self.now)
            if held is not None:
                self._transport.hold(call.resource, *held)
            try:
                return self._transport.ask(send, lambda got: self._judge(call, got), call.what, call.resource)
            except TooMuch as error:
                raise TooMuch(f"github: {call.what}: {error}") from None

    def _judge(self, call: _Call, answer: Answer) -> Judgement:
        self._keep_quota(call, answer)
        limited = limit_of(answer, self.now) if answer.status in (200, 403, 429) else None
        if limited is not None:
            return self._limited(call, limited)
        if answer.status >= 500 or answer.status in (202, 408):
            return call.again(f"HTTP {answer.status}", free_at(answer, self.now))
        if answer.status >= 400:
            raise refusal(answer, call.what)
        if answer.status >= 300:
            return Accepted()
        try:
            call.value = read_json(answer.body)
        except TooMuch:  # the same would come again
            raise
        except Malformed as error:
            return Again(str(error))
        if not call.is_expected(call.value):
            return Again("an answer without what was asked for")
        return self._judge_errors(call, answer) if call.resource == "graphql" else Accepted()

    def _judge_errors(self, call: _Call, answer: Answer) -> Judgement:
        types = set(error_types(call.value.get("errors")))
        if types & RATE_TYPES:
            return self._limited(call, Limited("rate limit", free_at(answer, self.now)))
        if types & HEAVY_TYPES:
            return call.too_heavy(", ".join(sorted(types & HEAVY_TYPES)))
        if types and call.value.get("data") is None:
            said = "; ".join(str(error.get("message")) for error in call.value["errors"][:3])
            raise Refused(f"github: {call.what}: {said}")
        if types - NODE_TYPES:  # a part that failed must not look like one that is gone
            return call.too_heavy(", ".join(sorted(types - NODE_TYPES)) or "a part of the answer failed")
        return Accepted() if isinstance(call.value.get("data"), dict) else Again("an answer without data")

    def _limited(self, call: _Call, limited: Limited) -> Again:
        """Leave the token alone until the time named, and go on with one that is free, if there is one."""
        reason = f"{call.resource} {limited.reason}"
        if limited.until is None:
            return Again(reason, reason, at_least=SECONDARY_WAIT)
        self._turns.hold(call.resource, limited.until, reason)
        held = self._turns.take(call.resource, self.now)
        return Again(reason, reason, until=held[0] if held else self.now + AT_ONCE)

    def _keep_quota(self, call: _Call, answer: Answer) -> None:
        """Tell how much is left, pace the searches, and leave a used-up token alone till its reset."""
        left = answer.headers.get("x-ratelimit-remaining", "")
        if left.isascii() and left.isdigit() and len(left) < 10:
            self._transport.watcher.quota(self._transport.source, call.resource, int(left))
        if call.resource == "search":
            spacing = timedelta(seconds=SEARCH_SPACING[self.has_token] * self._transport.pace)
            self._turns.hold("search", self.now + spacing, "its turn")
        reset = reset_of(answer, self.now) if left == "0" else None
        if reset is not None:
            self._turns.hold(call.resource, reset, f"{call.resource} rate limit")

    def _redirected(
        self, address: str, answer: Answer, parameters: dict[str, str]
    ) -> tuple[str, dict[str, str]]:
        """Return where a redirect leads and what to ask there; another host gets nothing."""
        target = urlsplit(urljoin(address, answer.headers.get("location", "")))
        home = urlsplit(self.url)
        if (target.scheme, target.netloc.lower()) != (home.scheme, home.netloc.lower()):
            raise Gone(f"github: GET {address}: redirected to another host, {target.netloc}", "moved")
        return target._replace(query="", fragment="").geturl(), dict(parse_qsl(target.query)) | parameters


def _requester(url: str, token: str | None, agent: str) -> Requester:
    return Github(
        base_url=url,
        auth=Auth.Token(token) if token else None,
        timeout=TIMEOUT,
        user_agent=agent,
        retry=None,
        seconds_between_requests=None,
        seconds_between_writes=None,
        api_version=API_VERSION,
    ).requester


def is_list(value: Any) -> bool:
    """Say whether this is a page of a list."""
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def is_search(value: Any) -> bool:
    """Say whether this is a page of a search; one without items is none, not an empty one."""
    return (
        isinstance(value, dict) and is_list(value.get("items")) and isinstance(value.get("total_count"), int)
    )


def is_thing(value: Any) -> bool:
    """Say whether this is one issue or repository."""
    return isinstance(value, dict) and isinstance(value.get("id"), int)


def _is_graphql(value: Any) -> bool:
    return isinstance(value, dict) and ("data" in value or bool(error_types(value.get("errors"))))


def _written(path: str, parameters: dict[str, str]) -> str:
    return f"GET {path}?{urlencode(parameters)}" if parameters else f"GET {path}"
