"""`nanmine demo`: the whole study, offline, in the commands that a study is made of."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path

import click

from db.errors import UsageError

NAME = "numerical-bugs-demo"
STUDY = f"""\
# The bundled study, on the small world of the sandbox: smaller quotas, labelled twice and blind.

[study]
name = "{NAME}"

[labeling]
protocol = "blind_double"
seed = 20220731
pilot_size = 0
batch = 5

[database]
url = "sqlite:///demo.db"

[[strata]]
code = "TI"
title = "TensorFlow issues"
source = "github"
library = "tensorflow"
quota = 15

[[strata]]
code = "TP"
title = "TensorFlow posts"
source = "stackoverflow"
library = "tensorflow"
quota = 15

[[strata]]
code = "PI"
title = "PyTorch issues"
source = "github"
library = "pytorch"
quota = 15

[[strata]]
code = "PP"
title = "PyTorch posts"
source = "pytorch-forums"
library = "pytorch"
quota = 15
"""


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="The folder of the demo: its study, database, tables and report.",
)
@click.option("--serve", is_flag=True, help="Keep the sandbox running and serve the report until Ctrl-C.")
def demo(out: Path, serve: bool) -> None:
    """Run the whole study, offline, against the bundled sandbox, with simulated annotators."""
    from pipeline.sandbox import Sandbox

    folder = prepare(out)
    with Sandbox(**RELAXED) as sandbox, chdir(folder), _environment(sandbox.urls):
        _step("crawl")
        _label()
        _step("status")
        _step("label", "agree")
        _step("propose", "train")
        _step("propose", "evaluate")
        _step("propose", "run")
        _step("tables", "--out", "tables", "--format", "md,csv,tex,json")
        _step("report", "--out", "report.html")
        _step("tables", "--format", "md")
        click.echo(f"\nEverything is in {folder}: study.toml, demo.db, tables/, report.html")
        if serve:
            _serve(folder / "report.html", sandbox.urls)


# The demo must not wait for limits that are there to be waited for; the tests do.
RELAXED = {"pytorch_forums": {"per_ten_seconds": None, "per_minute": None}}


def prepare(out: Path) -> Path:
    """Return the demo's folder with its study and no database; refuse a folder that holds something else."""
    folder = out.resolve()
    if folder.exists() and any(folder.iterdir()) and not _is_demo(folder / "study.toml"):
        raise UsageError(f"{out}: is not empty and no demo; name another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    for name in ("demo.db", "demo.db-wal", "demo.db-shm"):
        (folder / name).unlink(missing_ok=True)
    return folder


def _is_demo(study: Path) -> bool:
    try:
        return bool(tomllib.loads(study.read_text(encoding="utf-8"))["study"]["name"] == NAME)
    except (OSError, ValueError, KeyError):
        return False


@contextmanager
def _environment(urls: dict[str, str]) -> Iterator[None]:
    """Point every command at the sandbox and at the study of this folder, whatever was set outside."""
    before = dict(os.environ)
    names = ("NANMINE_DATABASE_URL", "NANMINE_STACKEXCHANGE_KEY", "NANMINE_ANNOTATOR", "GITHUB_TOKEN")
    for name in names:
        os.environ.pop(name, None)
    os.environ |= {
        "NANMINE_STUDY": "study.toml",
        "NANMINE_PACE": "0",
        "NANMINE_GITHUB_TOKEN": "sandbox",
        "NANMINE_GITHUB_URL": urls["github"],
        "NANMINE_STACKEXCHANGE_URL": urls["stackoverflow"],
        "NANMINE_FORUM_URL": urls["pytorch-forums"],
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _step(*arguments: str) -> None:
    """Run one command of the study, as a person would type it."""
    from flows.cli import nanmine

    click.secho(f"\n$ nanmine {' '.join(arguments)}", bold=True)
    nanmine.main(arguments, prog_name="nanmine", standalone_mode=False)


def _label() -> None:
    """Let the simulated people label everything."""
    from db.engine import open_database
    from labeling.simulate import ADJUDICATOR, ANNOTATORS, Simulation
    from pipeline.settings import load_settings

    settings = load_settings(os.environ)
    database = open_database(settings.database_url)
    try:
        acts = Simulation(database, settings.study, right_labels()).run()
    finally:
        database.close()
    people = f"{' and '.join(ANNOTATORS)}, settled by {ADJUDICATOR}"
    click.secho(f"\n# {acts} acts of simulated people: {people}", bold=True)
