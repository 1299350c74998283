"""The erratum report: everything a published study prints that can be recomputed, recomputed.

Each rule yields checks; a check says what is printed, what the counts or the URL lists give, and
where. Nothing is corrected. Without the lists only the counts are audited, and the report says so.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from pipeline.errors import InputError
from pipeline.published import Published
from pipeline.table import Table

URL = re.compile(r"https?://[^\s|<>()\"]+")
GITHUB = re.compile(r"https?://github\.com/(?P<repository>[^/]+/[^/]+)/(?P<kind>issues|pull)/(?P<number>\d+)")
QUESTION = re.compile(r"https?://stackoverflow\.com/questions/(?P<number>\d+)")
TOPIC = re.compile(r"https?://[^/]+/t/(?:[^/]+/)?(?P<number>\d+)(?P<post>/\d+)?")


@dataclass(frozen=True, slots=True)
class Check:
    """One statement of the study set against what can be recomputed."""

    rule: str
    where: str
    printed: str
    recomputed: str

    @property
    def agrees(self) -> bool:
        """Whether the two are the same."""
        return self.printed == self.recomputed


@dataclass(frozen=True, slots=True)
class Entry:
    """One URL of a published list: its stratum, what it points to, and to which thread."""

    stratum: str
    url: str
    kind: str | None
    thread: str | None
    repository: str | None = None
    one_post: bool = False


def audit_tables(published: Published, lists: Path | None) -> list[Table]:
    """Return what does not agree, how many checks each rule made, and the threads behind the findings."""
    checks = [*count_checks(published)]
    entries = read_lists(published, lists) if lists else []
    if entries:
        checks += list_checks(published, entries)
    tables = [_disagreements(published, checks, bool(entries)), _rules(checks)]
    return [*tables, _concerned(entries)] if entries else tables


def _disagreements(published: Published, checks: list[Check], with_lists: bool) -> Table:
    rows = tuple((c.rule, c.where, c.printed, c.recomputed) for c in checks if not c.agrees)
    notes = [f"{len(checks)} checks of {published.citation}; {len(rows)} do not agree."]
    if not with_lists:
        notes.append("The published URL lists were not given (--lists DIR), so only the counts are audited.")
    columns = ("Rule", "Where", "Printed", "Recomputed")
    return Table("audit", f"What does not agree in {published.citation}", columns, rows, tuple(notes))


def _rules(checks: list[Check]) -> Table:
    made = Counter(check.rule for check in checks)
    agreeing = Counter(check.rule for check in checks if check.agrees)
    rows = tuple((rule, made[rule], agreeing[rule], made[rule] - agreeing[rule]) for rule in made)
    return Table("audit-rules", "Checks by rule", ("Rule", "Checks", "Agree", "Do not"), rows)


def count_checks(published: Published) -> Iterator[Check]:
    """Yield the checks that need nothing but the printed figures."""
    yield from _table1_sums(published)
    yield from _table1_shares(published)
    yield from _quoted_shares(published)
    yield from _one_figure_a_share(published)
    yield from _categories(published)
    yield from _pools(published)
    yield from _fix_sums(published)
    yield from _printed_ranges(published)


def _table1_sums(published: Published) -> Iterator[Check]:
    for row in published.table1:
        where = f"Table 1, {row['cause']}"
        yield Check(
            "row total is the sum of its cells", where, str(row["total"]), str(sum(row["counts"].values()))
        )
    for stratum in published.strata:
        code = stratum["code"]
        yield Check(
            "column sums to the valid threads of its stratum",
            f"Table 1, # {code}",
            str(stratum["valid"]),
            str(sum(published.counts(code))),
        )
    yield Check(
        "cells sum to the valid threads", "Table 1", str(published.valid), str(sum(published.counts()))
    )


def _table1_shares(published: Published) -> Iterator[Check]:
    for row in published.table1:
        if "share" in row:
            count, of = published.count_of(row["cause"]), published.count_of(row["type"])
            recomputed = _percent(count, of, row["share"])
            yield Check(
                "proportion is of its broad type", f"Table 1, {row['cause']}", row["share"], recomputed
            )


def _quoted_shares(published: Published) -> Iterator[Check]:
    for share in published.shares:
        recomputed = _percent(published.count_of(share["of"]), published.valid, share["printed"])
        where = f"section {share['section']}, {share['of']} of all"
        yield Check("quoted share follows from Table 1", where, share["printed"], recomputed)


def _percent(count: int, of: int, printed: str) -> str:
    """Return 100 count / of with as many decimals as the printed figure has."""
    return str((Decimal(100 * count) / of).quantize(Decimal(printed), ROUND_HALF_UP))


def _one_figure_a_share(published: Published) -> Iterator[Check]:
    quoted: dict[str, list[dict[str, str]]] = defaultdict(list)
    for share in published.shares:
        quoted[share["of"]].append(dict(share))
    for name, (first, *others) in quoted.items():
        for other in others:
            where = f"{name} of all, section {first['section']} and section {other['section']}"
            yield Check("a share has one figure throughout", where, first["printed"], other["printed"])


def _categories(published: Published) -> Iterator[Check]:
    named = [row for row in published.table1 if row["cause"] != row["type"]]
    covered = sum(sum(row["counts"].values()) for row in named)
    yield Check("number of categories", "Table 1", str(published.categories), str(len(named)))
    where = (
        f"the {published.categories} categories, all {published.valid} are said to be classified into them"
    )
    yield Check("the categories hold every valid thread", where, str(published.valid), str(covered))


def _pools(published: Published) -> Iterator[Check]:
    by_code = {stratum["code"]: stratum for stratum in published.strata}
    for pool in published.pools:
        members = [by_code[code] for code in pool["strata"]]
        where = f"section {pool['section']}, {pool['source']}"
        whole = sum(member["candidates"] for member in members)
        own = sum(member["candidates"] for member in members if member["source"] == pool["source"])
        yield Check("candidates sum to the quoted pool", where, str(pool["printed"]), str(whole))
        others = [f"{m['candidates']} are of {m['source']}" for m in members if m["source"] != pool["source"]]
        where = f"{where} ({', '.join(others)})" if others else where
        yield Check("a pool holds one source's candidates", where, str(pool["printed"]), str(own))


def _fix_sums(published: Published) -> Iterator[Check]:
    for fix in published.fixes:
        where, total = f"section 2.2, {fix['cause']}", published.count_of(fix["cause"])
        yield Check("quoted number of bugs is the row total", where, str(fix["of"]), str(total))
        if fix["complete"]:
            fixed = sum(count for _, count in fix["counts"])
            yield Check("fix patterns sum to the bugs of the cause", where, str(fix["of"]), str(fixed))


def _printed_ranges(published: Published) -> Iterator[Check]:
    from pipeline.ranges import counterexamples

    for entry in published.table2:
        finite, infinite = counterexamples(entry)
        where = f"Table 2, {entry['function']} in float32, {entry['printed']}"
        found = "invalid" if finite is None else f"finite at {finite:.7g}"
        yield Check("a number in the printed range is invalid", where, "invalid", found)
        found = "finite" if infinite is None else f"not finite at {infinite:.7g}"
        yield Check("a number outside the printed range is finite", where, "finite", found)


def read_lists(published: Published, folder: Path) -> list[Entry]:
    """Read the URL lists of every stratum; InputError names a list that is not there."""
    entries = []
    for stratum in published.strata:
        path = folder / stratum["list"]
        if not path.is_file():
            raise InputError(
                f"--lists {folder}: has no {stratum['list']!r}; name the folder with the published lists"
            )
        urls = URL.findall(path.read_text(encoding="utf-8"))
        entries += [to_entry(stratum["code"], url) for url in urls]
    return entries


def to_entry(stratum: str, url: str) -> Entry:
    """Return what a URL of a list points to; kind and thread are None where that cannot be said."""
    if found := GITHUB.match(url):
        kind = "pull request" if found["kind"] == "pull" else "issue"
        return Entry(
            stratum, url, kind, f"{found['repository'].lower()}#{found['number']}", found["repository"]
        )
    if found := QUESTION.match(url):
        return Entry(stratum, url, "question", f"question {found['number']}")
    if found := TOPIC.match(url):
        return Entry(stratum, url, "topic", f"topic {found['number']}", one_post=found["post"] is not None)
    return Entry(stratum, url, None, None)


def list_checks(published: Published, entries: list[Entry]) -> Iterator[Check]:
    """Yield the checks of the URL lists."""
    yield from _list_lengths(published, entries)
    yield from _list_kinds(published, entries)
    yield from _distinct_threads(published, entries)
    yield from _other_library(published, entries)


def _list_lengths(published: Published, entries: list[Entry]) -> Iterator[Check]:
    for stratum in published.strata:
        own = [entry for entry in entries if entry.stratum == stratum["code"]]
        where = f"list {stratum['code']}"
        yield Check("a list has one URL a valid thread", where, str(stratum["valid"]), str(len(own)))
        threads = {entry.thread or entry.url for entry in own}
        yield Check("a list names a thread once", where, str(len(own)), str(len(threads)))


def _list_kinds(published: Published, entries: list[Entry]) -> Iterator[Check]:
    for stratum in published.strata:
        own = Counter(entry.kind for entry in entries if entry.stratum == stratum["code"])
        others = [
            f"{count} {kind or 'without an id'}"
            for kind, count in sorted(own.items(), key=str)
            if kind != stratum["kind"]
        ]
        where = f"list {stratum['code']}" + (f" ({', '.join(others)})" if others else "")
        yield Check(
            f"every entry is of kind {stratum['kind']}", where, str(own.total()), str(own[stratum["kind"]])
        )
    issues = [entry for entry in entries if entry.repository]
    pulls = sum(entry.kind == "pull request" for entry in issues)
    yield Check("no pull request among the issues", f"{len(issues)} GitHub entries", "0", str(pulls))
    without = [entry.url for entry in entries if entry.thread is None]
    yield Check(
        "every URL names a thread by its id", "; ".join(without) or "all lists", "0", str(len(without))
    )
    one_post = sum(entry.one_post for entry in entries)
    yield Check("a URL names a thread, not one post of it", "all lists", "0", str(one_post))


def _distinct_threads(published: Published, entries: list[Entry]) -> Iterator[Check]:
    known = {entry.thread for entry in entries if entry.thread}
    without = sum(entry.thread is None for entry in entries)
    where = f"all lists ({len(known)} ids and {without} URL without one)" if without else "all lists"
    yield Check("the entries are as many threads", where, str(published.valid), str(len(known) + without))
    yield Check("no thread stands in two lists", "all lists", "0", str(len(_cross_listed(entries))))


def _cross_listed(entries: list[Entry]) -> dict[str, list[str]]:
    """Return the strata of each thread that stands in several lists."""
    strata: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if entry.thread:
            strata[entry.thread].add(entry.stratum)
    return {thread: sorted(codes) for thread, codes in sorted(strata.items()) if len(codes) > 1}


def _other_library(published: Published, entries: list[Entry]) -> Iterator[Check]:
    found = [entry for entry in entries if _names_other_library(published, entry)]
    where = (
        ", ".join(sorted({f"{entry.repository} in list {entry.stratum}" for entry in found})) or "all lists"
    )
    yield Check("no repository is named after the other library", where, "0", str(len(found)))


def _names_other_library(published: Published, entry: Entry) -> bool:
    own = next(stratum["library"] for stratum in published.strata if stratum["code"] == entry.stratum)
    others = {stratum["library"].lower() for stratum in published.strata} - {own.lower()}
    name = (entry.repository or "").lower()
    return own.lower() not in name and any(other in name for other in others)


def _concerned(entries: list[Entry]) -> Table:
    """List the threads behind the findings of the URL lists, one row a thread or entry."""
    rows = [("in two lists", ", ".join(codes), thread) for thread, codes in _cross_listed(entries).items()]
    rows += [("pull request", e.stratum, e.url) for e in entries if e.kind == "pull request"]
    rows += [("no thread id", e.stratum, e.url) for e in entries if e.thread is None]
    return Table(
        "audit-entries",
        "Entries behind the findings",
        ("Finding", "List", "Thread"),
        tuple(rows),
        grouped=True,
    )
