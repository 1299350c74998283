"""Questions asked for by their ids, and the answers that a page did not nest.

An entry goes through three steps at the most: a short link to an answer learns its question's id, the
question is asked for, and its answers are asked for apart if not all of them came with it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pipeline.records import ThreadRecord
from pipeline.sources.base import Entry, Lookup, Page, Payload, Result
from pipeline.sources.stackexchange_client import Fetched
from pipeline.sources.stackexchange_records import gone_thread, is_complete, is_question, to_thread
from pipeline.sources.stackexchange_site import IDS, OLDEST_FIRST, Site, with_payload

LARGEST_ID = 2**31 - 1  # beyond, the API refuses the whole request


def fetch_questions(site: Site, entries: Sequence[Entry], lookup: Lookup) -> Page:
    """Take the entries that are least far: first those that lack an id, then a question, then answers."""
    without_id = [entry for entry in entries if "id" not in _state(entry)]
    if without_id:
        return _fetch_ids(site, without_id, lookup)
    without_question = [entry for entry in entries if "question" not in _state(entry)]
    if without_question:
        return _fetch_by_id(site, without_question, lookup)
    return _fetch_answers(site, entries, lookup)


def _fetch_ids(site: Site, entries: Sequence[Entry], lookup: Lookup) -> Page:
    """Ask which questions the answers of short links belong to."""
    entries, results = _refuse(entries, "answer")
    if not entries:
        return Page(tuple(results))
    fetched = site.fetch(
        "answers/{ids}", lookup, ids=[_state(entry)["answer"] for entry in entries], **OLDEST_FIRST
    )
    questions = {str(item.get("answer_id")): item.get("question_id") for item in fetched.items}
    for entry in entries:
        question = questions.get(_state(entry)["answer"])
        if question is None:
            results.append(Result(entry, "gone", note="gone: the site has no such answer"))
        else:
            results.append(Result(entry, "pending", {"id": str(question)}))
    return Page(tuple(results), memory=fetched.memory)


def _fetch_by_id(site: Site, entries: Sequence[Entry], lookup: Lookup) -> Page:
    entries, results = _refuse(entries, "id")
    if not entries:
        return Page(tuple(results))
    ids = list(dict.fromkeys(_state(entry)["id"] for entry in entries))
    fetched = site.fetch("questions/{ids}", lookup, ids=ids, **OLDEST_FIRST)
    found = {str(item["question_id"]): item for item in fetched.items if is_question(item)}
    known = lookup.known([number for number in ids if number not in found])
    threads: dict[str, ThreadRecord] = {}
    for entry in entries:
        number = _state(entry)["id"]
        if number not in found:
            results.append(Result(entry, "gone", note="gone: the site has no such question"))
            if number in known:
                threads[number] = gone_thread(number, site.settings)
        elif is_complete(found[number]):
            results.append(Result(entry, cursor={"id": number}))
            threads[number] = to_thread(found[number], site.settings)
        else:
            results.append(Result(entry, "pending", {"id": number, "question": found[number]}))
    return with_payload(fetched, results, list(threads.values()))


def _fetch_answers(site: Site, entries: Sequence[Entry], lookup: Lookup) -> Page:
    """Ask for the answers of as many questions as one page of answers holds."""
    chosen = _that_fit_a_page(entries)
    state = _state(chosen[0])
    page = state.get("page", 1)
    ids = [_state(entry)["id"] for entry in chosen]
    fetched = site.fetch("questions/{ids}/answers", lookup, ids=ids, page=page, **OLDEST_FIRST)
    results, payloads, threads = [], [], []
    for entry in chosen:
        question = dict(_state(entry)["question"])
        answers = _united(question, state.get("answers", []), fetched)
        if fetched.has_more and (len(chosen) == 1 or len(answers) < (question.get("answer_count") or 0)):
            results.append(Result(entry, "pending", _alone(entry, chosen, answers, page)))
            continue
        question["answers"] = answers
        payloads.append(Payload("question", fetched.request, json.dumps({"items": [question]}).encode()))
        threads.append((to_thread(question, site.settings), len(payloads) - 1))
        results.append(Result(entry, cursor={"id": _state(entry)["id"]}))
    return Page(tuple(results), tuple(payloads), tuple(threads), memory=fetched.memory)


def _state(entry: Entry) -> dict[str, Any]:
    return {**entry.parameters, **(entry.cursor or {})}


def _refuse(entries: Sequence[Entry], name: str) -> tuple[list[Entry], list[Result]]:
    """Settle the entries whose id would have the API refuse the whole request."""
    refused = [entry for entry in entries if not _is_id(_state(entry)[name])]
    results = [Result(entry, "gone", note="gone: the API knows no such id") for entry in refused]
    return [entry for entry in entries if entry not in refused], results


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_ID


def _that_fit_a_page(entries: Sequence[Entry]) -> list[Entry]:
    """Return the first entries whose answers fit one page together, or the first one alone."""
    chosen, answers = [entries[0]], _count_of(entries[0])
    if "answers" in _state(entries[0]):
        return chosen
    for entry in entries[1:]:
        answers += _count_of(entry)
        if answers > IDS or "answers" in _state(entry):
            break
        chosen.append(entry)
    return chosen


def _count_of(entry: Entry) -> int:
    count = _state(entry)["question"].get("answer_count")
    return max(1, count) if isinstance(count, int) else 1


def _united(
    question: dict[str, Any], earlier: list[dict[str, Any]], fetched: Fetched
) -> list[dict[str, Any]]:
    """Return the answers of a question: those nested in it, of earlier pages, and of this page."""
    nested = [answer for answer in question.get("answers") or () if isinstance(answer, dict)]
    asked = [item for item in fetched.items if item.get("question_id") == question["question_id"]]
    return list({answer.get("answer_id"): answer for answer in (*nested, *earlier, *asked)}.values())


def _alone(entry: Entry, chosen: list[Entry], answers: list[dict[str, Any]], page: int) -> dict[str, Any]:
    """Return the cursor of a question whose answers need pages of their own."""
    state = _state(entry)
    if len(chosen) > 1:
        return {**(entry.cursor or {}), "question": state["question"], "answers": [], "page": 1}
    return {**(entry.cursor or {}), "question": state["question"], "answers": answers, "page": page + 1}
