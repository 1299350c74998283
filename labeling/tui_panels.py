"""The panels of the annotation screen as text: codebook, what is chosen, progress, keys."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from labeling.adjudicating import Side
from labeling.tui_session import Draft, Work
from pipeline.codebook import Cause, Codebook
from pipeline.terminal import printable

CHOSEN = "bold reverse"
LIST_WIDTH = 28  # cells of the panel beside the thread


def codebook_panel(work: Work, *, full: bool, choosing_reason: bool) -> Text:
    """Return the panel beside the thread: the labels in question, the categories, the one chosen."""
    book, draft = work.study.codebook, work.draft
    text = Text()
    if work.task is not None:
        _dispute(text, work.task.sides)
        if work.task.to_check:
            _to_check(text, work.task.to_check)
    if choosing_reason:
        for reason in book.reasons:
            text.append(f"{reason.key} {reason.name}\n", "bold")
            text.append(f"{reason.definition}\n")
        return text
    for number, cause in enumerate(book.causes, start=1):
        key = str(number % 10) if number <= 10 else " "
        name = f"{key} {cause.code:<5} {cause.name if cause.name != cause.code else ''}".rstrip()
        text.append(f"{_fitted(name)}\n", CHOSEN if cause.code == draft.cause else "")
        if full:
            _definition(text, cause)
    text.append("x not valid\n\n", CHOSEN if draft.reason else "")
    if draft.cause and not full:
        _definition(text, book.cause(draft.cause))
    _close_calls(
        text, book, {draft.cause} if draft.cause and not full else set(book.cause_codes) if full else set()
    )
    return text


def _fitted(line: str, width: int = LIST_WIDTH) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"


def _definition(text: Text, cause: Cause) -> None:
    text.append(f"{cause.definition}\n")
    for name, said in (("+", cause.include), ("−", cause.exclude), ("e.g.", cause.example)):
        if said:
            text.append(f"{name} {said}\n", "dim")


def _close_calls(text: Text, book: Codebook, codes: Iterable[str | None]) -> None:
    for call in book.close_calls:
        if set(call.between) & set(codes):
            text.append(f"{'/'.join(call.between)}: ", "bold")
            text.append(f"{call.rule}\n")


def _dispute(text: Text, sides: Iterable[Side]) -> None:
    for side in sides:
        label = side.label
        codes = (label.root_cause, label.reason, label.fix_pattern) if label else ()
        said = " · ".join(code for code in (side.verdict, *codes) if code)
        text.append(f"{printable(side.name)}: {printable(said)}\n", "bold magenta")
        if side.memo:
            text.append(f"  {printable(side.memo)}\n")
        for span in side.spans:
            text.append(f"  evidence: post {span['position']}, {span['start']} to {span['end']}\n", "dim")
    if text:
        text.append("\n")


def _to_check(text: Text, label: dict[str, object]) -> None:
    parts = (label.get(key) for key in ("verdict", "root_cause", "reason", "fix_pattern", "function"))
    text.append(
        "to check: " + " · ".join(printable(str(part)) for part in parts if part) + "\n", "bold magenta"
    )
    text.append("Enter agrees; choose another label to disagree\n\n")


def draft_line(draft: Draft, message: str) -> str:
    """Return what is chosen and not yet committed, after the message."""
    parts = [
        draft.cause or draft.reason or "nothing chosen",
        draft.fix or "",
        f"in {draft.function}" if draft.function else "",
        f"{len(draft.spans)} evidence" if draft.spans else "",
        draft.difficulty or "",
        f"memo: {draft.memo}" if draft.memo else "",
    ]
    chosen = " · ".join(part for part in parts if part)
    return f" {message} │ {chosen}" if message else f" {chosen}"


def progress_line(work: Work) -> str:
    """Return the progress of each stratum, the median time, an estimate, and the key for help."""
    strata = "  ".join(f"{row.stratum} {row.taken}/{row.quota}" for row in work.progress)
    times = [row.seconds for row in work.progress if row.seconds is not None]
    ahead = [row.seconds_left for row in work.progress if row.seconds_left]
    pace = f"  {min(times):.0f} s a thread" if times else ""
    left = f"  ~{sum(ahead) / 60:.0f} min" if ahead else ""
    return f" {strata}{pace}{left}  h keys  q quit"


def help_text() -> str:
    """Return the keys."""
    return (
        "1-9 0 cause · x reason · ? unsure · f fix pattern · o function · m memo · v evidence\n"
        "Enter commit and next · u undo · p propose · c codebook · s proposal · a uncertain threads\n"
        "j k space b scroll · n N post · . , keyword · / find · z fold or unfold code\n"
        "d difficulty · D discard · e defer · q quit"
    )
