"""`nanmine demo`: the whole study, offline, in the commands that a study is made of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import chdir, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click

import pipeline.sandbox
from db.errors import UsageError

NAME = "numerical-bugs-demo"
STUDY = Path(pipeline.sandbox.__file__).parent / "demo.toml"
DATABASE_FILES = ("demo.db", "demo.db-wal", "demo.db-shm")
# Limits are there to be waited for: the tests do, the demo has no time to.
RELAXED: dict[str, Any] = {
    "github": {"limits": {"search": (10_000, 10_000)}},
    "pytorch_forums": {"per_ten_seconds": None, "per_minute": None},
}

# What would lead the demo's commands elsewhere.
ELSEWHERE = (
    "NANMINE_DATABASE_URL",
    "NANMINE_STACKEXCHANGE_KEY",
    "NANMINE_ANNOTATOR",
    "GITHUB_TOKEN",
    "PREFECT_API_URL",
)


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
        _step("tables", "--out", "tables")
        _step("report", "--out", "report.html")
        click.echo(f"\nStudy, database, tables and report are in {folder}; cd there to go on with them.\n")
        click.echo(Path("tables/table1.md").read_text(encoding="utf-8"))
        if serve:
            _serve(folder / "report.html", sandbox.urls)


def prepare(out: Path) -> Path:
    """Return the demo's folder with its study and no database; refuse a folder that holds something else."""
    folder = out.resolve()
    if folder.exists() and any(folder.iterdir()) and not _is_demo(folder / "study.toml"):
        raise UsageError(f"{out}: is not empty and no demo; name another folder with --out")
    if _holds_work(folder / DATABASE_FILES[0]):
        raise UsageError(f"{out}: holds labels that people made; name another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(STUDY, folder / "study.toml")
    for name in DATABASE_FILES:
        (folder / name).unlink(missing_ok=True)
    return folder


def _is_demo(study: Path) -> bool:
    return study.is_file() and f'name = "{NAME}"' in study.read_text(encoding="utf-8")


def _holds_work(path: Path) -> bool:
    """Say whether somebody went on with a former demo and labelled in its database."""
    if not path.exists():
        return False
    from db.engine import open_database
    from db.label_events import read_history

    database = open_database(f"sqlite:///{path}")
    try:
        with database.reading() as session:
            return any(event.annotator and not event.simulated for event in read_history(session).events)
    finally:
        database.close()


@contextmanager
def _environment(urls: dict[str, str]) -> Iterator[None]:
    """Point every command at the sandbox and at the study of this folder, whatever was set outside."""
    before = dict(os.environ)
    for name in ELSEWHERE:
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
    from pipeline.sandbox.expected import right_labels
    from pipeline.sandbox.world import load_world
    from pipeline.settings import load_settings

    settings = load_settings(os.environ)
    database = open_database(settings.database_url)
    try:
        acts = Simulation(database, settings.study, right_labels(load_world())).run()
    finally:
        database.close()
    people = f"{' and '.join(ANNOTATORS)}, settled by {ADJUDICATOR}"
    click.secho(f"\n# {acts} acts of simulated people: {people}", bold=True)


def _serve(page: Path, urls: dict[str, str]) -> None:
    """Serve the report on loopback until Ctrl-C; the sandbox goes on as long."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server, suppress(KeyboardInterrupt):
        click.echo(f"Report: http://127.0.0.1:{server.server_address[1]}  (Ctrl-C ends)")
        click.echo("Sandbox: " + "  ".join(f"{name} {url}" for name, url in urls.items()))
        server.serve_forever()
