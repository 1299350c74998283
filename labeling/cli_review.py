"""`nanmine label check …`, `adjudicate …`, `stale`, `reaffirm`, `reopen`, `reveal`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from db.errors import UsageError
from db.records import Event, Label
from db.threads import Thread
from labeling.adjudicating import DIFFICULTIES, adjudicate, next_dispute, sides
from labeling.checking import check, next_check
from labeling.command_line import acting, desk_of, say, say_json
from labeling.deciding import reaffirm, reopen
from labeling.desk import Desk
from labeling.reading import label_line, label_to_check, reveal, thread_document
from labeling.showing import thread_text
from labeling.taxonomy import stale_threads


def given_label(cause: str | None, reason: str | None, fix: str | None, function: str | None) -> Label:
    """Return the label that `--cause` or `--invalid` give; exactly one of them has to be there."""
    if bool(cause) == bool(reason):
        raise UsageError("say --cause CODE or --invalid REASON")
    return Label(True, None, cause, fix, function) if cause else Label(False, reason)


def label_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that make a label."""
    for option in reversed(
        (
            click.option("--cause", metavar="C", help="Valid, with this root cause."),
            click.option("--invalid", metavar="R", help="Not valid, for this reason."),
            click.option("--fix", metavar="F", help="The fix pattern."),
            click.option("--function", metavar="F", help="The function whose range was left."),
        )
    ):
        command = option(command)
    return command


@click.group("check")
def check_group() -> None:
    """Check labels that somebody else gave."""


def _said(label: dict[str, Any]) -> str:
    parts = (label.get(key) for key in ("verdict", "root_cause", "reason", "fix_pattern", "function", "memo"))
    return " · ".join(part for part in parts if part)


@check_group.command("next")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@acting
def check_next(context: click.Context, as_json: bool) -> None:
    """Show the next label to check, with its thread."""
    with desk_of(context) as desk:
        thread = next_check(desk)
        document = thread_document(desk, thread) | {"to_check": label_to_check(desk, thread)}
    if as_json:
        say_json(document)
        return
    say(thread_text(document))
    if document["to_check"]:
        say(f"to check: {_said(document['to_check'])}")


@check_group.command("agree")
@click.argument("thread")
@click.option("--memo", default="", metavar="M", help="A note.")
@acting
def check_agree(context: click.Context, thread: str, memo: str) -> None:
    """Agree with the label of THREAD."""
    with desk_of(context) as desk:
        found = desk.thread(thread)
        check(desk, found, memo=memo)
        line = f"{found.id}: agreed"
    say(line)


@check_group.command("disagree")
@click.argument("thread")
@label_options
@click.option("--memo", default="", metavar="M", help="Why.")
@acting
def check_disagree(
    context: click.Context,
    thread: str,
    cause: str | None,
    invalid: str | None,
    fix: str | None,
    function: str | None,
    memo: str,
) -> None:
    """Say what THREAD should be labelled instead."""
    own = given_label(cause, invalid, fix, function)
    with desk_of(context) as desk:
        found = desk.thread(thread)
        check(desk, found, own, memo)
        line = f"{found.id}: disputed, {label_line(own)}"
    say(line)


@click.group("adjudicate")
def adjudicate_group() -> None:
    """Settle what two people could not."""


@adjudicate_group.command("next")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@acting
def adjudicate_next(context: click.Context, as_json: bool) -> None:
    """Show the next disputed thread with the labels in dispute."""
    with desk_of(context) as desk:
        thread = next_dispute(desk)
        found = [asdict(side) for side in sides(desk, thread)]
        document = thread_document(desk, thread) | {"sides": found}
    if as_json:
        say_json(document)
        return
    say(thread_text(document))
    for side in document["sides"]:
        given = {**(side["label"] or {}), "verdict": side["verdict"], "memo": side["memo"]}
        say(f"{side['name']}: {_said(given)}")


def _ruling(name: str, help_text: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Return a decorator for the commands that record a ruling on one thread."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        function = click.option("--reason", "rationale", default="", metavar="TEXT", help="Why.")(
            acting(function)
        )
        function = click.option(
            "--source", "difficulty", type=click.Choice(DIFFICULTIES), help="Where the difference came from."
        )(function)
        return adjudicate_group.command(name, help=help_text)(click.argument("thread")(function))

    return decorate


@_ruling("set", "Give THREAD its final label.")
@label_options
def adjudicate_set(
    context: click.Context,
    thread: str,
    rationale: str,
    difficulty: str | None,
    cause: str | None,
    invalid: str | None,
    fix: str | None,
    function: str | None,
) -> None:
    """Give THREAD its final label."""
    _rule(context, thread, "label", given_label(cause, invalid, fix, function), rationale, difficulty)


@_ruling("discard", "Leave THREAD out of the study: no consensus.")
def adjudicate_discard(context: click.Context, thread: str, rationale: str, difficulty: str | None) -> None:
    """Leave THREAD out of the study."""
    _rule(context, thread, "discard", None, rationale, difficulty)


@_ruling("defer", "Put THREAD at the end of the queue.")
def adjudicate_defer(context: click.Context, thread: str, rationale: str, difficulty: str | None) -> None:
    """Put THREAD at the end of the queue."""
    _rule(context, thread, "defer", None, rationale, difficulty)


def _rule(
    context: click.Context,
    thread: str,
    outcome: str,
    own: Label | None,
    rationale: str,
    difficulty: str | None,
) -> None:
    with desk_of(context) as desk:
        found = desk.thread(thread)
        adjudicate(desk, found, outcome, own, rationale=rationale, difficulty=difficulty)
        line = f"{found.id}: {label_line(own) if own else outcome}"
    say(line)


@click.command("stale")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@acting
def stale(context: click.Context, as_json: bool) -> None:
    """List the threads to look at again: text, category or the basis of a ruling changed."""
    with desk_of(context, writing=False) as desk:
        found = stale_threads(desk)
    if as_json:
        say_json([asdict(item) for item in found])
        return
    for item in found:
        say(f"{item.url}: {'; '.join(item.reasons)}")


def _act_on(
    context: click.Context,
    thread: str,
    act: Callable[[Desk, Thread], Event],
    words: Callable[[Event], str],
) -> None:
    """Do an act on a thread and say what became of it."""
    with desk_of(context) as desk:
        event = act(desk, desk.thread(thread))
        line = f"{event.thread_id}: {words(event)}"
    say(line)


@click.command("reaffirm")
@click.argument("thread")
@acting
def reaffirm_command(context: click.Context, thread: str) -> None:
    """Give your label of THREAD again, under today's codebook and text."""
    _act_on(context, thread, reaffirm, lambda event: label_line(event.label))


@click.command("reopen")
@click.argument("thread")
@acting
def reopen_command(context: click.Context, thread: str) -> None:
    """Let the blind labels of THREAD change once more (leads only)."""
    _act_on(context, thread, reopen, lambda _: "open again")


@click.command("reveal")
@click.argument("thread")
@acting
def reveal_command(context: click.Context, thread: str) -> None:
    """Record that you are shown the model's proposal for THREAD, and show it."""
    from labeling.suggestions import proposal_lines

    with desk_of(context) as desk:
        found = desk.thread(thread)
        reveal(desk, found)
        lines = proposal_lines(desk.session, found)
    say("\n".join(lines))
