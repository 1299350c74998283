"""The sources: one module for each service, opened by the name that the study gives them."""

from __future__ import annotations

from pipeline.errors import StudyError
from pipeline.settings import Settings
from pipeline.sources.base import Source
from pipeline.sources.checkup import Answer
from pipeline.transport import Transport


def _open_github(name: str, settings: Settings, transport: Transport) -> Source:
    from pipeline.sources.github import GitHub

    return GitHub(settings.study.sources[name], settings.study, transport, settings.github_tokens)


def _open_stackexchange(name: str, settings: Settings, transport: Transport) -> Source:
    from pipeline.sources.stackexchange import StackExchange

    return StackExchange(settings.study.sources[name], settings.study, transport, settings.stackexchange_key)


def _open_discourse(name: str, settings: Settings, transport: Transport) -> Source:
    from pipeline.sources.discourse import Discourse

    return Discourse(settings.study.sources[name], settings.study, transport)


# Each one imports its client library only when it is opened.
SERVICES = {"github": _open_github, "stackexchange": _open_stackexchange, "discourse": _open_discourse}


def open_source(name: str, settings: Settings, transport: Transport) -> Source:
    """Open the source that the study calls `name`; StudyError if there is none."""
    source = settings.study.sources.get(name)
    if source is None:
        known = ", ".join(settings.study.sources) or "none"
        raise StudyError(f"source {name!r}: the study has {known}")
    return SERVICES[source.service](name, settings, transport)


def questions_of(name: str, settings: Settings, transport: Transport) -> list[Answer]:
    """Ask the service what we rely on, for the doctor: (question, whether it holds, what was seen)."""
    source, study = settings.study.sources[name], settings.study
    if source.service == "github":
        from pipeline.sources.github_doctor import answers_of as ask_github

        return ask_github(source, study, transport, settings.github_tokens)
    if source.service == "stackexchange":
        from pipeline.sources.stackexchange_doctor import answers_of as ask_stackexchange

        return ask_stackexchange(source, study, transport, settings.stackexchange_key)
    from pipeline.sources.discourse_doctor import answers_of as ask_discourse

    return ask_discourse(source, study, transport)
