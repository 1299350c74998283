"""`nanmine label codebook`, `propose`, `proposals`, `agree`, `report`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from db.errors import NothingToDo, UsageError
from labeling.command_line import acting, desk_of, say, say_json
from labeling.taxonomy import (
    open_proposals,
    pending_changes,
    propose,
    resolve,
    seal,
    sealed_codebook,
    stale_threads,
    with_category,
)
from pipeline.codebook import Codebook
from pipeline.files import write_whole


@click.group("codebook", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@acting
def codebook_group(context: click.Context, as_json: bool) -> None:
    """Show the codebook; compare it with the sealed version; seal the next one."""
    if context.invoked_subcommand is None:
        _show(context, as_json)


@codebook_group.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@acting
def codebook_show(context: click.Context, as_json: bool) -> None:
    """Print the study's codebook with definitions and close calls."""
    _show(context, as_json)


def _show(context: click.Context, as_json: bool) -> None:
    from pipeline.context import settings_of

    book = settings_of(context).study.codebook
    if as_json:
        say_json({key: value for key, value in asdict(book).items() if key not in ("source", "cues")})
    else:
        say("\n".join(_book_lines(book)))


def _book_lines(book: Codebook) -> list[str]:
    lines = [book.name, "", f"Unit: {book.unit}", f"Valid: {book.valid}", "", "Not valid, with a reason:"]
    lines += [f"  {reason.code}: {reason.definition}" for reason in book.reasons]
    names = {type_.code: type_.name for type_ in book.types}
    for cause in book.causes:
        lines += ["", f"{cause.code}  {cause.name} ({names[cause.type]})", f"  {cause.definition}"]
        parts = (("include", cause.include), ("exclude", cause.exclude), ("example", cause.example))
        lines += [f"  {part}: {said}" for part, said in parts if said]
        lines.append(f"  fix patterns: {', '.join(book.fix_patterns_of(cause.code))}")
    lines += ["", "Close calls:"]
    return lines + [f"  {' / '.join(call.between)}: {call.rule}" for call in book.close_calls]


@codebook_group.command("diff")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@acting
def codebook_diff_command(context: click.Context, as_json: bool) -> None:
    """Say what the study's codebook changes against the version sealed last."""
    with desk_of(context, writing=False) as desk:
        change, sealed = pending_changes(desk), sealed_codebook(desk)
    if as_json:
        say_json(asdict(change))
    elif sealed is None:
        say("no version is sealed yet; the first act of labeling seals one")
    else:
        for name, codes in (
            ("added", change.added),
            ("removed", change.removed),
            ("changed", change.changed),
        ):
            say(f"{name}: {', '.join(codes) or '-'}")
        say(f"close calls, patterns or rules: {'changed' if change.rules_changed else 'as they were'}")


@codebook_group.command("seal")
@click.option(
    "--merge", "merges", multiple=True, metavar="OLD=NEW", help="A removed cause lives on in another."
)
@acting
def codebook_seal(context: click.Context, merges: tuple[str, ...]) -> None:
    """Seal the study's codebook as the next version."""
    mapping = {}
    for merge in merges:
        old, _, new = merge.partition("=")
        mapping[old] = new
    with desk_of(context) as desk:
        event = seal(desk, mapping)
        affected = stale_threads(desk)
    say(
        f"version {event.payload['version']} is sealed; {len(affected)} threads to look at again: label stale"
    )


@click.command("propose")
@click.argument("name")
@click.option("--definition", required=True, metavar="TEXT", help="What the category is.")
@click.option("--thread", metavar="ID", help="The thread that calls for it; it waits for the outcome.")
@acting
def propose_command(context: click.Context, name: str, definition: str, thread: str | None) -> None:
    """Propose a category NAME that the codebook lacks."""
    with desk_of(context) as desk:
        event = propose(desk, name, definition, desk.thread(thread) if thread else None)
    say(f"proposal {event.uid[:8]}: {name}")


