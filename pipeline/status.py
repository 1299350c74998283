"""Where a study stands: threads, candidates, labels, proposals, the funnel, work left, last runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.crawls import Crawl, CrawlRun, FrontierEntry, ListedUrl
from db.proposals import Proposal
from db.threads import Criterion, Thread, ThreadStratum
from pipeline.material import read_groups
from pipeline.study import Study
from pipeline.tables import Groups


def read_status(session: Session, study: Study) -> dict[str, Any]:
    """Return the whole status as one JSON-ready document; counts are of threads.

    `active` labels, of threads that a model's uncertainty drew, are in no other count.
    `criteria` of a stratum is the funnel: how many threads meet each criterion and all before it.
    """
    total = select(func.count()).select_from(Thread)
    groups, active = read_groups(session)
    return {
        "study": study.name,
        "threads": session.scalar(total),
        "candidates": session.scalar(total.where(Thread.candidate)),
        "labels": _labels(groups) | {"active": active},
        "proposals": session.scalar(select(func.count(func.distinct(Proposal.thread_id)))),
        "sources": _per_source(session),
        "strata": {stratum.code: _stratum(session, study, stratum.code, groups) for stratum in study.strata},
        "listed": _listed(session),
        "unfinished": _unfinished(session),
        "last_runs": _last_runs(session),
    }


def _labels(groups: Groups) -> dict[str, int]:
    final = sum(groups.values())
    valid = sum(count for key, count in groups.items() if key.valid)
    simulated = sum(count for key, count in groups.items() if key.simulated)
    return {"final": final, "valid": valid, "not_valid": final - valid, "simulated": simulated}


def _per_source(session: Session) -> dict[str, Any]:
    rows = session.execute(
        select(Thread.source, func.count(), func.count().filter(Thread.candidate))
        .group_by(Thread.source)
        .order_by(Thread.source)
    )
    return {source: {"threads": threads, "candidates": candidates} for source, threads, candidates in rows}


def _stratum(session: Session, study: Study, code: str, groups: Groups) -> dict[str, Any]:
    member = select(ThreadStratum.thread_id).where(ThreadStratum.stratum == code)
    threads = select(func.count()).select_from(Thread).where(Thread.id.in_(member))
    own = {key: count for key, count in groups.items() if code in key.strata}
    proposed = select(func.count(func.distinct(Proposal.thread_id))).where(Proposal.thread_id.in_(member))
    number = session.scalar(threads) or 0
    return {
        "quota": study.stratum(code).quota,
        "threads": number,
        "criteria": _funnel(session, study, code, number),
        "candidates": session.scalar(threads.where(Thread.candidate)),
        "labels": _labels(own),
        "proposals": session.scalar(proposed),
    }


def _funnel(session: Session, study: Study, code: str, threads: int) -> dict[str, int]:
    """Return how many of a stratum's threads are left after each criterion, in the study's order."""
    names = study.criteria.get(study.sources[study.stratum(code).source].service, ())
    missed = (
        select(Criterion.thread_id, Criterion.name)
        .join(ThreadStratum, ThreadStratum.thread_id == Criterion.thread_id)
        .where(ThreadStratum.stratum == code, ~Criterion.met)
    )
    first: dict[int, int] = {}
    for thread_id, name in session.execute(missed):
        first[thread_id] = min(first.get(thread_id, len(names)), names.index(name))
    lost = Counter(first.values())
    return {name: threads - sum(lost[at] for at in range(index + 1)) for index, name in enumerate(names)}


def _listed(session: Session) -> dict[str, int]:
    rows = select(ListedUrl.outcome, func.count()).group_by(ListedUrl.outcome).order_by(ListedUrl.outcome)
    return dict(session.execute(rows).tuples().all())


def _unfinished(session: Session) -> dict[str, int]:
    rows = session.execute(
        select(Crawl.source, func.count())
        .join(FrontierEntry, FrontierEntry.crawl_id == Crawl.id)
        .where(FrontierEntry.state == "pending", Crawl.finished_at.is_(None))
        .group_by(Crawl.source)
        .order_by(Crawl.source)
    )
    return dict(rows.tuples().all())


def _last_runs(session: Session) -> dict[str, Any]:
    newest = select(func.max(CrawlRun.id)).group_by(CrawlRun.source)
    runs = session.scalars(select(CrawlRun).where(CrawlRun.id.in_(newest)).order_by(CrawlRun.source))
    return {
        run.source: {
            "activity": run.activity,
            "outcome": run.outcome,
            "reason": run.reason,
            "started_at": run.started_at.isoformat(timespec="seconds"),
            "finished_at": run.finished_at and run.finished_at.isoformat(timespec="seconds"),
            "requests": run.requests,
            "counts": run.counts,
        }
        for run in runs
    }


def render_status(status: dict[str, Any]) -> str:
    """Return the status as lines for a person."""
    lines = [f"{status['study']}: {status['threads']} threads, {status['candidates']} candidates,"]
    labels, simulated = status["labels"]["final"], status["labels"]["simulated"]
    lines[0] += f" {labels} final labels{f' ({simulated} simulated)' if simulated else ''}"
    if active := status["labels"]["active"]:
        lines[0] += f" and {active} of active drawing that count in no table"
    lines[0] += f", {status['proposals']} proposals"
    for code, stratum in status["strata"].items():
        funnel = "".join(f" -> {name} {number}" for name, number in stratum["criteria"].items())
        lines.append(f"{code:>4}: seen {stratum['threads']}{funnel} -> candidates {stratum['candidates']}")
        labels = stratum["labels"]
        lines.append(
            f"      labels: {labels['valid']} of {stratum['quota']} valid, {labels['not_valid']} not valid;"
            f" proposals: {stratum['proposals']}"
        )
    if status["listed"]:
        lines.append(
            "listed URLs: " + ", ".join(f"{number} {name}" for name, number in status["listed"].items())
        )
    for source, number in status["unfinished"].items():
        lines.append(f"unfinished: {source}, {number} entries pending; `nanmine crawl {source}` resumes")
    for source, run in status["last_runs"].items():
        reason = f" ({run['reason']})" if run["reason"] else ""
        lines.append(
            f"last run: {source}, {run['activity']} {run['outcome']}{reason}, {run['started_at']},"
            f" {run['requests']} requests"
        )
    return "\n".join(lines)
