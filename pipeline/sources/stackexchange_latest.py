"""What changed on a Stack Exchange site: what was active, and what the number of questions tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pipeline.sources.base import Entry, Lookup, Page, Result
from pipeline.sources.manners import from_seconds
from pipeline.sources.stackexchange_records import is_question, to_thread
from pipeline.sources.stackexchange_site import (
    LAST_PAGE,
    Site,
    earlier,
    is_within,
    later,
    question_entry,
    search_entries,
)
from pipeline.text import to_text


def fetch_latest(site: Site, entries: Sequence[Entry], lookup: Lookup) -> Page:
    """List what was active since, and compare the number of all questions; a first crawl only counts."""
    entry = entries[0]
    parameters, since = entry.parameters, entry.parameters["active_since"]
    if since is None:
        fetched = site.count(lookup, parameters)
        baseline = _baseline(site, parameters, fetched.total, site.now())
        return Page((Result(entry),), memory={**fetched.memory, **baseline})
    cursor = entry.cursor or {"page": 1, "newcomers": []}
    bounds = {"fromdate": earlier(parameters["since"]), "todate": later(parameters["until"])}
    wanted = {"page": cursor["page"], "sort": "activity", "order": "desc"}
    fetched = site.search(lookup, bounds, "nested" if entry.cursor else "totalled", **wanted)
    cursor = {"total": fetched.total, "at": site.now(), **cursor}
    active = [item for item in fetched.items if is_question(item) and _activity(item) >= since]
    seen = site.remembered(lookup, _baseline_name(parameters)) or {"at": 0}
    cursor["newcomers"] = sorted({*cursor["newcomers"], *_ids_created_after(seen["at"], active)})
    known = lookup.known([str(item["question_id"]) for item in active])
    news = [item for item in active if is_within(item, parameters) and _is_news(site, item, known)]
    found = (_recheck(parameters),) if news else ()
    if fetched.has_more and len(active) == len(fetched.items) and cursor["page"] < LAST_PAGE:
        result = Result(entry, "pending", {**cursor, "page": cursor["page"] + 1})
        return site.page(fetched, result, news, found)
    return _compare_with_baseline(site, entry, cursor, site.page(fetched, Result(entry), news, found), lookup)


def _compare_with_baseline(
    site: Site, entry: Entry, cursor: dict[str, Any], page: Page, lookup: Lookup
) -> Page:
    """Return the page; if the number of questions is not as expected, with all of the searches again."""
    parameters = entry.parameters
    seen = site.remembered(lookup, _baseline_name(parameters))
    memory = {**page.memory, **_baseline(site, parameters, cursor["total"], cursor["at"])}
    if seen is None or seen["query"] != site.wanted():
        return replace(page, memory=memory)
    expected = seen["total"] + len(cursor["newcomers"])
    if cursor["total"] == expected and cursor["page"] < LAST_PAGE:
        return replace(page, memory=memory)
    bounds = {name: parameters[name] for name in ("since", "until")}
    note = f"{cursor['total']} questions where {expected} were expected: all are looked at again"
    again = (*page.found, _recheck(parameters), *search_entries(site.study, bounds))
    return replace(page, results=(Result(entry, note=note),), found=again, memory=memory)


def fetch_recheck(site: Site, entries: Sequence[Entry], lookup: Lookup) -> Page:
    """Have every stored question looked at again by its id: no list shows what was deleted."""
    bounds = entries[0].parameters
    stored = lookup.stored(from_seconds(bounds["since"]), from_seconds(bounds["until"]))
    return Page((Result(entries[0]),), found=tuple(question_entry(number) for number in stored))


def _baseline(site: Site, parameters: dict[str, Any], total: int, at: int) -> dict[str, dict[str, Any]]:
    """Return what the next crawl compares with: how many questions there were, and when."""
    value = {"query": site.wanted(), "at": at, "total": total}
    return {_baseline_name(parameters): site.to_remember(value)}


def _baseline_name(parameters: dict[str, Any]) -> str:
    return f"baseline {parameters['since']}..{parameters['until']}"


def _is_news(site: Site, question: dict[str, Any], known: dict[str, datetime | None]) -> bool:
    number = str(question["question_id"])
    if number in known:
        return known[number] != from_seconds(question.get("last_activity_date"))
    thread = to_thread(question, site.settings)
    texts = [thread.title, *(to_text(post.body, post.body_format).plain for post in thread.posts)]
    return any(next(site.study.keywords.find(text), None) is not None for text in texts)


def _recheck(parameters: dict[str, Any]) -> Entry:
    bounds = {name: parameters[name] for name in ("since", "until")}
    return Entry("recheck", "recheck", bounds, priority=1)


def _activity(question: dict[str, Any]) -> int:
    moment = question.get("last_activity_date")
    return moment if isinstance(moment, int) else 0


def _ids_created_after(moment: int, questions: Sequence[dict[str, Any]]) -> list[int]:
    """Return the ids of the questions that a count at `moment` cannot have counted."""
    return [item["question_id"] for item in questions if (item.get("creation_date") or 0) > moment]
