"""A doctor's visit to a service: questions asked one after the other, within a number of requests."""

from __future__ import annotations

from collections.abc import Callable

from db.errors import NanmineError
from pipeline.transport import Transport

Answer = tuple[str, bool | None, str]  # the question, whether it holds (None: not known), what was seen
Check = Callable[[], tuple[bool | None, str]]
LAST_START = 9  # requests after which no question is begun: one may take six tries, and 15 are allowed


class Visit:
    """Asks questions and keeps the answers; an error, or too many requests, leaves a question unknown."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.answers: list[Answer] = []

    def ask(self, question: str, check: Check) -> None:
        """Add the answer to one question."""
        if self._transport.requests > LAST_START:
            self.answers.append((question, None, "not asked: enough requests were spent"))
            return
        try:
            holds, detail = check()
        except NanmineError as error:
            holds, detail = None, str(error)
        self.answers.append((question, holds, detail))

    def leave(self, question: str, reason: str) -> None:
        """Add a question that no request can answer."""
        self.answers.append((question, None, reason))
