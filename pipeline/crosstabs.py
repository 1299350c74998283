"""Valid threads by root cause against library, source, year and repository, and threads by month."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from pipeline.material import Material, Origin, month_of
from pipeline.study import Study
from pipeline.table import Cell, Table

LARGEST = 20  # repositories shown, the rest together
OTHERS = " others"


def cross_tables(material: Material, study: Study) -> list[Table]:
    """Return root causes by library, source, year and repository, and threads by month.

    Distinct threads, all strata together; a thread about two libraries counts for both.
    """
    keys: dict[str, Callable[[Origin], Sequence[str]]] = {
        "library": lambda origin: origin.libraries or ("none",),
        "source": lambda origin: (origin.source,),
        "year": lambda origin: (str(origin.created_at.year) if origin.created_at else "unknown",),
        "repository": _repository_key(material.origins),
    }
    return [*(_crossed(what, material, study, key) for what, key in keys.items()), months(material)]


def _repository_key(origins: Sequence[Origin]) -> Callable[[Origin], Sequence[str]]:
    sizes = Counter(origin.repository for origin in origins if origin.repository)
    largest = set(sorted(sizes, key=lambda name: (-sizes[name], name))[:LARGEST])
    others = f"{len(sizes) - LARGEST}{OTHERS}"

    def key(origin: Origin) -> Sequence[str]:
        if origin.repository is None:
            return ()
        return (origin.repository if origin.repository in largest else others,)

    return key


def _crossed(what: str, material: Material, study: Study, keys: Callable[[Origin], Sequence[str]]) -> Table:
    counts = Counter((key, origin.cause) for origin in material.origins for key in keys(origin))
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
    valid = Counter(month_of(origin.created_at) for origin in material.origins if origin.created_at)
    shown = [month for month, (_, candidates) in material.opened.items() if candidates] + list(valid)
    rows = [
        (f"{month // 12}-{month % 12 + 1:02}", *material.opened.get(month, (0, 0)), valid[month])
        for month in range(min(shown, default=0), max(shown, default=-1) + 1)
    ]
    columns = ("Month", "Seen", "Candidates", "Valid")
    return Table("months", "Threads by the month they were opened", columns, tuple(rows))
