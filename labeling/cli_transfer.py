"""`nanmine label import`, `export`, `bundle …` and `verify`."""

from __future__ import annotations

from pathlib import Path

import click

from db.errors import NanmineError
from labeling.command_line import acting, desk_of, say
from pipeline.errors import InputError
from pipeline.files import write_whole

INPUT = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT = click.Path(dir_okay=False, path_type=Path)
SHOWN = 20
FORMATS = ("jsonl", "csv", "label-studio", "label-studio-config", "doccano")


def write(text: str, out: Path | None) -> None:
    """Write to a file, or to standard output with terminal controls taken out."""
    if out is None:
        say(text.removesuffix("\n"))
    else:
        write_whole(out, text)


@click.command("import")
@click.argument("file", type=INPUT)
@click.option("--strict", is_flag=True, help="Import nothing if any line cannot be used.")
@acting
def import_command(context: click.Context, file: Path, strict: bool) -> None:
    """Load labels from FILE: CSV or JSON Lines, one final label a thread or one row an annotator."""
    from labeling.importing import import_labels

    with desk_of(context) as desk:
        report = import_labels(desk, file, strict=strict)
    for line in report.skipped[:SHOWN]:
        click.echo(f"skipped {line}", err=True)
    if len(report.skipped) > SHOWN:
        click.echo(f"skipped {len(report.skipped) - SHOWN} more", err=True)
    if report.left_out:
        click.echo(f"left out: {report.left_out} memos or passages that belong to no post", err=True)
    say(f"{report.changed} imported, {report.unchanged} unchanged, {len(report.skipped)} lines skipped")
    if report.skipped and not (report.changed or report.unchanged):
        raise InputError(f"no line could be used; the first: {report.skipped[0]}")


@click.command("export")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="jsonl", show_default=True)
@click.option("--annotators", is_flag=True, help="Each annotator's own labels, not the final ones.")
@click.option("--out", type=OUTPUT, help="A file; else standard output.")
@acting
def export_command(context: click.Context, format_: str, annotators: bool, out: Path | None) -> None:
    """Write the study's final labels, or each annotator's own; those of active drawing stay out."""
    from labeling import exporting, interop

    with desk_of(context, writing=False) as desk:
        if format_ == "label-studio":
            text = interop.to_label_studio(desk)
        elif format_ == "label-studio-config":
            text = interop.label_studio_config(desk.study.codebook) + "\n"
        elif format_ == "doccano":
            text = interop.to_doccano(desk)
        else:
            rows = exporting.annotator_rows(desk) if annotators else exporting.final_rows(desk)
            columns = exporting.OWN if annotators else exporting.FINAL
            text = exporting.as_csv(rows, columns) if format_ == "csv" else exporting.as_jsonl(rows)
    write(text, out)


@click.group("bundle")
def bundle_group() -> None:
    """Exchange labels between machines that share no database."""


@bundle_group.command("out")
@click.argument("file", type=OUTPUT)
@acting
def bundle_out(context: click.Context, file: Path) -> None:
    """Write every event to FILE."""
    from labeling.bundle import bundle_lines

    with desk_of(context, writing=False) as desk:
        lines = bundle_lines(desk.session, desk.name)
    write("".join(f"{line}\n" for line in lines), file)
    say(f"{len(lines)} events in {file}")


@bundle_group.command("in")
@click.argument("file", type=INPUT)
@acting
def bundle_in(context: click.Context, file: Path) -> None:
    """Add the events of FILE that are not here; forks are reported, never settled."""
    from labeling.bundle import merge_bundle

    with desk_of(context) as desk:
        report = merge_bundle(desk.session, file)
    for url in report.missing_threads[:SHOWN]:
        click.echo(f"thread {url} is not in this database; its labels wait for it", err=True)
    for url, handle in report.forks:
        click.echo(f"fork: {handle} labelled {url} on two machines; label it once more", err=True)
    say(f"{report.added} events added, {report.known} known, {len(report.forks)} forks")


@click.command("verify")
@acting
def verify(context: click.Context) -> None:
    """Check the chain of hashes and that every label fits its codebook."""
    from labeling.verifying import problems

    with desk_of(context, writing=False) as desk:
        found = problems(desk)
        number = len(desk.history.events)
    for line in found:
        click.echo(line, err=True)
    if found:
        raise NanmineError(f"label verify: {len(found)} problems in {number} events")
    say(f"{number} events, every hash and every label holds")
