"""Prefect as we run it: quiet, without telemetry unless asked for, with time to start.

Imported before Prefect by everything that needs it; a variable that is set already is kept.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from dataclasses import dataclass

from pipeline.settings import Settings, load_settings
from pipeline.transport import Watcher

DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "nanmine",
}
for _name, _value in DEFAULTS.items():
    os.environ.setdefault(_name, _value)


@dataclass(frozen=True)
class Surroundings:
    """What a command hands to the flows it runs; a flow that a schedule runs finds its own."""

    settings: Settings
    watcher: Watcher | None = None


_surroundings: ContextVar[Surroundings | None] = ContextVar("surroundings", default=None)


def surround(settings: Settings, watcher: Watcher | None = None) -> None:
    """Let the flows of this process use `settings`: secrets must not pass as flow parameters."""
    _surroundings.set(Surroundings(settings, watcher))


def surroundings() -> Surroundings:
    """Return what the command handed over, or the settings of the environment."""
    return _surroundings.get() or Surroundings(load_settings(os.environ))
