"""This study beside a published one: shares with exact intervals, and whether the tables differ."""

from __future__ import annotations

from pipeline.published import Published
from pipeline.statistics import association, clopper_pearson
from pipeline.study import Study
from pipeline.table import Cell, Share, Table
from pipeline.tables import Groups, Layout, causes

BESIDE = ("# Here", "Here(%)", "Here 95 %", "# There", "There(%)", "There 95 %", "Difference")


def comparison_tables(groups: Groups, study: Study, published: Published) -> list[Table]:
    """Return the published Table 1, causes and fix patterns side by side, and tests of difference."""
    return [
        published_table1(published),
        compare_causes(groups, study, published),
        compare_fixes(groups, study, published),
        compare_strata(groups, study, published),
    ]


def published_table1(published: Published) -> Table:
    """Table 1 as it is published, with proportions from its counts."""
    rows: list[tuple[Cell, ...]] = []
    for row in published.table1:
        alone = row["cause"] == row["type"]
        total = sum(row["counts"].values())
        share = None if alone else Share(total, published.count_of(row["type"]))
        cells = (row["counts"][code] for code in published.stratum_codes)
        rows.append((row["type"], "" if alone else row["cause"], *cells, total, share))
    columns = (
        "Type",
        "Root Cause",
        *(f"# {code}" for code in published.stratum_codes),
        "# Total",
        "Proportion(%)",
    )
    return Table("table1-published", f"Table 1 of {published.citation}", columns, tuple(rows), grouped=True)


def compare_fixes(groups: Groups, study: Study, published: Published) -> Table:
    """Every fix pattern that the published study counts: shares of its cause here and there."""
    layout = Layout(groups, study)
    rows: list[tuple[Cell, ...]] = []
    for fix in published.fixes:
        whole = layout.tally(valid=True, root_cause=fix["cause"]).listed
        for pattern, their_count in fix["counts"]:
            count = layout.tally(valid=True, root_cause=fix["cause"], fix_pattern=pattern).listed
            rows.append((fix["cause"], pattern, *_beside(count, whole, their_count, fix["of"])))
    title = f"Fix patterns here and in {published.citation}"
    return Table("comparison-fixes", title, ("Root Cause", "Fix Pattern", *BESIDE), tuple(rows), grouped=True)


def compare_causes(groups: Groups, study: Study, published: Published) -> Table:
    """Every broad type and cause: counts and shares of all valid threads here and there.

    Shares carry exact 95 % intervals (Clopper-Pearson); the difference is in percentage points.
    """
    layout = Layout(groups, study)
    ours = {
        cause.code: layout.tally(valid=True, root_cause=cause.code).listed
        for cause in causes(groups, study.codebook)
    }
    named = {
        type_.name: [c.code for c in study.codebook.causes if c.type == type_.code]
        for type_ in study.codebook.types
    }
    whole, their_whole = sum(ours.values()), sum(published.counts())
    rows = []
    for name in (
        *named,
        *(cause for cause in dict.fromkeys((*ours, *published.causes)) if cause not in named),
    ):
        count = sum(ours.get(code, 0) for code in named.get(name, [name]))
        rows.append((name, *_beside(count, whole, published.count_of(name), their_whole)))
    columns = ("Of", *BESIDE)
    notes = (
        f"There: {published.citation}.",
        "Shares are of all valid threads, with exact 95 % intervals; the difference is in points.",
    )
    return Table("comparison", f"Root causes here and in {published.citation}", columns, tuple(rows), notes)


def _beside(count: int, whole: int, their_count: int, their_whole: int) -> tuple[Cell, ...]:
    ours, theirs = Share(count, whole), Share(their_count, their_whole)
    difference = None
    if whole and their_whole:
        difference = f"{100 * (count / whole - their_count / their_whole):+.2f}"
    return (
        count,
        ours,
        clopper_pearson(count, whole),
        their_count,
        theirs,
        clopper_pearson(their_count, their_whole),
        difference,
    )


def compare_strata(groups: Groups, study: Study, published: Published) -> Table:
    """Whether the distribution of causes differs: the whole table, and each stratum both studies have."""
    layout = Layout(groups, study)
    found = tuple(
        dict.fromkeys((*published.causes, *(cause.code for cause in causes(groups, study.codebook))))
    )
    tallies = {code: layout.tally(valid=True, root_cause=code) for code in found}
    shared = [code for code in layout.strata if code in published.stratum_codes]
    rows = [_test("all", [tallies[code].listed for code in found], _pad(published, found, None))]
    for stratum in shared:
        ours = [tallies[code].by_stratum[stratum] for code in found]
        rows.append(_test(stratum, ours, _pad(published, found, stratum)))
    columns = ("Stratum", "# Here", "# There", "Cramér's V", "p")
    notes = (
        "p: 9,999 random tables with the same margins, fixed seed; small where the distributions differ.",
    )
    return Table("comparison-tests", f"Difference from {published.citation}", columns, tuple(rows), notes)


def _pad(published: Published, found: tuple[str, ...], stratum: str | None) -> list[int]:
    counts = dict(zip(published.causes, published.counts(stratum), strict=True))
    return [counts.get(code, 0) for code in found]


def _test(name: str, ours: list[int], theirs: list[int]) -> tuple[Cell, ...]:
    result = association(ours, theirs)
    return (name, sum(ours), sum(theirs), result.cramers_v, result.p_value)
