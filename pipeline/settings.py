"""The settings of one command: study, database, tokens and pace, first that is set wins.

One frozen value is built where the command starts and handed down whole; nothing else reads the
environment. Its repr shows no secret.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from db.errors import UsageError
from pipeline.study import Study, load_study

URL_VARIABLES = {
    "github": "NANMINE_GITHUB_URL",
    "stackexchange": "NANMINE_STACKEXCHANGE_URL",
    "discourse": "NANMINE_FORUM_URL",
}


@dataclass(frozen=True)
class Settings:
    """What a command runs with; `pace` scales the waits that are ours to choose."""

    study: Study = field(repr=False)
    database_url: str = field(repr=False)
    github_tokens: tuple[str, ...] = field(default=(), repr=False)
    stackexchange_key: str | None = field(default=None, repr=False)
    pace: float = 1.0
    annotator: str | None = None


def load_settings(
    environment: Mapping[str, str],
    *,
    study: str | None = None,
    database: str | None = None,
    annotator: str | None = None,
) -> Settings:
    """Build the settings from flags, then the environment, then the study file, then defaults.

    `environment` is `os.environ` or what stands for it; the keyword arguments are the flags.
    """
    chosen = load_study(_study_path(environment, study))
    return Settings(
        study=_with_urls(chosen, environment),
        database_url=database or environment.get("NANMINE_DATABASE_URL") or chosen.database_url,
        github_tokens=_tokens(
            environment.get("NANMINE_GITHUB_TOKEN") or environment.get("GITHUB_TOKEN") or ""
        ),
        stackexchange_key=environment.get("NANMINE_STACKEXCHANGE_KEY") or None,
        pace=_pace(environment.get("NANMINE_PACE") or str(chosen.crawl.get("pace", 1))),
        annotator=annotator or environment.get("NANMINE_ANNOTATOR") or None,
    )


def _study_path(environment: Mapping[str, str], flag: str | None) -> Path | None:
    named = flag or environment.get("NANMINE_STUDY")
    if named:
        return Path(named)
    here = Path("study.toml")
    return here if here.is_file() else None


def _with_urls(study: Study, environment: Mapping[str, str]) -> Study:
    """Return the study with the API roots that the environment names.

    NANMINE_FORUM_URL moves the forum called `pytorch-forums`, or else the study's only forum.
    """
    sources = dict(study.sources)
    forums = [name for name, source in sources.items() if source.service == "discourse"]
    for name, source in study.sources.items():
        url = environment.get(URL_VARIABLES[source.service])
        other_forum = source.service == "discourse" and len(forums) > 1 and name != "pytorch-forums"
        if url and not other_forum:
            if not url.startswith(("https://", "http://")):
                raise UsageError(f"{URL_VARIABLES[source.service]}: {url!r} is not an http address")
            sources[name] = replace(source, url=url.rstrip("/"))
    return replace(study, sources=sources)


def _tokens(value: str) -> tuple[str, ...]:
    return tuple(token.strip() for token in value.split(",") if token.strip())


def _pace(value: str) -> float:
    try:
        pace = float(value)
    except ValueError:
        pace = math.nan
    if not (math.isfinite(pace) and pace >= 0):
        raise UsageError(f"pace {value!r}: NANMINE_PACE or [crawl] pace takes a number of 0 or more")
    return pace
