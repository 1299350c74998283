"""How a source behaves towards a service: who it says it is, and how it reaches a local one."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from pipeline.study import Study
from pipeline.transport import NetworkFault

TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds between two bytes


def user_agent(study: Study) -> str:
    """Return how requests name themselves: project, version and where to complain."""
    contact = study.crawl.get("user_agent_contact")
    return f"nanmine/{version('nanmine')}" + (f" (+{contact})" if contact else "")


def is_local(url: str) -> bool:
    """Say whether `url` is on this machine: then no proxy and no .netrc of the environment applies."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_stacked_encodings(headers: dict[str, str]) -> None:
    """Raise NetworkFault for a body that is packed more than once: a bomb, never an honest answer."""
    if "," in headers.get("content-encoding", ""):
        raise NetworkFault("an answer packed more than once")


def from_seconds(value: Any) -> datetime | None:
    """Return the time of a Unix time in seconds, or None for anything else."""
    try:
        return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else None
    except (OverflowError, OSError, ValueError):
        return None


def from_text(value: Any) -> datetime | None:
    """Return the time that an RFC 3339 text states (UTC if it names no zone), or None for anything else."""
    try:
        when = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
