"""`nanmine label`: a lazy group, so that its help loads neither the database nor anything heavy."""

from __future__ import annotations

import importlib

import click

# name: (where the command is, its line in the help)
COMMANDS = {
    "add-annotator": ("cli_decide:add", "Give somebody a role, in all strata or those named."),
    "remove-annotator": ("cli_decide:remove", "Take every role from somebody."),
    "draw": ("cli_decide:draw_command", "Draw the pilot, or the next batch of each open stratum."),
    "next": ("cli_decide:next_command", "Show the next thread to label."),
    "show": ("cli_decide:show", "Show a thread and your own label of it."),
    "set": ("cli_decide:set_command", "Label a thread as valid with one root cause."),
    "invalid": ("cli_decide:invalid", "Label a thread as not valid, with one reason."),
    "unsure": ("cli_decide:unsure", "Leave a thread to discussion."),
    "undo": ("cli_decide:undo_command", "Take back your last decision or check."),
    "tui": ("cli_decide:tui", "Label on a full screen."),
    "check": ("cli_review:check_group", "Check labels that somebody else gave."),
    "adjudicate": ("cli_review:adjudicate_group", "Settle what two people could not."),
    "stale": ("cli_review:stale", "List the threads to look at again."),
    "reaffirm": ("cli_review:reaffirm_command", "Give your label of a thread again."),
    "reopen": ("cli_review:reopen_command", "Let blind labels change once more (leads only)."),
    "reveal": ("cli_review:reveal_command", "Show the model's proposal, after your own label."),
    "codebook": ("cli_study:codebook_group", "Show the codebook, compare it, seal the next version."),
    "propose": ("cli_study:propose_command", "Propose a category that the codebook lacks."),
    "proposals": ("cli_study:proposals_group", "List proposed categories; accept, merge or reject one."),
    "agree": ("cli_study:agree", "Print how far annotators agree."),
    "report": ("cli_study:report", "Print how labeling stands, and the agreement checklist."),
    "import": ("cli_transfer:import_command", "Load labels from CSV, JSON Lines, Label Studio or doccano."),
    "export": ("cli_transfer:export_command", "Write the final labels, or each annotator's own."),
    "bundle": ("cli_transfer:bundle_group", "Exchange labels between machines."),
    "verify": ("cli_transfer:verify", "Check the chain of hashes and every label."),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is used, and shows its help line without."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names in the order in which labeling meets them."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import one command."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command = getattr(importlib.import_module(f"labeling.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help lines of the table above; nothing is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--as", "annotator", metavar="HANDLE", help="Who labels; else NANMINE_ANNOTATOR.")
@click.pass_context
def label(context: click.Context, annotator: str | None) -> None:
    """Label threads: draw, decide, check, adjudicate, agree."""
    if annotator:
        context.meta["nanmine.annotator"] = annotator
