"""`nanmine label add-annotator`, `draw`, `next`, `show`, `set`, `invalid`, `unsure`, `undo`, `tui`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from db.records import Label
from labeling.command_line import acting, desk_of, say, say_json
from labeling.deciding import Notes, decide, decide_unsure, spans_of, undo
from labeling.desk import Desk
from labeling.drawing import draw
from labeling.people import ROLES, add_annotator, remove_annotator
from labeling.queue import next_thread
from labeling.reading import label_line, thread_document
from labeling.showing import thread_text

Command = TypeVar("Command", bound=Callable[..., Any])


def order_option(text: str) -> Callable[[Command], Command]:
    """Return the option by which a command takes the study sample or what a model is uncertain of."""
    orders = click.Choice(("random", "uncertain"))
    return click.option("--order", type=orders, default="random", show_default=True, help=text)


@click.command("add-annotator")
@click.argument("handle")
@click.argument("more_strata", nargs=-1, metavar="")
@click.option("--role", type=click.Choice(ROLES), default="annotator", show_default=True)
@click.option("--stratum", "strata", multiple=True, metavar="S", help="A stratum they own; repeat for more.")
@click.option("--simulated", is_flag=True, help="A program, not a person: all its rows say so.")
@acting
def add(
    context: click.Context,
    handle: str,
    more_strata: tuple[str, ...],
    role: str,
    strata: tuple[str, ...],
    simulated: bool,
) -> None:
    """Give HANDLE a role, in all strata or those named."""
    named = [code for group in (*strata, *more_strata) for code in group.replace(",", " ").split()]
    with desk_of(context) as desk:
        add_annotator(desk, handle, role, named, simulated=simulated)
    say(f"{handle} is {role}" + (f" of {', '.join(named)}" if named else ""))


@click.command("remove-annotator")
@click.argument("handle")
@acting
def remove(context: click.Context, handle: str) -> None:
    """Take every role from HANDLE; what they did stays, what they left goes to others."""
    with desk_of(context) as desk:
        remove_annotator(desk, handle)
    say(f"{handle} has no role any more")


@click.command("draw")
@click.option("--stratum", "strata", multiple=True, metavar="S", help="Only this stratum; repeat for more.")
@click.option("--count", type=click.IntRange(1), help="How many for each stratum; else the study's batch.")
@order_option(
    "uncertain: what the newest proposals are least sure of, outside the study sample, COUNT in all."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@acting
def draw_command(
    context: click.Context, strata: tuple[str, ...], count: int | None, order: str, as_json: bool
) -> None:
    """Draw the pilot, or the next batch of each open stratum; `next` draws by itself as needed.

    The pilot is drawn first, and alone, whatever the order.
    Labels of threads drawn as uncertain train the model and count in no table, quota or agreement,
    unless the study's own random order draws the thread as well.
    """
    with desk_of(context) as desk:
        if order == "uncertain":
            from labeling.active import draw_uncertain

            events = draw_uncertain(desk, strata, count)
        else:
            events = draw(desk, strata, count)
    places = [{"url": event.thread_url, "id": event.thread_id, **event.payload} for event in events]
    if as_json:
        say_json(places)
    else:
        for place in places:
            say(f"{place['stratum']:>3} {place['position']:>4}  {place['id']:>6}  {place['url']}")


@click.command("next")
@order_option("random: the study sample, then what was drawn as uncertain; uncertain: that alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@acting
def next_command(context: click.Context, order: str, as_json: bool) -> None:
    """Show the next thread to label."""
    with desk_of(context) as desk:
        _show(desk, str(next_thread(desk, uncertain=order == "uncertain").id), as_json)


@click.command("show")
@click.argument("thread")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--plain", is_flag=True, help="Print text, which is the default.")
@acting
def show(context: click.Context, thread: str, as_json: bool, plain: bool) -> None:
    """Show THREAD (its number, URL or id) and your own label of it."""
    with desk_of(context, writing=False) as desk:
        _show(desk, thread, as_json)


def _show(desk: Desk, thread: str, as_json: bool) -> None:
    document = thread_document(desk, desk.thread(thread))
    if as_json:
        say_json(document)
    else:
        say(thread_text(document))


@click.command("set")
@click.argument("thread")
@click.option("--cause", required=True, metavar="C", help="The root cause.")
@click.option("--fix", metavar="F", help="The fix pattern.")
@click.option("--function", metavar="F", help="The function whose range was left.")
@click.option("--memo", default="", metavar="M", help="A note; it never counts in agreement.")
@click.option(
    "--span", "spans", multiple=True, metavar="[P:]S:E", help="Evidence: characters S to E of post P."
)
@click.option("--with", "partner", metavar="HANDLE", help="With whom, in a joint pilot.")
@acting
def set_command(
    context: click.Context,
    thread: str,
    cause: str,
    fix: str | None,
    function: str | None,
    memo: str,
    spans: tuple[str, ...],
    partner: str | None,
) -> None:
    """Label THREAD as valid with one root cause."""
    notes = Notes(memo=memo, spans=spans_of(spans), partner=partner)
    _decide(context, thread, Label(True, None, cause, fix, function), notes)


@click.command("invalid")
@click.argument("thread")
@click.option("--reason", required=True, metavar="R", help="Why it is no bug of the study.")
@click.option("--memo", default="", metavar="M", help="A note; it never counts in agreement.")
@click.option(
    "--span", "spans", multiple=True, metavar="[P:]S:E", help="Evidence: characters S to E of post P."
)
@click.option("--with", "partner", metavar="HANDLE", help="With whom, in a joint pilot.")
@acting
def invalid(
    context: click.Context, thread: str, reason: str, memo: str, spans: tuple[str, ...], partner: str | None
) -> None:
    """Label THREAD as not valid, with one reason."""
    notes = Notes(memo=memo, spans=spans_of(spans), partner=partner)
    _decide(context, thread, Label(False, reason), notes)


def _decide(context: click.Context, thread: str, given: Label, notes: Notes) -> None:
    with desk_of(context) as desk:
        found = desk.thread(thread)
        decide(desk, found, given, notes)
        line = f"{found.id}: {label_line(given)}"
    say(line)


@click.command("unsure")
@click.argument("thread")
@click.option("--memo", default="", metavar="M", help="What is unclear.")
@acting
def unsure(context: click.Context, thread: str, memo: str) -> None:
    """Leave THREAD to discussion."""
    with desk_of(context) as desk:
        found = desk.thread(thread)
        decide_unsure(desk, found, Notes(memo=memo))
        line = f"{found.id}: unsure"
    say(line)


@click.command("undo")
@click.argument("thread", required=False)
@acting
def undo_command(context: click.Context, thread: str | None) -> None:
    """Take back your last decision or check (of THREAD); a second undo takes back the first."""
    with desk_of(context) as desk:
        event = undo(desk, desk.thread(thread) if thread else None)
        line = f"{event.thread_id}: {label_line(event.label) if event.label else event.verdict}"
    say(line)


@click.command("tui")
@acting
def tui(context: click.Context) -> None:
    """Label on a full screen; every act is also a command."""
    from labeling.screen_start import start

    start(context)
