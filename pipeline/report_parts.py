"""What the report says of agreement, protocol and model, or that there is nothing to say yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import count
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from db.final_labels import each_final_label, read_acts
from db.history import History
from db.proposals import latest_outcomes, latest_proposals, newest_model
from db.records import Event
from db.thread_history import ThreadHistory
from pipeline.agreement import Statistic
from pipeline.checklist import checklist_items
from pipeline.reliability import Agreement, agreement_of, checks_of, phases_of
from pipeline.study import Study
from pipeline.table import Cell, Table

Drawn = tuple[Callable[[], Any], str]  # draws a figure, and says what it shows
EXPLAINED = 20  # proposals listed
PIECES = 3  # of evidence for each
NOT_VALID = "not valid"
NAMES = {
    "validity": "valid or not",
    "cause": "root cause",
    "combined": "cause or not valid",
    "fix_pattern": "fix pattern",
}


@dataclass(frozen=True, slots=True)
class Part:
    """The text, tables and figures of a section."""

    text: str
    tables: tuple[Table, ...] = ()
    figures: tuple[Drawn, ...] = ()


def agreement_part(session: Session, study: Study) -> Part:
    """Return how far annotators agree before any ruling, the checklist, and the protocol in force."""
    history = read_acts(session)
    rest = (checklist_table(session, study), protocol_table(history))
    if phases := phases_of(history):
        found = [agreement_of(history, study.codebook, phases=(phase,)) for phase in phases]
        return Part(_by_whom(found), (agreement_table(found), *rest), tuple(_matrices(history)))
    checked = checks_of(history)
    if checked.checked:
        said = f"{checked.checked} labels were checked, {checked.disputed} of them disputed."
        return Part(f"{said} Whoever checks sees the label, so there is no coefficient of agreement.", rest)
    return Part("No thread has two independent labels yet.", rest)


def _by_whom(found: Sequence[Agreement]) -> str:
    raters = len({rater for agreement in found for rater in agreement.raters})
    simulated = "simulated " if any(agreement.simulated for agreement in found) else ""
    return f"{raters} {simulated}annotators, before any ruling; intervals are 95 % bootstrap."


def agreement_table(found: Sequence[Agreement]) -> Table:
    """Return every coefficient of every phase and level; one that cannot be computed says why."""
    rows: list[tuple[Cell, ...]] = []
    for agreement in found:
        for level in agreement.levels:
            counts = (
                agreement.phase,
                NAMES.get(level.name, level.name),
                level.items,
                len(level.disagreements),
            )
            rows += [
                (*counts, item.name.replace("_", " "), item.value, _interval(item))
                for item in level.statistics
            ]
    columns = ("Phase", "Of", "Threads", "Disagreements", "Coefficient", "Value", "Interval")
    return Table("agreement", "Agreement between annotators", columns, tuple(rows), grouped=True)


def _interval(item: Statistic) -> str:
    if item.value is None:
        return item.reason or ""
    return f"[{item.low:.4f}, {item.high:.4f}]" if item.low is not None and item.high is not None else ""


def checklist_table(session: Session, study: Study) -> Table:
    """Return the checklist of the empirical standards, filled in."""
    rows = tuple((item.kind, item.question, item.answer) for item in checklist_items(session, study))
    title = "Checklist for inter-rater agreement (ACM SIGSOFT Empirical Standards)"
    return Table("checklist", title, ("Kind", "Question", "Answer"), rows, grouped=True)


def _matrices(history: History) -> Iterator[Drawn]:
    """Yield the figure of two annotators' labels against each other, where there are such."""
    from pipeline import figures

    pairs = [pair for thread in history.sample if (pair := _pair(thread))]
    counts = Counter((_category(first), _category(second)) for first, second in pairs)
    names = sorted({name for pair in counts for name in pair}, key=lambda name: (name == "not valid", name))
    cells = [[counts[row, column] for column in names] for row in names]
    if names:
        text = f"Labels of two annotators on {len(pairs)} threads before any ruling."
        yield lambda: figures.matrix(names, cells, "First annotator", "Second annotator"), text


def _pair(thread: ThreadHistory) -> tuple[Event, Event] | None:
    """Return the first two annotators' standing labels of a thread in the phase that counts."""
    votes = [thread.votes[who] for who in sorted(thread.votes) if thread.votes[who].label]
    return (votes[0], votes[1]) if len(votes) > 1 else None


def _category(event: Event) -> str:
    return event.root_cause or "not valid"


