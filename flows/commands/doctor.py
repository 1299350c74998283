"""`nanmine doctor`: does each live service still do what we rely on?"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from pipeline.context import settings_of
from pipeline.errors import SourceError
from pipeline.files import write_whole


@click.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The dated JSON report; else ./doctor-DATE.json.",
)
@click.pass_context
def doctor(context: click.Context, sources: tuple[str, ...], out: Path | None) -> None:
    """Ask each live service the questions our crawl depends on, with at most 15 requests a source."""
    from flows.progress import CrawlProgress
    from pipeline.doctor import examine

    now = datetime.now(UTC)
    with CrawlProgress() as progress:
        report = examine(settings_of(context), sources, progress)
    path = out or Path(f"doctor-{now:%Y-%m-%d}.json")
    document = {"asked_at": now.isoformat(timespec="seconds"), "sources": report}
    write_whole(path, json.dumps(document, indent=2) + "\n")
    for name, found in report.items():
        click.echo(f"{name}: {found['requests']} requests")
        for answer in found["answers"]:
            mark = {True: "holds", False: "DOES NOT HOLD", None: "unknown"}[answer["holds"]]
            click.echo(f"  {mark}: {answer['question']} ({answer['detail']})")
    click.echo(f"written to {path}")
    wrong = [
        name for name, found in report.items() if any(answer["holds"] is False for answer in found["answers"])
    ]
    if wrong:
        raise SourceError(f"{', '.join(wrong)}: something we rely on does not hold; see {path}")
