"""`nanmine propose`: train, run, evaluate, suspects."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pipeline.context import database_of, settings_of

MODEL = click.option(
    "--model",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The model's file; beside the database unless given.",
)


@click.group()
def propose() -> None:
    """Propose validity, root cause and fix pattern for each thread."""


@propose.command()
@MODEL
@click.pass_context
def train(context: click.Context, model: Path | None) -> None:
    """Train on every final label, and write the model with its card."""
    from flows.progress import counting
    from pipeline.proposing import train_model

    with counting("texts") as progress:
        path = _path(context, model)
        card = train_model(database_of(context), settings_of(context).study, path, progress=progress)
    click.echo(f"{path}: {card['labels']} labels, {card['valid']} valid, digest {card['digest'][:12]}")


@propose.command()
@MODEL
@click.option("--refresh", is_flag=True, help="First learn the labels made since, as the last model did.")
@click.pass_context
def run(context: click.Context, model: Path | None, refresh: bool) -> None:
    """Propose with the trained model, or with the codebook's cues before there is one.

    --refresh keeps the settings that `propose train` chose, and says when labels have grown by a half since.
    """
    from flows.progress import counting
    from pipeline import proposing

    with counting("texts") as progress:
        path = _path(context, model)
        propose_all = proposing.refresh if refresh else proposing.propose
        name, count = propose_all(database_of(context), settings_of(context).study, path, progress)
    click.echo(f"{count} proposals by {name}")
    if refresh and (advice := proposing.training_advice(database_of(context))):
        click.echo(advice, err=True)


def _path(context: click.Context, model: Path | None) -> Path:
    from pipeline.proposing import default_model_path

    return model or default_model_path(settings_of(context).database_url)


@propose.command()
@click.option("--repeats", type=click.IntRange(1, 100), default=10, show_default=True, help="Of five folds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def evaluate(context: click.Context, repeats: int, as_json: bool) -> None:
    """Cross-validate on the final labels, beside four baselines in the same folds.

    The figures go onto the card of the model that was trained on the same labels, for the report.
    """
    from pipeline.evaluate import evaluation_lines
    from pipeline.proposing import evaluate_labels

    study = settings_of(context).study
    figures, model = evaluate_labels(
        database_of(context), study, repeats=repeats, progress=lambda line: click.echo(line, err=True)
    )
    click.echo(json.dumps(figures, indent=2) if as_json else "\n".join(evaluation_lines(figures)))
    kept = f"on the card of {model}" if model else "not kept: no model was trained on just these labels"
    click.echo(f"figures {kept}", err=True)


@propose.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many to list.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def suspects(context: click.Context, limit: int, as_json: bool) -> None:
    """List final labels that a model which has not seen them finds least likely."""
    from pipeline.evaluate import suspects as find_suspects
    from pipeline.proposing import read_labelled

    study = settings_of(context).study
    labelled = read_labelled(database_of(context), study)
    found = find_suspects(labelled.examples, study.codebook)[:limit]
    rows = [{"url": labelled.references[row].url, **suspect} for row, suspect in found]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['probability']:.3f}  {row['label']:20}  rather {row['rather']:20}  {row['url']}")
