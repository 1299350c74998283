"""`nanmine crawl` and `nanmine hydrate`."""

from __future__ import annotations

from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import click

from db.errors import UsageError
from pipeline.context import database_of, settings_of
from pipeline.settings import Settings


class Moment(click.ParamType[datetime]):
    """A day (2020-07-31) or an RFC 3339 time; a day as an upper bound lasts until its last second."""

    name = "date"

    def __init__(self, end: bool = False) -> None:
        self._end = end

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> datetime:
        """Return the aware UTC time."""
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            self.fail(f"{value!r} is neither a day like 2020-07-31 nor an RFC 3339 time", param, context)
        if len(value) == len("2020-07-31") and self._end:
            moment = datetime.combine(moment, time(23, 59, 59))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


MAX_WAIT = click.option(
    "--max-wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="The longest single wait for a quota; a longer one stops the run, resumable (exit 5).",
)


@click.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option("--since", type=Moment(), help="Only threads created on or after DATE.")
@click.option("--until", type=Moment(end=True), help="Only threads created on or before DATE.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many threads a source.")
@MAX_WAIT
@click.pass_context
def crawl(
    context: click.Context,
    sources: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
    max_wait: float | None,
) -> None:
    """Crawl the study's sources, or those named; go on where a former run stopped."""
    settings = settings_of(context)
    if since is not None and until is not None and since > until:
        raise UsageError(f"--since {since:%Y-%m-%d %H:%M:%S} is after --until {until:%Y-%m-%d %H:%M:%S}")
    names = _known_sources(settings, sources)
    database_of(context)  # a database that cannot be used is said before anything starts
    from flows.crawl import crawl as crawl_flow
    from flows.engine import surround
    from flows.progress import CrawlProgress

    with CrawlProgress() as progress:
        surround(settings, progress)
        state = crawl_flow(names, since, until, limit, max_wait, return_state=True)
    report(state.result())


def report(counts: dict[str, Any]) -> None:
    """Print what a crawl counted, a line a source."""
    for name, found in counts.items():
        threads = found["threads"]
        rate = f", {found['requests'] * 1000 / threads:.0f} per 1,000 threads" if threads else ""
        rest = "".join(f", {found[key]} {key}" for key in ("gone", "truncated") if found[key])
        click.echo(
            f"{name}: {threads} threads, {found['new']} new, {found['changed']} changed{rest};"
            f" {found['requests']} requests{rate}"
        )


def _known_sources(settings: Settings, names: tuple[str, ...]) -> list[str]:
    for name in names:
        if name not in settings.study.sources:
            raise UsageError(f"source {name!r}: the study has {', '.join(settings.study.sources)}")
    return list(names or settings.study.sources)


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--stratum", metavar="CODE", help="The stratum that every thread of the files belongs to.")
@MAX_WAIT
@click.pass_context
def hydrate(
    context: click.Context, files: tuple[Path, ...], stratum: str | None, max_wait: float | None
) -> None:
    """Fetch exactly the threads whose URLs FILES list: one a line, or anywhere in Markdown or CSV."""
    from flows.progress import CrawlProgress
    from pipeline.hydrate import hydrate_files

    settings = settings_of(context)
    if stratum is not None:
        settings.study.stratum(stratum)
    with CrawlProgress() as progress:
        outcomes = hydrate_files(database_of(context), settings, files, stratum, progress, max_wait)
    click.echo(", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items())))
