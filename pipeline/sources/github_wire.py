"""The connection that PyGithub's requester is handed: one session, bounded bodies, no redirects.

PyGithub builds and signs the request; what comes back is kept here as bytes, before PyGithub could
guess its encoding, follow a redirect without the query, sleep on a 202 or read limits of its own.
"""

from __future__ import annotations

from collections.abc import ItemsView
from typing import Any
from urllib.parse import urlsplit

import requests
from github.Requester import HTTPRequestsConnectionClass, Requester, RequestsResponse

from pipeline.payloads import collect
from pipeline.sources.manners import is_local, refuse_stacked_encodings
from pipeline.transport import Answer, NetworkFault

TIMEOUT = 20  # seconds to connect, and for each read
CHUNK = 64 * 1024


class Wire(HTTPRequestsConnectionClass):
    """A connection to one host; `send` is the only way to use it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        super().__init__(f"[{host}]" if ":" in host else host, port, timeout=TIMEOUT)
        self.protocol = parts.scheme
        self.session.mount("https://", self.adapter)
        self.session.trust_env = not is_local(url)  # a proxy of the environment is not for this machine
        self._answer: Answer | None = None

    def send(self, requester: Requester, verb: str, url: str, **what: Any) -> Answer:
        """Send one request through `requester` and return the answer, whatever its status.

        Raises NetworkFault when no whole answer came, and TooMuch for one that is too large.
        """
        try:
            requester.requestJson(verb, url, cnx=self, **what)
        except requests.RequestException as error:
            raise NetworkFault(f"no whole answer ({type(error).__name__})") from None
        assert self._answer is not None
        return self._answer

    def getresponse(self) -> RequestsResponse:
        """Ask, read within bounds, keep the answer, and give PyGithub nothing to act on."""
        url = f"{self.protocol}://{self.host}:{self.port}{self.url}"
        with self.session.request(
            self.verb,
            url,
            headers=self.headers,
            data=self.input,
            timeout=self.timeout,
            allow_redirects=False,
            stream=True,
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            refuse_stacked_encodings(headers)
            body = collect(response.iter_content(CHUNK))
            self._answer = Answer(response.status_code, headers, body)
        return _Unread(response)

    def hang_up(self) -> None:
        """Close the session; PyGithub's own `close` is not called on it."""
        self.session.close()


class _Unread(RequestsResponse):
    """Shows PyGithub an empty 200, whatever came: judging the answer is the client's."""

    def __init__(self, response: requests.Response) -> None:
        super().__init__(response)
        self.status = 200

    def getheaders(self) -> ItemsView[str, str]:
        return {}.items()

    def read(self) -> str:
        return ""
