"""The funnel of section 2.1: from threads seen to valid ones, by stratum, and the criteria by source."""

from __future__ import annotations

from pipeline.material import Material
from pipeline.study import CRITERIA, Study
from pipeline.table import Cell, Table
from pipeline.tables import OUTSIDE, Layout


def funnel(material: Material, study: Study) -> Table:
    """Threads by stratum: seen, candidates, inspected, valid, discussed, discarded.

    In the paper: 580, 323, 483 and 400 candidates, 100 valid each, 9 discussed, none discarded.
    """
    layout = Layout(material.groups, study)
    inspected, valid = layout.tally(), layout.tally(valid=True)
    discussed = layout.tally(how="adjudicated")
    rows: list[tuple[Cell, ...]] = []
    for stratum in study.strata:
        code, dropped = stratum.code, material.discarded[stratum.code]
        labelled = (inspected.by_stratum[code] + dropped, valid.by_stratum[code])
        disputed = (discussed.by_stratum[code] + dropped, dropped)
        rows.append((code, stratum.title, *material.strata.get(code, (0, 0)), *labelled, *disputed))
    if layout.has_outside:
        dropped = material.discarded[OUTSIDE]
        outside = (inspected.outside + dropped, valid.outside, discussed.outside + dropped, dropped)
        rows.append((OUTSIDE, "in no stratum", None, None, *outside))
    columns = ("Stratum", "Title", "Seen", "Candidates", "Inspected", "Valid", "Discussed", "Discarded")
    return Table("funnel", "From threads seen to valid threads", columns, tuple(rows), _notes(layout))


def _notes(layout: Layout) -> tuple[str, ...]:
    cross_listed = ("A thread in two strata counts in both.",) if layout.has_cross_listed else ()
    return (
        "Seen: threads in the database; candidates: those that meet every criterion of the study.",
        *cross_listed,
    )


def criteria(material: Material) -> Table:
    """Threads by source: seen, meeting each criterion on its own, and candidates, which meet them all."""
    rows = []
    for source, (seen, candidates) in sorted(material.sources.items()):
        met = (material.met.get((source, name)) for name in CRITERIA)
        rows.append((source, seen, *met, candidates))
    columns = ("Source", "Seen", *(name.capitalize() for name in CRITERIA), "Candidates")
    notes = ("A criterion that the study does not ask of a source is a dash.",)
    return Table("criteria", "Threads that meet each criterion", columns, tuple(rows), notes)
