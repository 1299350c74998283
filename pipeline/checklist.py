"""The ACM SIGSOFT Empirical Standards' checklist for inter-rater agreement, filled in from the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.final_labels import read_acts
from db.history import History
from pipeline.reliability import Agreement, agreement_of, checks_of, phases_of
from pipeline.study import Study


@dataclass(frozen=True, slots=True)
class ChecklistItem:
    """One question of the standard with our answer; `kind` is how much the standard asks for it."""

    kind: str
    question: str
    answer: str


def checklist_items(session: Session, study: Study) -> list[ChecklistItem]:
    """Return the checklist with an answer to each question; what was not done is said to be not done."""
    history = read_acts(session)
    found = {
        phase: agreement_of(history, study.codebook, phases=(phase,), replicates=0)
        for phase in phases_of(history)
    }
    primary = str(history.setup.get("primary_statistic", "cohen_kappa"))
    answers = (
        ("essential", "What was rated, and by how many", _rated(history, found)),
        ("essential", "Two or more raters, independently", _independence(history, found)),
        ("essential", "How disagreements were resolved", _resolution(history)),
        (
            "essential",
            "The type of the variable",
            "nominal: validity, root cause and fix pattern, one each a thread",
        ),
        ("essential", "An appropriate statistic", _statistic(found, primary)),
        ("desirable", "Broken down by property and wave", _breakdown(found)),
        ("desirable", "Thresholds", "none is applied; coefficients are printed with intervals"),
        (
            "desirable",
            "Anomalies of kappa",
            "alpha and AC1 stand beside it; categories under 10 threads are marked",
        ),
        ("desirable", "Scheme and disagreements published", _scheme(history)),
        (
            "extraordinary",
            "Agreement for each cycle",
            ", ".join(found) or "not done: no phase of independent labels",
        ),
        ("antipattern", "Many coefficients, the best reported", f"no: {primary} was named before labeling"),
    )
    return [ChecklistItem(*answer) for answer in answers]


def checklist_text(items: Sequence[ChecklistItem]) -> str:
    """Return the checklist as lines for a terminal."""
    lines = [f"[{item.kind}] {item.question}\n  {item.answer}" for item in items]
    return "\n".join(["", "ACM SIGSOFT checklist for inter-rater agreement:", *lines])


def _rated(history: History, found: dict[str, Agreement]) -> str:
    votes = [vote for story in history.sample for vote in story.decisions]
    people = {vote.annotator for vote in votes}
    simulated = " (simulated)" if any(vote.simulated for vote in votes) else ""
    rated = len({vote.thread_url for vote in votes})
    active = sum(history.is_left_out(url) and bool(story.decisions) for url, story in history.threads.items())
    left_out = f"; {active} more, drawn by a model's uncertainty, are in no figure" if active else ""
    return f"{rated} threads by {len(people)} annotators{simulated}{left_out}"


def _independence(history: History, found: dict[str, Agreement]) -> str:
    if found:
        return f"yes, in phase {', '.join(found)}"
    checked = checks_of(history)
    return f"no: one person labelled, another saw the label and checked it ({checked.checked} checks)"


def _resolution(history: History) -> str:
    states = Counter(history.outcome(story.url).state for story in history.sample)
    return (
        f"by a third person: {states['adjudicated']} settled, {states['discarded']} discarded,"
        f" {states['disputed']} waiting; {checks_of(history).disputed} checks disagreed"
    )


def _statistic(found: dict[str, Agreement], primary: str) -> str:
    lines = []
    for phase, agreement in found.items():
        for level in agreement.levels:
            value = next(item for item in level.statistics if item.name == primary)
            said = f"{value.value:.4f}" if value.value is not None else f"undefined ({value.reason})"
            lines.append(f"{phase} {level.name} {primary} {said} (n = {level.items})")
    return "; ".join(lines) or "none: the protocol gives no independent labels"


def _breakdown(found: dict[str, Agreement]) -> str:
    names = ", ".join(
        f"{phase}: {', '.join(level.name for level in item.levels)}" for phase, item in found.items()
    )
    return f"{names}; each stratum and category on request" if names else "not done"


def _scheme(history: History) -> str:
    return f"codebook in {len(history.codebooks)} sealed versions; every event is exported with the data"
