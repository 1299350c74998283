"""Counting: from labels to the rows of the study's tables; nothing here prints.

Everything is counted from groups: how many threads share strata, verdict, cause, fix pattern and
function. A million labels make some thousand groups, so each table costs next to nothing. A thread
counts once in each of its strata, as in the paper; distinct threads stand beside where they differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import NamedTuple

from db.records import FinalLabel
from pipeline.codebook import Cause, Codebook
from pipeline.study import Study
from pipeline.table import Cell, Share, Table

OUTSIDE = "outside"


class Group(NamedTuple):
    """What a set of final labels has in common."""

    strata: tuple[str, ...]
    valid: bool
    reason: str | None
    root_cause: str | None
    fix_pattern: str | None
    function: str | None
    how: str
    simulated: bool


Groups = Mapping[Group, int]
_key = attrgetter(
    "strata",
    "label.valid",
    "label.reason",
    "label.root_cause",
    "label.fix_pattern",
    "label.function",
    "how",
    "simulated",
)


def group(labels: Iterable[FinalLabel]) -> Counter[Group]:
    """Return how many threads stand behind each group."""
    return Counter({Group(*key): count for key, count in Counter(map(_key, labels)).items()})


def of_verdict(groups: Groups, valid: bool) -> Groups:
    """Return the groups of valid threads, or of the others."""
    return {key: count for key, count in groups.items() if key.valid is valid}


class Tally:
    """The threads of some groups: by stratum, outside every stratum, listed (the sum) and distinct."""

    def __init__(self, groups: Iterable[tuple[Group, int]], strata: tuple[str, ...]) -> None:
        self.by_stratum: Counter[str] = Counter()
        self.distinct = 0
        for key, count in groups:
            self.distinct += count
            for stratum in [code for code in key.strata if code in strata] or [OUTSIDE]:
                self.by_stratum[stratum] += count

    @property
    def listed(self) -> int:
        """The sum over the strata: a cross-listed thread counts in each."""
        return self.by_stratum.total()

    @property
    def outside(self) -> int:
        """Threads that count in no stratum."""
        return self.by_stratum[OUTSIDE]


class Layout:
    """The count columns of a table; `# Outside` and `# Distinct` only where they say something."""

    def __init__(self, groups: Groups, study: Study) -> None:
        self.groups = groups
        self.strata = tuple(stratum.code for stratum in study.strata)
        everything = self.tally()
        self.has_outside = everything.outside > 0
        self.has_cross_listed = everything.distinct != everything.listed

    def tally(self, **facts: object) -> Tally:
        """Count the groups in which every named field has the given value."""
        wanted = facts.items()
        chosen = (
            item
            for item in self.groups.items()
            if all(getattr(item[0], name) == fact for name, fact in wanted)
        )
        return Tally(chosen, self.strata)

    def columns(self, *after_total: str) -> tuple[str, ...]:
        """Return the headings, with `after_total` between the total and the distinct count."""
        outside = ("# Outside",) if self.has_outside else ()
        distinct = ("# Distinct",) if self.has_cross_listed else ()
        return (*(f"# {code}" for code in self.strata), *outside, "# Total", *after_total, *distinct)

    def cells(self, tally: Tally, *after_total: Cell) -> tuple[Cell, ...]:
        """Return the cells under `columns`."""
        outside = (tally.outside,) if self.has_outside else ()
        distinct = (tally.distinct,) if self.has_cross_listed else ()
        return (
            *(tally.by_stratum[code] for code in self.strata),
            *outside,
            tally.listed,
            *after_total,
            *distinct,
        )

    def notes(self) -> tuple[str, ...]:
        """Say what the optional columns mean, and that simulated labels are among them."""
        said = []
        if self.has_cross_listed:
            said.append(
                "# Total counts a thread once in each of its strata, as the paper does; # Distinct once."
            )
        if self.has_outside:
            said.append("# Outside: labelled threads that count in no stratum, or were beyond its quota.")
        simulated = sum(count for key, count in self.groups.items() if key.simulated)
        if simulated:
            said.append(f"{simulated} of {sum(self.groups.values())} labels are by simulated annotators.")
        return tuple(said)


def root_causes(groups: Groups, study: Study) -> Table:
    """Table 1: valid threads by root cause and stratum, with the share within the broad type.

    In the paper: 9 causes and Other, 400 threads.
    """
    layout = Layout(of_verdict(groups, True), study)
    found = causes(groups, study.codebook)
    names = {type_.code: type_.name for type_ in study.codebook.types}
    tallies = {cause.code: layout.tally(valid=True, root_cause=cause.code) for cause in found}
    whole: Counter[str] = Counter()
    for cause in found:
        whole[cause.type] += tallies[cause.code].listed
    rows = []
    for cause in found:
        tally, alone = tallies[cause.code], cause.name == names.get(cause.type)
        share = None if alone else Share(tally.listed, whole[cause.type])
        rows.append(
            (names.get(cause.type, cause.type), "" if alone else cause.code, *layout.cells(tally, share))
        )
    columns = ("Type", "Root Cause", *layout.columns("Proportion(%)"))
    notes = ("Proportion(%) is the share of the cause within its broad type.", *layout.notes())
    return Table("table1", "The distribution of root causes", columns, tuple(rows), notes, grouped=True)


def causes(groups: Groups, codebook: Codebook) -> tuple[Cause, ...]:
    """Return the codebook's causes by broad type, then those of labels that it lacks: none is lost."""
    order = {type_.code: position for position, type_ in enumerate(codebook.types)}
    known = sorted(codebook.causes, key=lambda cause: order[cause.type])
    foreign = {key.root_cause for key in groups if key.valid and key.root_cause} - set(codebook.cause_codes)
    return (*known, *(Cause(code, code, "Not in the codebook", "") for code in sorted(foreign)))


