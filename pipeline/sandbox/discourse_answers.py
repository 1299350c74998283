"""The forum's answers that are no pages: JSON, refusals, and the two shapes of its limits."""

from __future__ import annotations

import json
from typing import Any

from pipeline.sandbox.server import Response


class Refusal(Exception):
    """An answer that is an error page of the application."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.response = to_json({"errors": [message], "error_type": kind}, status)


def to_json(body: dict[str, Any], status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(status, json.dumps(body).encode(), {"Content-Type": "application/json; charset=utf-8"})


def middleware_limit(seconds: int, code: str) -> Response:
    """Return the 429 of the limiter before the application: plain text."""
    text = "Slow down, too many requests from this IP address. "
    text += f"Please retry again in {seconds} seconds. Error code: {code}."
    headers = {
        "Content-Type": "text/plain",
        "Retry-After": str(seconds),
        "Discourse-Rate-Limit-Error-Code": code,
    }
    return Response(429, text.encode(), headers)


def application_limit(seconds: int) -> Response:
    """Return the 429 of the application's own limiter: JSON."""
    body = {
        "errors": [
            f"You've performed this action too many times. Please wait {seconds} seconds before trying again."
        ],
        "error_type": "rate_limit",
        "extras": {"wait_seconds": seconds, "time_left": f"{seconds} seconds"},
    }
    response = to_json(body, 429)
    response.headers["Retry-After"] = str(seconds)
    return response


def not_found() -> Refusal:
    """Return the refusal of a page that does not exist."""
    return Refusal(404, "not_found", "The requested URL or resource could not be found.")


def invalid(what: str) -> Refusal:
    """Return the refusal of a parameter that is not understood."""
    return Refusal(400, "invalid_parameters", f"You supplied invalid parameters to the request: {what}")