@click.group("proposals", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@acting
def proposals_group(context: click.Context, as_json: bool) -> None:
    """List proposed categories; accept, merge or reject one."""
    if context.invoked_subcommand is not None:
        return
    with desk_of(context, writing=False) as desk:
        found: list[dict[str, Any]] = [
            {"id": event.uid[:8], **event.payload, "url": event.thread_url} for event in open_proposals(desk)
        ]
    if as_json:
        say_json(found)
    for proposal in () if as_json else found:
        say(f"{proposal['id']}  {proposal['name']}: {proposal['definition']}")


@proposals_group.command("accept")
@click.argument("proposal")
@click.option("--code", required=True, metavar="C", help="The new category's code.")
@click.option("--type", "type_", required=True, metavar="T", help="Its broad type.")
@click.option(
    "--write", "file", type=click.Path(dir_okay=False, path_type=Path), default=Path("codebook.toml"),
    show_default=True, help="Where the extended codebook goes; name it in study.toml, then seal it.",
)  # fmt: skip
@click.option("--comment", default="", metavar="TEXT", help="What the discussion said.")
@acting
def accept(context: click.Context, proposal: str, code: str, type_: str, file: Path, comment: str) -> None:
    """Accept PROPOSAL as a new category."""
    with desk_of(context) as desk:
        event = resolve(desk, proposal, "accept", code=code, comment=comment)
        accepted = next(found for found in desk.history.proposals if found.uid == event.payload["proposal"])
        try:
            extended = with_category(desk.study.codebook.source, accepted, code, type_)
        except ValueError as error:
            raise UsageError(f"category {code}: {error}") from None
        write_whole(file, extended)
    say(f'{code} is accepted; set [study] codebook = "{file}", then: nanmine label codebook seal')


@proposals_group.command("merge")
@click.argument("proposal")
@click.option("--into", required=True, metavar="C", help="The category that covers it.")
@click.option("--comment", default="", metavar="TEXT", help="What the discussion said.")
@acting
def merge(context: click.Context, proposal: str, into: str, comment: str) -> None:
    """Say that a category of the codebook covers PROPOSAL."""
    with desk_of(context) as desk:
        resolve(desk, proposal, "merge", code=into, comment=comment)
    say(f"{proposal} is part of {into}")


@proposals_group.command("reject")
@click.argument("proposal")
@click.option("--comment", default="", metavar="TEXT", help="What the discussion said.")
@acting
def reject(context: click.Context, proposal: str, comment: str) -> None:
    """Reject PROPOSAL."""
    with desk_of(context) as desk:
        resolve(desk, proposal, "reject", comment=comment)
    say(f"{proposal} is rejected")


@click.command("agree")
@click.option("--phase", "phases", multiple=True, metavar="P", help="imported, pilot, discussion or blind.")
@click.option("--stratum", metavar="S", help="Only this stratum.")
@click.option("--pool", is_flag=True, help="Pool several phases; the result says so.")
@click.option("--boot", type=click.IntRange(0, 100_000), default=2000, show_default=True, help="Resamples.")
@click.option("--seed", type=int, help="Of the resamples; else the study's.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@acting
def agree(
    context: click.Context,
    phases: tuple[str, ...],
    stratum: str | None,
    pool: bool,
    boot: int,
    seed: int | None,
    as_json: bool,
) -> None:
    """Print how far annotators agree: coefficients with intervals, each category, and the checklist."""
    from labeling.agreeing import agreement_at, agreement_text
    from pipeline.checklist import checklist_items, checklist_text

    with desk_of(context, writing=False) as desk:
        found = agreement_at(desk, phases, stratum, pool=pool, seed=seed, replicates=boot)
        primary = desk.protocol.primary_statistic
        items = checklist_items(desk.session, desk.study)
    if as_json:
        checklist = [asdict(item) for item in items]
        say_json({"primary": primary, **asdict(found), "checklist": checklist})
    else:
        say(agreement_text(found, primary))
        say(checklist_text(items))


@click.command("report")
@click.option(
    "--checklist", is_flag=True, help="The ACM SIGSOFT checklist for inter-rater agreement, filled in."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@acting
def report(context: click.Context, checklist: bool, as_json: bool) -> None:
    """Print how labeling stands: states, draws and quotas per stratum, and the checklist."""
    from labeling.progress import active_states, progress_of, progress_text
    from pipeline.checklist import checklist_items, checklist_text

    with desk_of(context, writing=False) as desk:
        if not desk.history.threads:
            raise NothingToDo("nothing is drawn or labelled yet")
        found, active = progress_of(desk), active_states(desk)
        items = checklist_items(desk.session, desk.study) if checklist else []
    if as_json:
        strata, checks = [asdict(row) for row in found], [asdict(item) for item in items]
        say_json({"strata": strata, "active": active, "checklist": checks})
        return
    say(progress_text(found, active))
    if items:
        say(checklist_text(items))
