"""Ask the live services what the contracts could not settle; each source has its own questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.errors import StudyError
from pipeline.settings import Settings
from pipeline.sources import questions_of
from pipeline.transport import Transport, Watcher


def examine(settings: Settings, names: Sequence[str], watcher: Watcher) -> dict[str, Any]:
    """Return, for each source, the requests spent and the answers (question, holds or None, detail)."""
    report: dict[str, Any] = {}
    for name in names or list(settings.study.sources):
        if name not in settings.study.sources:
            raise StudyError(f"source {name!r}: the study has {', '.join(settings.study.sources)}")
        transport = Transport(name, watcher, pace=settings.pace, max_wait=60)
        answers = questions_of(name, settings, transport)
        report[name] = {
            "requests": transport.requests,
            "answers": [{"question": q, "holds": holds, "detail": detail} for q, holds, detail in answers],
        }
    return report
