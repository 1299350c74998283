"""Where a study stands: threads, candidates, labels, proposals, the funnel, work left, last runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.crawls import Crawl, CrawlRun, FrontierEntry, ListedUrl
from db.proposals import Proposal
from db.summaries import Seen, count_threads
from db.threads import ThreadStratum
from pipeline.material import read_groups, seen_and_candidates
from pipeline.study import Stratum, Study
from pipeline.tables import Groups

SHOWN = 5  # failing threads of a source, in the lines for a person


def read_status(session: Session, study: Study) -> dict[str, Any]:
    """Return the whole status as one JSON-ready document; counts are of threads.

    `active` labels, of threads that a model's uncertainty drew, are in no other count.
    `criteria` of a stratum is the funnel: how many threads meet each criterion and all before it.
    """
    groups, active = read_groups(session)
    kinds, proposed = count_threads(session), _proposed(session)
    return {
        "study": study.name,
        "threads": sum(kinds.values()),
        "candidates": sum(count for kind, count in kinds.items() if kind.candidate),
        "labels": _labels(groups) | {"active": active},
        "proposals": session.scalar(select(func.count(func.distinct(Proposal.thread_id)))),
        "sources": _per_source(kinds),
        "strata": {
            stratum.code: _stratum(study, stratum, kinds, groups) | {"proposals": proposed[stratum.code]}
            for stratum in study.strata
        },
        "listed": _listed(session),
        "unfinished": _unfinished(session),
        "failing": _failing(session),
        "last_runs": _last_runs(session),
    }


def _labels(groups: Groups) -> dict[str, int]:
    final = sum(groups.values())
    valid = sum(count for key, count in groups.items() if key.valid)
    simulated = sum(count for key, count in groups.items() if key.simulated)
    return {"final": final, "valid": valid, "not_valid": final - valid, "simulated": simulated}


def _per_source(kinds: Mapping[Seen, int]) -> dict[str, Any]:
    counts = seen_and_candidates((kind.source, kind, count) for kind, count in kinds.items())
    return {
        source: {"threads": seen, "candidates": candidates} for source, (seen, candidates) in counts.items()
    }


def _stratum(study: Study, stratum: Stratum, kinds: Mapping[Seen, int], groups: Groups) -> dict[str, Any]:
    own = {kind: count for kind, count in kinds.items() if stratum.code in kind.strata}
    names = study.criteria.get(study.sources[stratum.source].service, ())
    return {
        "quota": stratum.quota,
        "threads": sum(own.values()),
        "criteria": _funnel(own, names),
        "candidates": sum(count for kind, count in own.items() if kind.candidate),
        "labels": _labels({key: count for key, count in groups.items() if stratum.code in key.strata}),
    }


def _funnel(kinds: Mapping[Seen, int], names: Sequence[str]) -> dict[str, int]:
    """Return how many threads are left after each criterion, in the order of `names`."""
    left = dict(kinds)
    funnel = {}
    for name in names:
        left = {kind: count for kind, count in left.items() if (name, False) not in kind.criteria}
        funnel[name] = sum(left.values())
    return funnel


def _proposed(session: Session) -> Counter[str]:
    """Count the threads with a proposal by stratum."""
    query = select(ThreadStratum.stratum, func.count(func.distinct(Proposal.thread_id)))
    rows = query.join_from(Proposal, ThreadStratum, ThreadStratum.thread_id == Proposal.thread_id)
    return Counter(dict(session.execute(rows.group_by(ThreadStratum.stratum)).tuples().all()))


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


def _failing(session: Session) -> dict[str, list[dict[str, Any]]]:
    """Return the threads that a source fails on, those that failed most first: name, times and reason."""
    rows = session.execute(
        select(Crawl.source, FrontierEntry)
        .join(FrontierEntry, FrontierEntry.crawl_id == Crawl.id)
        .where(FrontierEntry.state == "pending", FrontierEntry.failures > 0, Crawl.finished_at.is_(None))
        .order_by(Crawl.source, FrontierEntry.failures.desc(), FrontierEntry.id)
    )
    failing: dict[str, list[dict[str, Any]]] = {}
    for source, entry in rows:
        found = {"thread": _named(entry), "failures": entry.failures, "reason": entry.note}
        failing.setdefault(source, []).append(found)
    return failing


def _named(entry: FrontierEntry) -> str:
    name = entry.parameters.get("name")
    return f"{name}#{entry.parameters['number']}" if name else entry.key


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
    for source, failing in status["failing"].items():
        for entry in failing[:SHOWN]:
            lines.append(f"failing: {source} {entry['thread']}, {entry['failures']} times; {entry['reason']}")
        if len(failing) > SHOWN:
            lines.append(f"failing: {source}, and {len(failing) - SHOWN} more; `status --json` has them all")
    for source, run in status["last_runs"].items():
        reason = f" ({run['reason']})" if run["reason"] else ""
        lines.append(
            f"last run: {source}, {run['activity']} {run['outcome']}{reason}, {run['started_at']},"
            f" {run['requests']} requests"
        )
    return "\n".join(lines)
