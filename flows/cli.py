"""The `nanmine` command: one lazy group, so that help and labeling load nothing heavy."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache

import click

from db.errors import NanmineError
from pipeline.lazy_group import LazyGroup
from pipeline.settings import Settings, load_settings

# name: (where the command is, its line in the help)
COMMANDS = {
    "demo": ("flows.commands.demo:demo", "Run the whole study, offline, against the bundled sandbox."),
    "sandbox": ("flows.commands.sandbox:sandbox", "Serve local copies of the three services until stopped."),
    "crawl": ("flows.commands.crawl:crawl", "Crawl the sources; resume what a former run left."),
    "hydrate": ("flows.commands.crawl:hydrate", "Fetch exactly the threads whose URLs the files list."),
    "import": ("flows.commands.threads:import_threads", "Load threads from JSON Lines files."),
    "status": ("flows.commands.threads:status", "Count threads, candidates, labels and work left."),
    "doctor": (
        "flows.commands.doctor:doctor",
        "Ask each live service whether it still does what we rely on.",
    ),
    "label": ("labeling.cli:label", "Label threads: draw, decide, check, adjudicate, agree."),
    "propose": ("flows.commands.propose:propose", "Propose validity, root cause and fix pattern."),
    "tables": ("flows.commands.tables:tables", "Print the study's tables from the labels in the database."),
    "report": ("flows.commands.report:report", "Write one self-contained HTML page of the study."),
    "export": (
        "flows.commands.export:export",
        "Export threads, matches, labels, proposals, events or a bundle.",
    ),
    "verify": ("flows.commands.verify:verify", "Check a replication package."),
    "db": ("flows.commands.database:db", "Migrate and check the database."),
    "deploy": ("flows.commands.deploy:deploy", "Schedule crawls."),
}


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--study", metavar="FILE", help="The study file; else NANMINE_STUDY, ./study.toml, the bundled study."
)
@click.option(
    "--database", metavar="URL", help="The database; else NANMINE_DATABASE_URL, study.toml, ./nanmine.db."
)
@click.option("--as", "annotator", metavar="HANDLE", help="Who labels; else NANMINE_ANNOTATOR.")
@click.version_option(package_name="nanmine")
@click.pass_context
def nanmine(context: click.Context, study: str | None, database: str | None, annotator: str | None) -> None:
    """Mine issues and forum posts for bugs of one kind, label them, propose root causes, count."""

    @cache
    def settings() -> Settings:
        return load_settings(os.environ, study=study, database=database, annotator=annotator)

    context.obj = {"settings": settings}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with the exit code of what happened."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors are one line on standard error."""
    try:
        code = nanmine.main(arguments, prog_name="nanmine", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _fail("stopped; what was done is kept", 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except NanmineError as error:
        return _fail(str(error), error.exit_code, error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", 1, error)
    except Exception as error:  # noqa: BLE001 (no person should meet a traceback)
        return _fail(f"unexpected {type(error).__name__}: {error}; NANMINE_DEBUG=1 shows where", 1, error)


def _fail(message: str, code: int, error: Exception | None = None) -> int:
    if error is not None and os.environ.get("NANMINE_DEBUG") == "1":
        raise error
    click.echo(f"nanmine: {' '.join(message.split())}", err=True)
    return code


if __name__ == "__main__":
    main()
