"""`nanmine deploy`: crawl on a schedule, in one process or through a work pool."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from db.errors import NanmineError, UsageError
from pipeline.context import database_of

if TYPE_CHECKING:
    from prefect.schedules import Schedule
    from prefect.types.entrypoint import EntrypointType


@click.group()
def deploy() -> None:
    """Crawl on a schedule: `serve` needs nothing else, `apply` a Prefect server and a worker."""


@deploy.command()
@click.option("--cron", required=True, metavar="CRON", help="When to crawl, in UTC, such as '17 2 * * *'.")
@click.option("--max-wait", type=click.FloatRange(min=0), metavar="SECONDS", help="As in `nanmine crawl`.")
@click.pass_context
def serve(context: click.Context, cron: str, max_wait: float | None) -> None:
    """Stay, and crawl whenever CRON says; a crawl that is due while one runs waits its turn."""
    database_of(context)  # a database that cannot be used is said before anything starts
    pass_on(context.find_root().params)
    from flows.engine import prefect_server

    with prefect_server() as url:
        click.echo(f"schedules are kept by the Prefect server at {url}", err=True)
        from flows.crawl import crawl

        crawl.serve(
            name="scheduled",
            schedule=_schedule(cron),
            parameters={"max_wait": max_wait},
            limit=1,
            global_limit=1,
        )


def pass_on(flags: dict[str, str | None]) -> None:
    """Put the root command's flags where the flow runs, which are processes of their own, look for them."""
    for flag, variable in (("study", "NANMINE_STUDY"), ("database", "NANMINE_DATABASE_URL")):
        value = flags.get(flag)
        if value:
            os.environ[variable] = str(Path(value).resolve()) if flag == "study" else value


def _schedule(cron: str) -> Schedule:
    from flows import engine  # noqa: F401  (sets Prefect's defaults before it is imported)

    from prefect.schedules import Cron  # isort: skip

    try:
        return Cron(cron, timezone="UTC")
    except ValueError:
        raise UsageError(
            f"--cron {cron!r} is not a schedule; write five fields such as '17 2 * * *'"
        ) from None


def _module_path() -> EntrypointType:
    """Return the kind of entrypoint that works from every folder and loads no second copy of the flow."""
    from prefect.types.entrypoint import EntrypointType

    return EntrypointType.MODULE_PATH


@deploy.command()
def apply() -> None:
    """Create the deployments of ./prefect.yaml, and their work pool, on the server of PREFECT_API_URL."""
    if not os.environ.get("PREFECT_API_URL"):
        raise UsageError(
            "PREFECT_API_URL is not set; start a server with `prefect server start` and name it there"
        )
    if not Path("prefect.yaml").is_file():
        raise UsageError(
            "prefect.yaml is not in this folder; run this in a checkout, or copy the checkout's here"
        )
    _prefect("work-pool", "create", "nanmine", "--type", "process", "--overwrite")
    _prefect("deploy", "--all")
    click.echo("deployed; start a worker with: prefect worker start --pool nanmine")


def _prefect(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", *words], check=False)  # noqa: S603
    if done.returncode:
        raise NanmineError(f"prefect {words[0]} failed; its own message stands above")
