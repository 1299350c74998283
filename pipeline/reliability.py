"""What agreement is computed on: which votes, of which phase and stratum, at which level.

Only what annotators decided on their own counts: joint labels, checks and adjudications never do,
and a blind label counts once every label of its thread is in. Threads that a model's uncertainty
drew are left out: people agree less on them than on the study's. Levels: `validity` (two classes),
`cause` (threads that all call valid), `combined` (causes and "invalid" in one scale) and
`fix_pattern` (threads with the same cause).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from db.errors import NothingToDo, UsageError
from db.history import History
from db.records import Event, Label
from db.thread_history import ThreadHistory
from pipeline.agreement import (
    COEFFICIENTS,
    REPLICATES,
    CategoryAgreement,
    Statistic,
    category_agreement,
    statistic,
)
from pipeline.codebook import Codebook

LEVELS = ("validity", "cause", "combined", "fix_pattern")
INDEPENDENT = ("imported", "pilot", "discussion", "blind")


@dataclass(frozen=True, slots=True)
class Level:
    """Agreement at one level; `dropped` counts the threads left out, by reason."""

    name: str
    categories: tuple[str, ...]
    items: int
    dropped: dict[str, int]
    statistics: tuple[Statistic, ...]
    per_category: tuple[CategoryAgreement, ...]
    disagreements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement in one phase (several where they were pooled on request) and one stratum (or all)."""

    phase: str
    stratum: str | None
    raters: tuple[str, ...]
    codebooks: tuple[str, ...]
    levels: tuple[Level, ...]
    simulated: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """What a protocol of checks gives instead of a coefficient: labels checked, and disputed."""

    checked: int
    disputed: int


def phases_of(history: History) -> tuple[str, ...]:
    """Return the phases in which annotators labelled on their own, in order."""
    found = {vote.phase for story in history.sample for vote in story.decisions}
    return tuple(phase for phase in INDEPENDENT if phase in found and not _is_joint(history, phase))


def _is_joint(history: History, phase: str) -> bool:
    return phase == "pilot" and history.rules.protocol == "faithful"


def agreement_of(
    history: History,
    codebook: Codebook,
    *,
    phases: Sequence[str] = (),
    strata: dict[str, tuple[str, ...]] | None = None,
    stratum: str | None = None,
    pool: bool = False,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Agreement:
    """Return the agreement of one phase; `strata` maps the URL of an undrawn thread to its strata.

    NothingToDo where nobody labelled on their own; UsageError where several phases would be pooled
    without `pool`.
    """
    chosen = tuple(phases) or phases_of(history)
    if not chosen:
        raise NothingToDo("no thread has labels that two people gave on their own")
    if len(chosen) > 1 and not pool:
        raise UsageError(
            f"labels of several phases ({', '.join(chosen)}): name one, or pool them with --pool"
        )
    votes = {
        story.url: _votes(history, story, chosen)
        for story in history.sample
        if stratum is None or stratum in _strata(history, story, strata or {})
    }
    votes = {url: given for url, given in votes.items() if given}
    first = {url: (_strata(history, history.threads[url], strata or {}) or ("",))[0] for url in votes}
    raters = tuple(sorted({who for given in votes.values() for who in given}))
    events = [vote for given in votes.values() for vote in given.values()]
    return Agreement(
        phase="+".join(chosen),
        stratum=stratum,
        raters=raters,
        codebooks=tuple(sorted({str(vote.codebook)[:12] for vote in events if vote.codebook})),
        levels=tuple(
            _level(name, history, codebook, votes, raters, first, (seed, replicates)) for name in LEVELS
        ),
        simulated=any(vote.simulated for vote in events),
    )


def checks_of(history: History) -> Checked:
    """Return how many labels were checked, and how many of them the checker disputed."""
    checks = [check for story in history.sample for check in story.checks]
    disputed = sum(history.category(check) != history.category(_checked(history, check)) for check in checks)
    return Checked(len(checks), disputed)


def _checked(history: History, check: Event) -> Event:
    return history.by_uid[check.payload["decision"]]


def _strata(history: History, story: ThreadHistory, known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    if not story.sample_draws:
        return known.get(story.url, ())
    return tuple(sorted({code for draw in story.draws for code in draw.payload["strata"]}))


def _votes(history: History, story: ThreadHistory, phases: Sequence[str]) -> dict[str, Event]:
    """Return each person's vote; after a discussion an unchanged pilot vote still stands.

    A blind thread whose labels are not all in gives none, so that no figure tells of a single label.
    """
    taken = ("pilot", *phases) if "discussion" in phases else tuple(phases)
    votes = {str(vote.annotator): vote for phase in taken for vote in story.decisions if vote.phase == phase}
    if "discussion" in phases and not any(vote.phase == "discussion" for vote in votes.values()):
        return {} if phases == ("discussion",) else votes
    is_open = any(vote.phase != "imported" for vote in votes.values()) and len(votes) < history.rules.raters
    return {} if is_open else votes


def _level(
    name: str,
    history: History,
    codebook: Codebook,
    votes: dict[str, dict[str, Event]],
    raters: Sequence[str],
    strata: dict[str, str],
    bootstrap: tuple[int, int],
) -> Level:
    rows, urls, dropped = [], [], Counter[str]()
    for url, given in sorted(votes.items()):
        labels = {who: history.merged(vote.label) for who, vote in given.items()}
        reason = _why_dropped(name, list(labels.values()))
        if reason:
            dropped[reason] += 1
            continue
        rows.append(tuple(_category(name, labels[who]) if labels.get(who) else None for who in raters))
        urls.append(url)
    categories = tuple(_categories(name, codebook))
    seed, replicates = bootstrap
    return Level(
        name,
        categories,
        len(rows),
        dict(dropped),
        tuple(
            statistic(
                coefficient,
                rows,
                categories,
                strata=[strata[url] for url in urls],
                seed=seed,
                replicates=replicates,
            )
            for coefficient in COEFFICIENTS
        ),
        tuple(category_agreement(rows, categories)),
        tuple(url for url, row in zip(urls, rows, strict=True) if len({label for label in row if label}) > 1),
    )


def _why_dropped(level: str, labels: Sequence[Label | None]) -> str | None:
    """Say why a thread is left out at a level, or None; a missing label is never a category."""
    given = [label for label in labels if label is not None]
    if len(given) < 2:
        return "unsure or waiting for a category" if len(labels) > 1 else "one label only"
    if level in ("cause", "fix_pattern") and not all(label.valid for label in given):
        return "not valid for all"
    if level == "fix_pattern" and len({label.root_cause for label in given}) > 1:
        return "different causes"
    if level == "fix_pattern" and not all(label.fix_pattern for label in given):
        return "no fix pattern"
    return None


def _category(level: str, label: Label | None) -> str:
    assert label is not None
    if level == "validity":
        return "valid" if label.valid else "invalid"
    if level == "fix_pattern":
        return str(label.fix_pattern)
    return str(label.root_cause) if label.valid else "invalid"


def _categories(level: str, codebook: Codebook) -> Iterable[str]:
    if level == "validity":
        return ("valid", "invalid")
    if level == "fix_pattern":
        return (pattern.code for pattern in codebook.fix_patterns)
    return codebook.cause_codes if level == "cause" else (*codebook.cause_codes, "invalid")
