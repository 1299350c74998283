"""One Discourse forum over httpx: every request allowed by robots.txt and sent through the one policy."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx

from pipeline.errors import Malformed, Refused
from pipeline.payloads import TooMuch, collect, read_json
from pipeline.sources.discourse_robots import Robots, read_robots
from pipeline.sources.manners import TIMEOUT, is_local, refuse_stacked_encodings, user_agent
from pipeline.study import SourceSettings, Study
from pipeline.transport import Accepted, Again, Answer, Judgement, NetworkFault, Transport, retry_after

SPACING = 1.0  # seconds between two requests: 60 a minute, where the default limit is 200
SHORTEST_WAIT = 10.0  # after a 429, even if the forum names less: its limiter prolongs what hammers it
REDIRECTS = frozenset((301, 302, 303, 307, 308))
AVAILABILITIES = {401: "private", 403: "private", 404: "gone", 410: "gone"}
Query = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Fetched:
    """One settled answer: a JSON object, a `location` to go to, or an `availability` that is not present."""

    request: str
    body: bytes = b""
    value: dict[str, Any] | None = None
    location: str | None = None
    availability: str = "present"
    status: int = 200


class Client:
    """A connection to one forum; reads its robots.txt before the first request."""

    def __init__(self, settings: SourceSettings, study: Study, transport: Transport) -> None:
        self._settings = settings
        self._transport = transport
        self._agent = user_agent(study)
        self._prefix = urlsplit(settings.url).path.rstrip("/")
        self._robots: Robots | None = None
        self._http = httpx.Client(
            headers={"User-Agent": self._agent, "Accept": "application/json", "Accept-Encoding": "gzip"},
            timeout=httpx.Timeout(TIMEOUT[1], connect=TIMEOUT[0]),
            follow_redirects=False,
            trust_env=not is_local(settings.url),
        )

    def get(self, path: str, query: Query) -> Fetched:
        """Return the settled answer to one request; Refused if robots.txt or the forum forbids it."""
        target = str(httpx.URL(self._settings.url + path, params=dict(query)).raw_path, "ascii")
        self._obey_robots(target)
        answer = self._ask(path, query, self._judge)
        request = f"GET {target}"
        if answer.status in REDIRECTS:
            location = answer.headers.get("location", "")
            return Fetched(request, answer.body, None, location, "moved", answer.status)
        if answer.status in AVAILABILITIES:
            availability = AVAILABILITIES[answer.status]
            return Fetched(request, answer.body, availability=availability, status=answer.status)
        value = read_json(answer.body)
        if not isinstance(value, dict):
            raise Malformed(f"{self._settings.name}: {path}: the answer is no JSON object")
        return Fetched(request, answer.body, value)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _obey_robots(self, target: str) -> None:
        if self._robots is None:
            self._robots = self._read_robots()
            self._keep_distance()
        if not self._robots.allows(target):
            path, url = target.partition("?")[0], self._settings.url
            raise Refused(f"{self._settings.name}: robots.txt of {url} forbids {path}")

    def _read_robots(self) -> Robots:
        """Ask for robots.txt, which stands at the root of the host; a forum without one forbids nothing."""
        answer = self._ask("/robots.txt", {}, self._judge_robots, at_root=True)
        if answer.status != 200:
            return Robots()
        return read_robots(answer.body.decode("utf-8", "replace"), self._agent)

    def _ask(
        self, path: str, query: Query, judge: Callable[[Answer], Judgement], at_root: bool = False
    ) -> Answer:
        root = (
            self._settings.url.removesuffix(self._prefix) if at_root and self._prefix else self._settings.url
        )
        answer = self._transport.ask(lambda: self._send(root + path, query), judge, path)
        self._keep_distance()
        return answer

    def _keep_distance(self) -> None:
        """Keep the next request away from the last one, and longer if robots.txt names a Crawl-delay."""
        self._transport.space("", SPACING)
        if self._robots is not None and self._robots.crawl_delay:
            until = self._transport.clock.now() + timedelta(seconds=self._robots.crawl_delay)
            self._transport.hold("", until, "the Crawl-delay of robots.txt")

    def _send(self, url: str, query: Query) -> Answer:
        try:
            with self._http.stream("GET", url, params=dict(query)) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                refuse_stacked_encodings(headers)
                return Answer(response.status_code, headers, collect(response.iter_bytes()))
        except httpx.TimeoutException:
            raise NetworkFault("no answer in time") from None
        except httpx.HTTPError as error:
            raise NetworkFault(f"the connection failed ({type(error).__name__})") from None

    def _judge(self, answer: Answer) -> Judgement:
        """Decide by the status first: each limiter has its own body, and some send none."""
        if answer.status == 429:
            return self._judge_limit(answer)
        if answer.status in REDIRECTS or answer.status in AVAILABILITIES:
            return Accepted()
        if answer.status >= 500:
            return Again(
                f"HTTP {answer.status}", until=retry_after(answer.headers, self._transport.clock.now())
            )
        if answer.status != 200:
            raise Refused(f"{self._settings.name}: HTTP {answer.status}: {_complaint(answer.body)}")
        try:
            read_json(answer.body)
        except TooMuch:
            raise
        except Malformed as error:
            return Again(str(error))
        return Accepted()

    def _judge_robots(self, answer: Answer) -> Judgement:
        """Take any answer but a limit or a failure: a forum without robots.txt forbids nothing."""
        return self._judge(answer) if answer.status == 429 or answer.status >= 500 else Accepted()

    def _judge_limit(self, answer: Answer) -> Judgement:
        """Read a 429: plain text with headers, JSON with `extras`, or JSON with no hint at all (search)."""
        now = self._transport.clock.now()
        named = [when for when in (retry_after(answer.headers, now), _wait_seconds(answer.body, now)) if when]
        limit = answer.headers.get("discourse-rate-limit-error-code", "the request rate")
        if not named:
            return Again("HTTP 429", limit=limit, at_least=SHORTEST_WAIT)
        own = timedelta(seconds=SHORTEST_WAIT * (1 + random.random() / 4) * self._transport.pace)
        return Again("HTTP 429", limit=limit, until=max(*named, now + own))


def _wait_seconds(body: bytes, now: datetime) -> datetime | None:
    """Return when the application's own limiter (`extras.wait_seconds`) lets us try again."""
    try:
        value = read_json(body)
    except Malformed:
        return None
    extras = value.get("extras") if isinstance(value, dict) else None
    seconds = extras.get("wait_seconds") if isinstance(extras, dict) else None
    return (
        now + timedelta(seconds=seconds) if isinstance(seconds, int | float) and 0 <= seconds < 1e7 else None
    )


def _complaint(body: bytes) -> str:
    """Return the first error that a refusal states, shortened."""
    try:
        errors = read_json(body)["errors"]
        return str(errors[0])[:200]
    except (Malformed, LookupError, TypeError):
        return json.dumps(body[:80].decode("utf-8", "replace"))
