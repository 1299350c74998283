"""`nanmine label`: a lazy group, so that its help loads neither the database nor anything heavy."""

from __future__ import annotations

import click

from pipeline.lazy_group import LazyGroup

# name: (where the command is, its line in the help)
COMMANDS = {
    "add-annotator": ("labeling.cli_decide:add", "Give somebody a role, in all strata or those named."),
    "remove-annotator": ("labeling.cli_decide:remove", "Take every role from somebody."),
    "draw": ("labeling.cli_decide:draw_command", "Draw the pilot, the next batches, or uncertain threads."),
    "next": ("labeling.cli_decide:next_command", "Show the next thread to label."),
    "show": ("labeling.cli_decide:show", "Show a thread and your own label of it."),
    "set": ("labeling.cli_decide:set_command", "Label a thread as valid with one root cause."),
    "invalid": ("labeling.cli_decide:invalid", "Label a thread as not valid, with one reason."),
    "unsure": ("labeling.cli_decide:unsure", "Leave a thread to discussion."),
    "undo": ("labeling.cli_decide:undo_command", "Take back your last decision or check."),
    "tui": ("labeling.cli_decide:tui", "Label on a full screen."),
    "check": ("labeling.cli_review:check_group", "Check labels that somebody else gave."),
    "adjudicate": ("labeling.cli_review:adjudicate_group", "Settle what two people could not."),
    "stale": ("labeling.cli_review:stale", "List the threads to look at again."),
    "reaffirm": ("labeling.cli_review:reaffirm_command", "Give your label of a thread again."),
    "reopen": ("labeling.cli_review:reopen_command", "Let blind labels change once more (leads only)."),
    "reveal": ("labeling.cli_review:reveal_command", "Show the model's proposal, after your own label."),
    "codebook": (
        "labeling.cli_study:codebook_group",
        "Show the codebook, compare it, seal a version.",
    ),
    "propose": ("labeling.cli_study:propose_command", "Propose a category that the codebook lacks."),
    "proposals": (
        "labeling.cli_study:proposals_group",
        "List proposed categories; settle one.",
    ),
    "agree": ("labeling.cli_study:agree", "Print how far annotators agree."),
    "report": ("labeling.cli_study:report", "Print how labeling stands, and the agreement checklist."),
    "import": (
        "labeling.cli_transfer:import_command",
        "Load labels from CSV, JSON Lines or other tools.",
    ),
    "export": ("labeling.cli_transfer:export_command", "Write the final labels, or each annotator's own."),
    "bundle": ("labeling.cli_transfer:bundle_group", "Exchange labels between machines."),
    "verify": ("labeling.cli_transfer:verify", "Check the chain of hashes and every label."),
}


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--as", "annotator", metavar="HANDLE", help="Who labels; else NANMINE_ANNOTATOR.")
@click.pass_context
def label(context: click.Context, annotator: str | None) -> None:
    """Label threads: draw, decide, check, adjudicate, agree."""
    if annotator:
        context.meta["nanmine.annotator"] = annotator