def protocol_table(history: History) -> Table:
    """Return every choice of the protocol that the study was labelled under."""
    rows = tuple((name, _said(value)) for name, value in sorted(history.setup.items()))
    notes = () if rows else ("No protocol is set up yet; labels were imported, or there are none.",)
    return Table("protocol", "Protocol in force", ("Choice", "Value"), rows, notes)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(item)}" for name, item in sorted(value.items()))
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def model_part(session: Session, study: Study) -> Part:
    """Return the card of the model that was trained last, and its cross-validated figures if it has any."""
    model = newest_model(session)
    if model is None:
        return Part("No model is trained yet.")
    figures = model.card.get("figures") or {}
    plain = sorted(
        (name, value) for name, value in model.card.items() if name not in ("figures", "fixes", "settings")
    )
    card = Table(
        "model",
        f"Card of {model.name}",
        ("What", "Which"),
        tuple((name, _said(value)) for name, value in plain),
    )
    explained = explained_table(session)
    if not figures:
        text = "The model is not cross-validated on its labels; run: nanmine propose evaluate."
        return Part(text, (card, explained))
    shown = (card, methods_table(figures), classes_table(figures), explained)
    return Part("", shown, tuple(_model_figures(figures, study)))


def explained_table(session: Session) -> Table:
    """Return the surest proposals that no label confirms, with their evidence."""
    counted = count()
    unconfirmed = (row for row, _ in zip(_unconfirmed(session), counted, strict=False))
    surest = nsmallest(EXPLAINED, unconfirmed, key=lambda row: (-row.probability, row.url))
    stored = latest_proposals(session, [row.thread_id for row in surest])
    evidence = {proposal.url: _pieces(proposal.evidence) for proposal in stored}
    rows = tuple(
        (row.url, row.label, row.proposed, round(row.probability, 3), evidence[row.url]) for row in surest
    )
    notes = (
        f"{next(counted)} proposals are for threads with another label or none; the surest are listed.",
        "Weights are log-odds for a valid bug of the likeliest cause; those below 0 speak against it.",
    )
    columns = ("Thread", "Label", "Proposed", "Probability", "Goes by")
    return Table("explained", "Proposals that no label confirms, and what they go by", columns, rows, notes)


class Unconfirmed(NamedTuple):
    """A proposal, a cause or NOT_VALID, with its probability, and another label of the thread or none."""

    thread_id: int
    url: str
    label: str | None
    proposed: str
    probability: float


def _unconfirmed(session: Session) -> Iterator[Unconfirmed]:
    """Yield the proposals that no label confirms; proposals and labels are read side by side, by URL."""
    labels = each_final_label(session, unchecked=True)
    final = next(labels, None)
    for thread_id, url, valid, causes in latest_outcomes(session):
        while final and final.url < url:
            final = next(labels, None)
        given = final.label if final and final.url == url else None
        label = None if given is None else given.root_cause if given.valid else NOT_VALID
        proposed, probability = _proposed(valid, causes[0])
        if proposed != label:
            yield Unconfirmed(thread_id, url, label, proposed, probability)


def _proposed(valid: float, first: dict[str, Any]) -> tuple[str, float]:
    """Return what a proposal comes to, a cause or NOT_VALID, and the probability of just that."""
    return (first["code"], valid * first["probability"]) if valid >= 0.5 else (NOT_VALID, 1 - valid)


def _pieces(evidence: Sequence[dict[str, Any]]) -> str:
    """Return the strongest pieces of evidence: what each adds in log-odds, its post and its words."""
    return " | ".join(
        f"{piece['weight']:+.2f} in post {piece['position']}: {piece['text']}" for piece in evidence[:PIECES]
    )


def methods_table(figures: dict[str, Any]) -> Table:
    """Return what cross-validation measured for the model and for each baseline, in the same folds."""
    names = ("average_precision", "work_saved_at_95", "macro_f1", "accuracy", "top_3")
    rows = tuple(
        (method, *(found.get(name) for name in names)) for method, found in figures["methods"].items()
    )
    notes = (f"{figures['repeats']} × {figures['folds']} folds over {figures['labels']} labels, by group.",)
    columns = ("Method", *(name.replace("_", " ") for name in names))
    return Table("evaluation", "Cross-validated, beside baselines", columns, rows, notes)


def classes_table(figures: dict[str, Any]) -> Table:
    """Return precision, recall and F1 of the model for each root cause."""
    names = ("code", "labels", "precision", "recall", "f1")
    rows = tuple(tuple(row[name] for name in names) for row in figures["per_class"])
    return Table("classes", "The model by root cause", tuple(name.capitalize() for name in names), rows)


def _model_figures(figures: dict[str, Any], study: Study) -> Iterator[Drawn]:
    from pipeline import figures as drawing

    counts = figures["confusion"]
    codes = study.codebook.cause_codes
    if len(counts) == len(codes):
        cells = [[round(cell) for cell in row] for row in counts]
        text = "Root causes as labelled and as the model has them, out of fold, mean over the repeats."
        yield lambda: drawing.matrix(codes, cells, "Label", "Model"), text
    found = figures["methods"]["model"]["calibration"]
    if found:
        text = (
            "Calibration of the model, out of fold; larger dots are more threads. "
            f"Expected calibration error {found['error']:.3f}; a perfectly calibrated model would show "
            f"{found['noise_floor']:.3f} here (95 %: up to {found['noise_95']:.3f})."
        )
        yield lambda: drawing.calibration(found["bins"]), text