def fix_patterns(groups: Groups, study: Study) -> Table:
    """Section 2.2: valid threads of each cause by fix pattern, with the share within the cause."""
    layout = Layout(of_verdict(groups, True), study)
    names: dict[str | None, str] = {pattern.code: pattern.name for pattern in study.codebook.fix_patterns}
    names[None] = "No fix pattern labelled"
    rows = []
    for cause in causes(groups, study.codebook):
        whole = layout.tally(valid=True, root_cause=cause.code).listed
        for pattern in _patterns_of(cause, groups):
            tally = layout.tally(valid=True, root_cause=cause.code, fix_pattern=pattern)
            share = Share(tally.listed, whole)
            rows.append((cause.code, pattern, names.get(pattern, ""), *layout.cells(tally, share)))
    columns = ("Root Cause", "Fix Pattern", "Name", *layout.columns("Proportion(%)"))
    notes = ("Proportion(%) is the share of the pattern within its cause.", *layout.notes())
    return Table("fix-patterns", "Fix patterns of each root cause", columns, tuple(rows), notes, grouped=True)


def _patterns_of(cause: Cause, groups: Groups) -> list[str | None]:
    used = {key.fix_pattern for key in groups if key.valid and key.root_cause == cause.code}
    others = sorted(pattern for pattern in used - set(cause.fix_patterns) if pattern)
    return [*cause.fix_patterns, *others, *([None] if None in used else [])]


def shares(groups: Groups, study: Study) -> Table:
    """Section 3: the share of each broad type and of each cause among all valid threads."""
    layout = Layout(of_verdict(groups, True), study)
    whole = layout.tally(valid=True).listed
    rows: list[tuple[Cell, ...]] = []
    for type_ in study.codebook.types:
        members = [cause for cause in study.codebook.causes if cause.type == type_.code]
        count = sum(layout.tally(valid=True, root_cause=cause.code).listed for cause in members)
        rows.append((type_.name, count, Share(count, whole)))
    for cause in causes(groups, study.codebook):
        count = layout.tally(valid=True, root_cause=cause.code).listed
        if cause.name not in [row[0] for row in rows]:
            rows.append((cause.code, count, Share(count, whole)))
    return Table("shares", "Shares of all valid threads", ("Of", "# Total", "Proportion(%)"), tuple(rows))


def reasons(groups: Groups, study: Study) -> Table:
    """Why inspected threads are not valid, by stratum; the paper does not report this."""
    layout = Layout(of_verdict(groups, False), study)
    whole = layout.tally(valid=False).listed
    foreign = {key.reason for key in groups if not key.valid and key.reason} - set(
        study.codebook.reason_codes
    )
    rows = []
    for code in (*study.codebook.reason_codes, *sorted(foreign)):
        tally = layout.tally(valid=False, reason=code)
        rows.append((code, *layout.cells(tally, Share(tally.listed, whole))))
    columns = ("Reason", *layout.columns("Proportion(%)"))
    return Table("reasons", "Why threads are not valid", columns, tuple(rows), layout.notes())


def functions(groups: Groups, study: Study) -> Table:
    """The functions noted on valid threads, by cause: which operation left its range, and how often."""
    layout = Layout(of_verdict(groups, True), study)
    noted = sorted({(key.root_cause or "", key.function) for key in groups if key.valid and key.function})
    rows = []
    for cause, function in noted:
        tally = layout.tally(valid=True, root_cause=cause, function=function)
        rows.append((cause, function, *layout.cells(tally)))
    columns = ("Root Cause", "Function", *layout.columns())
    return Table(
        "functions",
        "Functions noted with each root cause",
        columns,
        tuple(rows),
        layout.notes(),
        grouped=True,
    )
