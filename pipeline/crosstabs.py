"""Valid threads by root cause against library, source, year and repository, and threads by month."""

from __future__ import annotations

from collections import Counter

from pipeline.material import Material
from pipeline.study import Study
from pipeline.table import Cell, Table

LARGEST = 20  # repositories shown, the rest together
OTHERS = " others"
Crossed = Counter[tuple[str, str]]  # threads by (key, cause)


def cross_tables(material: Material, study: Study) -> list[Table]:
    """Return root causes by library, source, year and repository, and threads by month.

    Distinct threads, all strata together; a thread about two libraries counts for both.
    """
    found = material.origins.crossed
    found = found | {"repository": _largest(found["repository"])}
    return [*(_crossed(what, counts, study) for what, counts in found.items()), months(material)]


def _largest(counts: Crossed) -> Crossed:
    """Put all but the largest repositories together."""
    sizes: Counter[str] = Counter()
    for (name, _), count in counts.items():
        sizes[name] += count
    largest = set(sorted(sizes, key=lambda name: (-sizes[name], name))[:LARGEST])
    others = f"{len(sizes) - LARGEST}{OTHERS}"
    together: Crossed = Counter()
    for (name, cause), count in counts.items():
        together[name if name in largest else others, cause] += count
    return together


def _crossed(what: str, counts: Crossed, study: Study) -> Table:
    codes = study.codebook.cause_codes
    causes = (*codes, *sorted({cause for _, cause in counts} - set(codes)))
    rows: list[tuple[Cell, ...]] = []
    for key in sorted({key for key, _ in counts}, key=lambda key: (key.endswith(OTHERS), key)):
        cells = [counts[key, cause] for cause in causes]
        rows.append((key, *cells, sum(cells)))
    columns = (what.capitalize(), *causes, "# Total")
    return Table(f"cause-by-{what}", f"Root causes by {what}", columns, tuple(rows))


def months(material: Material) -> Table:
    """Count threads by the month they were opened: seen, candidates and valid ones.

    From the first month with a candidate to the last, none left out.
    """
    valid = material.origins.months
    shown = [month for month, (_, candidates) in material.opened.items() if candidates] + list(valid)
    rows = [
        (f"{month // 12}-{month % 12 + 1:02}", *material.opened.get(month, (0, 0)), valid[month])
        for month in range(min(shown, default=0), max(shown, default=-1) + 1)
    ]
    columns = ("Month", "Seen", "Candidates", "Valid")
    return Table("months", "Threads by the month they were opened", columns, tuple(rows))
