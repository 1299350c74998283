"""Agreement for the command line: of one phase and stratum, as text."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from db.errors import NothingToDo
from db.threads import Thread, ThreadStratum
from labeling.desk import Desk
from pipeline.agreement import RARE, REPLICATES, CategoryAgreement, Statistic
from pipeline.reliability import Agreement, agreement_of, checks_of, phases_of


def agreement_at(
    desk: Desk,
    phases: Sequence[str] = (),
    stratum: str | None = None,
    *,
    pool: bool = False,
    seed: int | None = None,
    replicates: int = REPLICATES,
) -> Agreement:
    """Return the agreement; NothingToDo says what a protocol of checks has instead of a coefficient."""
    if not phases and not phases_of(desk.history):
        raise NothingToDo(_no_coefficient(desk))
    if stratum is not None:
        desk.study.stratum(stratum)
    return agreement_of(
        desk.history,
        desk.study.codebook,
        phases=phases,
        strata=_strata(desk),
        stratum=stratum,
        pool=pool,
        seed=desk.protocol.seed if seed is None else seed,
        replicates=replicates,
    )


def _no_coefficient(desk: Desk) -> str:
    checked = checks_of(desk.history)
    if not checked.checked:
        return "no thread has labels that two people gave on their own"
    return (
        f"{checked.checked} labels were checked and {checked.disputed} disputed; whoever checks sees"
        " the label, so this protocol has no coefficient of agreement"
    )


def _strata(desk: Desk) -> dict[str, tuple[str, ...]]:
    rows = desk.session.execute(
        select(Thread.url, ThreadStratum.stratum)
        .join(ThreadStratum, ThreadStratum.thread_id == Thread.id)
        .order_by(ThreadStratum.stratum)
    )
    strata: dict[str, tuple[str, ...]] = {}
    for url, stratum in rows:
        if url in desk.history.threads:
            strata[url] = (*strata.get(url, ()), stratum)
    return strata


def agreement_text(found: Agreement, primary: str) -> str:
    """Return the agreement as lines; the coefficient the study chose beforehand is marked."""
    lines = [
        f"phase {found.phase}, {found.stratum or 'all strata'}, raters {', '.join(found.raters)}"
        + (", simulated" if found.simulated else "")
    ]
    for level in found.levels:
        dropped = ", ".join(f"{number} {reason}" for reason, number in sorted(level.dropped.items()))
        left_out = f" (left out: {dropped})" if dropped else ""
        lines.append(
            f"{level.name}: {level.items} threads, {len(level.disagreements)} disagreements{left_out}"
        )
        lines += [
            f"  {'*' if item.name == primary else ' '} {_statistic_text(item)}" for item in level.statistics
        ]
        if level.name == "combined":
            lines += [_category_text(item) for item in level.per_category if item.either]
    return "\n".join([*lines, "* chosen in the study file before labeling; 95 % bootstrap intervals"])


def _category_text(item: CategoryAgreement) -> str:
    kappa = "-" if item.kappa.value is None else f"{item.kappa.value:.4f}"
    rare = f", fewer than {RARE} threads" if item.rare else ""
    both = f"both {item.both} of {item.either}, positive {item.positive:.4f}"
    return f"      {item.category:<8} {both}, kappa {kappa}{rare}"


def _statistic_text(item: Statistic) -> str:
    if item.value is None:
        return f"{item.name:<20} -  ({item.reason})"
    interval = (
        f"  [{item.low:.4f}, {item.high:.4f}]" if item.low is not None and item.high is not None else ""
    )
    if item.name == "percent":
        return f"{item.name:<20} {item.value:.2%}{interval}"
    return f"{item.name:<20} {item.value:.4f}{interval}"
