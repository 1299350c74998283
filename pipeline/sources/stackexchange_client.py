"""stackapi behind a wall: one page a call, every request through the one policy, no key in sight.

stackapi joins the parameters, checks the site and reads the errors. What it asks with is ours: a
session with time-outs, bounded bodies and our User-Agent. It has no say in retries or waiting.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import requests

from pipeline.errors import Malformed, QuotaExhausted, Refused, SourceError, Unauthorized
from pipeline.payloads import TooMuch, collect, read_json
from pipeline.sources.base import Lookup
from pipeline.sources.manners import TIMEOUT, is_local, refuse_stacked_encodings, user_agent
from pipeline.study import SourceSettings, Study
from pipeline.transport import Accepted, Again, Answer, Judgement, NetworkFault, Transport, retry_after

VERSION = "2.3"
PAGE_SIZE = 100
SPACING = 1.0  # seconds between two requests: politeness, and far from the ban at 30 a second
BAN_WAIT = 30.0  # the shortest ban, where the service does not say how long
TRANSIENT = frozenset(
    (500, 502, 503)
)  # error ids: internal_error, throttle_violation, temporarily_unavailable
UNAUTHORIZED = frozenset((401, 402, 405, 406))
BANNED = re.compile(r"more requests available in (\d{1,7}) seconds")


@dataclass(frozen=True, slots=True)
class Fetched:
    """One page: its items, whether more follow, the `total` if it was asked for, and the answer as it came.

    `memory` holds what a later process must know: until when this method is to be left alone.
    """

    items: list[dict[str, Any]]
    has_more: bool
    total: int
    request: str
    body: bytes
    memory: dict[str, dict[str, Any]] = field(default_factory=dict)


class Client:
    """One Stack Exchange site through stackapi; asks nothing until its first `fetch`."""

    def __init__(self, settings: SourceSettings, study: Study, transport: Transport, key: str | None) -> None:
        self.site = site_parameter(settings.site)
        self._settings = settings
        self._transport = transport
        self._key = key
        self._reserve = int(study.crawl.get("quota_reserve", 20))
        self._quota_left: int | None = None
        self._lane = ""
        self._answer = Answer(0, {}, b"")
        self._value: dict[str, Any] = {}
        self._known_sites: dict[str, Any] | None = None
        self.memory: dict[str, dict[str, Any]] = {}  # the back-off that the last answer asked for
        self._session = requests.Session()
        self._session.trust_env = not is_local(settings.url)
        self._session.headers["User-Agent"] = user_agent(study)
        self._redaction = _Redaction(key)
        logging.getLogger("urllib3.connectionpool").addFilter(self._redaction)
        self._stackapi = _own_stackapi(_Requests(self))
        self._api: Any = None

    @property
    def is_keyed(self) -> bool:
        """Whether requests carry a key."""
        return self._key is not None

    @property
    def quota_said(self) -> str:
        """What the last answer said of the quota."""
        return f"{self._value.get('quota_remaining')} of {self._value.get('quota_max')} requests are left"

    def open_site(self, remembered: dict[str, Any] | None) -> dict[str, Any]:
        """Make the API client and return what to remember of the site; asks only if nothing is remembered."""
        self._known_sites = remembered
        try:
            self._api = self._call(
                self._stackapi.StackAPI,
                self.site,
                version=VERSION,
                base_url=self._settings.url,
                max_pages=1,
                page_size=PAGE_SIZE,
                key=self._key,
            )
        except ValueError:
            raise Refused(
                f"{self._settings.name}: there is no Stack Exchange site {self.site!r};"
                " check its `site` in the study"
            ) from None
        return {"items": [{"api_site_parameter": self.site, "name": self._api._name}]}

    def create_filter(self, lookup: Lookup, include: Sequence[str], **more: str) -> str:
        """Return the id of the filter that adds `include` to the default fields; `more` is sent as well."""
        self._lane = "filters/create"
        self._honour(self._lane, lookup)
        # Not through stackapi, which would add site and paging to a method that documents neither.
        parameters = {"base": "default", "include": ";".join(include), "unsafe": "false", **more}
        if self._key:
            parameters["key"] = self._key
        self.get(f"{self._settings.url}/{VERSION}/filters/create", parameters)
        if "error_id" in self._value:
            raise self._refusal(self._value.get("error_id"), self._value.get("error_message"))
        try:
            return str(self._value["items"][0]["filter"])
        except (LookupError, TypeError):
            raise Malformed(f"{self._settings.name}: filters/create gave no filter") from None

    def fetch(self, method: str, lookup: Lookup, **parameters: Any) -> Fetched:
        """Return one page of a method (`questions/{ids}` takes `ids`); a server's back-off is kept first."""
        self._honour(method, lookup)
        result = self._call(self._api.fetch, method, **parameters)
        return Fetched(
            items=[item for item in result["items"] if isinstance(item, dict)],
            has_more=bool(result["has_more"]),
            total=int(result["total"]),
            request=_request(method, parameters),
            body=self._answer.body,
            memory=self.memory,
        )

    def close(self) -> None:
        """Close the connection."""
        logging.getLogger("urllib3.connectionpool").removeFilter(self._redaction)
        self._session.close()

    def _call(self, function: Any, *arguments: Any, **keywords: Any) -> Any:
        """Call stackapi; its errors, which show the key, become ours, which do not."""
        self._lane = arguments[0] if function is not self._stackapi.StackAPI else "sites"
        try:
            return function(*arguments, **keywords)
        except self._stackapi.StackAPIError as error:
            refusal = self._refusal(error.error, error.message)
        raise refusal

    def _refusal(self, id: object, message: object) -> SourceError:
        text = self._redaction.redact(str(message)[:200])
        said = f"{self._settings.name}: {self._lane}: error {id}: {text}"
        if id in UNAUTHORIZED or (id == 400 and "key" in text):
            return Unauthorized(f"{said}; check NANMINE_STACKEXCHANGE_KEY")
        return Refused(said)

    # What stackapi asks with.

    def get(self, url: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON object that a good answer holds; the remembered site costs no request."""
        if self._known_sites is not None and url.endswith("/sites/"):
            return self._known_sites
        if self._quota_left is not None and self._quota_left <= self._reserve:
            raise QuotaExhausted(
                f"{self._settings.name}: {self._quota_left} requests of the day's quota are left and [crawl] "
                f"quota_reserve keeps {self._reserve}; everything is kept, run again tomorrow to resume"
            )
        what = urlsplit(url).path[:200]
        self._answer = self._transport.ask(lambda: self._send(url, parameters), self._judge, what, self._lane)
        self._transport.space(self._lane, SPACING)
        self._note_quota()
        self.memory = self._back_off(self._lane)
        return self._value

    def _send(self, url: str, parameters: Mapping[str, Any]) -> Answer:
        try:
            with self._session.get(
                url, params=dict(parameters), timeout=TIMEOUT, stream=True, allow_redirects=False
            ) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                refuse_stacked_encodings(headers)
                return Answer(response.status_code, headers, collect(response.iter_content(65_536)))
        except requests.RequestException as error:
            raise NetworkFault(_fault(error)) from None

    def _judge(self, answer: Answer) -> Judgement:
        """Decide by the body first, then by what kind of body it is, then by the status."""
        try:
            value = read_json(answer.body)
        except TooMuch:
            raise
        except Malformed as error:
            return self._judge_no_json(answer, str(error))
        if isinstance(value, dict) and "error_id" in value:
            self._value = value
            return self._judge_error(value)
        sound = isinstance(value, dict) and (isinstance(value.get("items"), list) or "total" in value)
        if answer.status != 200 or not sound:
            return Again(f"HTTP {answer.status} without items")
        self._value = value
        return Accepted()

    def _judge_no_json(self, answer: Answer, complaint: str) -> Judgement:
        if 300 <= answer.status < 400 or answer.status == 404:
            raise Refused(
                f"{self._settings.name}: HTTP {answer.status} from {self._settings.url}, which is no"
                " Stack Exchange API; check NANMINE_STACKEXCHANGE_URL"
            )
        again_at = retry_after(answer.headers, self._transport.clock.now())
        at_least = BAN_WAIT if answer.status == 429 else 0.0
        return Again(f"HTTP {answer.status}: {complaint}", until=again_at, at_least=at_least)

    def _judge_error(self, value: dict[str, Any]) -> Judgement:
        message = str(value.get("error_message"))
        banned = BANNED.search(message)
        if banned:
            until = self._transport.clock.now() + timedelta(seconds=int(banned[1]))
            return Again("the day's requests are used up", limit="the request quota", until=until)
        if value["error_id"] in TRANSIENT:
            at_least = BAN_WAIT if value["error_id"] == 502 else 0.0
            return Again(f"error {value['error_id']}: {message[:200]}", at_least=at_least)
        return Accepted()  # stackapi reads it and raises

    def _note_quota(self) -> None:
        left = self._value.get("quota_remaining")
        if isinstance(left, int):
            self._quota_left = left
            self._transport.watcher.quota(self._settings.name, "requests a day", left)

    def _back_off(self, method: str) -> dict[str, dict[str, Any]]:
        """Hold the method for as long as the answer asks, and one second more; return what to remember."""
        seconds = self._value.get("backoff")
        if not isinstance(seconds, int | float) or not 0 < seconds < 1e7:
            return {}
        until = self._transport.clock.now() + timedelta(seconds=math.ceil(seconds) + 1)
        self._transport.hold(method, until, f"the back-off of {method}")
        return {f"backoff {method}": {"until": until.isoformat()}}

    def _honour(self, method: str, lookup: Lookup) -> None:
        """Keep a back-off that a former process was asked for."""
        remembered = lookup.memory(f"backoff {method}")
        if remembered:
            until = datetime.fromisoformat(remembered["until"])
            self._transport.hold(method, until, f"the back-off of {method}")


def site_parameter(site: str) -> str:
    """Return what the API calls the site at `site`: `stackoverflow`, `stats`, `mathoverflow.net`."""
    host = (urlsplit(site).hostname or "").removeprefix("www.")
    return host.removesuffix(".stackexchange.com").removesuffix(".com")


def _request(method: str, parameters: Mapping[str, Any]) -> str:
    """Return what was asked, for the record: the key is never among `parameters`."""
    ids = parameters.get("ids")
    path = method.replace("{ids}", ";".join(map(str, ids))) if ids is not None else method
    query = {name: value for name, value in sorted(parameters.items()) if name != "ids"}
    return f"GET /{VERSION}/{path}?{urlencode(query)}"


def _fault(error: requests.RequestException) -> str:
    """Return what happened in words: the exception's own text shows the whole URL."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return "the answer broke off"


def _own_stackapi(asker: _Requests) -> ModuleType:
    """Return a copy of stackapi for us alone, so that changing what it asks with changes nobody else's."""
    spec = importlib.util.find_spec("stackapi.stackapi")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.requests = asker  # type: ignore[attr-defined]
    module.sleep = lambda seconds: None  # type: ignore[attr-defined]  # the transport waits, visibly
    return module


class _Requests:
    """Stands for the `requests` module inside stackapi."""

    compat = requests.compat
    exceptions = requests.exceptions

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, url: str, params: Mapping[str, Any], proxies: object = None) -> _Response:
        return _Response(self._client.get(url, params))


@dataclass
class _Response:
    """Stands for a response inside stackapi; its `url` is empty, so that no error can show the key."""

    value: dict[str, Any]
    url: str = ""
    encoding: str = ""

    def json(self) -> dict[str, Any]:
        return self.value


class _Redaction(logging.Filter):
    """Takes the key out of what urllib3 logs about each request."""

    def __init__(self, key: str | None) -> None:
        super().__init__()
        self._key = key

    def redact(self, text: str) -> str:
        """Return `text` without the key, as it is or as a URL shows it."""
        for key in (self._key, quote_plus(self._key or "")):
            text = text.replace(key, "***") if key else text
        return text

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, the key taken out."""
        record.msg, record.args = self.redact(record.getMessage()), ()
        return True
