"""Figures of the study: one function a figure, the same bytes for the same numbers.

Every figure reads in grey: quantity is length, position or lightness, and what must be told apart
differs in marker or hatch as well as in colour. Needs the extra nanmine[figures].
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from db.errors import UsageError
from pipeline.comparison import compare_causes
from pipeline.material import Material
from pipeline.published import load_published
from pipeline.study import Study
from pipeline.table import Interval, Share, Table

Figure = Any  # matplotlib.figure.Figure; matplotlib itself is imported where it is used
BLUE, ORANGE, INK, RULE = "#0b5394", "#b45309", "#1f2933", "#d5dbe1"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "ytick.major.size": 0,
    "svg.fonttype": "path",
    "svg.hashsalt": "nanmine",
    "figure.dpi": 100,
}


@contextmanager
def _styled() -> Iterator[Any]:
    try:
        import matplotlib
        from matplotlib.figure import Figure as MatplotlibFigure
    except ImportError:
        raise UsageError("figures need the extra nanmine[figures]") from None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield MatplotlibFigure


def drawn_with() -> str:
    """Return the versions that the bytes of a figure depend on; empty where none can be drawn."""
    if not find_spec("matplotlib"):
        return ""
    versions = [f"{name} {version(name)}" for name in ("matplotlib", "pillow", "numpy")]
    from matplotlib.ft2font import __freetype_version__ as freetype

    return ", ".join([*versions, f"FreeType {freetype}"])


def to_svg(figure: Figure) -> bytes:
    """Return the figure as SVG, without a date or a random id."""
    return _saved(figure, "svg", {"Date": None, "Creator": None})


def to_png(figure: Figure) -> bytes:
    """Return the figure as PNG at 200 dots an inch, without a trace of the program."""
    return _saved(figure, "png", {"Software": None})


def _saved(figure: Figure, form: str, metadata: Mapping[str, None]) -> bytes:
    stream = io.BytesIO()
    with _styled():
        figure.savefig(stream, format=form, metadata=dict(metadata), dpi=200)
    return stream.getvalue()


def figure_files(found: Iterable[Table], material: Material, study: Study) -> dict[str, bytes]:
    """Return every figure of a study's own tables as SVG and as PNG, by the name of its file."""
    forms = {"svg": to_svg, "png": to_png}
    drawn = study_figures(found, material, study)
    return {f"{name}.{form}": write(drawn[name]) for name in drawn for form, write in forms.items()}


def study_figures(found: Iterable[Table], material: Material, study: Study) -> dict[str, Figure]:
    """Return every figure of a study's own tables by name, drawn from all of its tables."""
    by_name = {table.name: table for table in found}
    drawn = {
        "distribution": distribution(by_name["table1"]),
        "funnel": funnel(by_name["funnel"]),
        "months": months(by_name["months"]),
    }
    if study.published:
        compared = compare_causes(material.groups, study, load_published(study.published))
        drawn["comparison"] = against_published(compared)
    return drawn


def distribution(table1: Table) -> Figure:
    """Draw Table 1: a panel a stratum, a bar a root cause."""
    causes = [str(cause) or str(kind) for kind, cause, *_ in table1.rows]
    strata = [
        name for name in table1.columns if name.startswith("# ") and name not in ("# Total", "# Distinct")
    ]
    counts = {name: [_count(cell) for cell in table1.column(name)] for name in strata}
    limit = max([1, *(count for row in counts.values() for count in row)]) * 1.15
    with _styled() as new:
        figure = new(figsize=(1.9 * len(strata) + 0.6, 0.26 * len(causes) + 0.9), layout="constrained")
        panels = figure.subplots(1, len(strata), sharey=True, squeeze=False)[0]
        for panel, name in zip(panels, strata, strict=True):
            _bars(panel, causes, counts[name], limit)
            panel.set_title(f"{name.removeprefix('# ')}  (n = {sum(counts[name])})")
    return figure


def _bars(panel: Any, names: Sequence[str], counts: Sequence[int], limit: float) -> None:
    """Draw horizontal bars, the first on top, each with its number."""
    positions = range(len(names))
    panel.barh(positions, counts, color=BLUE, height=0.7)
    panel.set_yticks(positions, names)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.set_xlim(0, limit)
    panel.set_xticks([])
    panel.spines["bottom"].set_visible(False)
    for position, count in zip(positions, counts, strict=True):
        panel.text(count + limit * 0.02, position, str(count), va="center", fontsize=8)


def _count(cell: object) -> int:
    return cell if isinstance(cell, int) else 0


def against_published(comparison: Table) -> Figure:
    """Draw shares of all valid threads here and in the published study, with exact intervals."""
    names = [str(row[0]) for row in comparison.rows]
    title = comparison.notes[0].removeprefix("There: ").rstrip(".")
    with _styled() as new:
        figure = new(figsize=(6.4, 0.36 * len(names) + 1.1), layout="constrained")
        panel = figure.subplots()
        _points(
            panel, comparison.column("There(%)"), comparison.column("There 95 %"), 0.16, ORANGE, "D", title
        )
        _points(
            panel,
            comparison.column("Here(%)"),
            comparison.column("Here 95 %"),
            -0.16,
            BLUE,
            "o",
            "This study",
        )
        panel.set_yticks(range(len(names)), names)
        panel.set_ylim(len(names) - 0.4, -0.6)
        panel.set_xlim(left=0)
        panel.set_xlabel("Share of all valid threads (%), with exact 95 % intervals")
        panel.grid(axis="x", color=RULE, linewidth=0.6)
        panel.legend(loc="lower right", frameon=False)
    return figure


def _points(
    panel: Any,
    shares: Iterable[object],
    intervals: Iterable[object],
    shift: float,
    color: str,
    marker: str,
    label: str,
) -> None:
    filled = "white" if marker == "D" else color
    for position, (share, interval) in enumerate(zip(shares, intervals, strict=True)):
        if not isinstance(share, Share) or not isinstance(interval, Interval):
            continue
        y, percent = position + shift, 100 * share.count / share.of
        panel.plot([100 * interval.low, 100 * interval.high], [y, y], color=color, linewidth=1.2)
        panel.plot(percent, y, marker, color=color, markerfacecolor=filled, markersize=5, label=label)
        label = "_nolegend_"
    if label != "_nolegend_":
        panel.plot([], [], marker, color=color, markerfacecolor=filled, label=f"{label}: no valid thread yet")


def funnel(table: Table) -> Figure:
    """Draw the funnel: a panel a stratum, a bar a stage from the candidates on."""
    stages = table.columns[3:]
    rows = [row for row in table.rows if row[2] is not None]
    with _styled() as new:
        figure = new(figsize=(2.1 * max(len(rows), 1) + 0.8, 2.2), layout="constrained")
        panels = figure.subplots(1, max(len(rows), 1), sharey=True, squeeze=False)[0]
        counts = [[_count(cell) for cell in row[3:]] for row in rows]
        limit = max([1, *(count for row in counts for count in row)]) * 1.35
        for panel, row, bars in zip(panels, rows, counts, strict=False):
            _bars(panel, stages, bars, limit)
            panel.set_title(f"{row[0]}  ({row[2]} seen)")
    return figure


def months(table: Table) -> Figure:
    """Draw threads by the month they were opened: candidates as a line, valid ones as bars."""
    names = [str(month) for month in table.column("Month")]
    candidates = [_count(cell) for cell in table.column("Candidates")]
    valid = [_count(cell) for cell in table.column("Valid")]
    with _styled() as new:
        figure = new(figsize=(7.0, 2.4), layout="constrained")
        panel = figure.subplots()
        panel.bar(range(len(names)), valid, color=BLUE, width=0.8, label="valid")
        panel.plot(range(len(names)), candidates, color=ORANGE, linewidth=1.4, label="candidates")
        if not names:
            panel.text(0, 0.5, "no thread with a date yet", ha="center")
        step = max(1, len(names) // 10)
        panel.set_xticks(range(0, len(names), step), names[::step], rotation=30, ha="right")
        panel.set_ylabel("Threads opened")
        panel.set_ylim(0, 1.05 * max([1, *candidates, *valid]))
        panel.yaxis.get_major_locator().set_params(integer=True)
        panel.grid(axis="y", color=RULE, linewidth=0.6)
        panel.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    return figure


def matrix(names: Sequence[str], counts: Sequence[Sequence[int]], rows: str, columns: str) -> Figure:
    """Draw a table of counts as shades with the numbers on them: agreement, or a model's confusion."""
    size = 0.38 * len(names) + 1.4
    with _styled() as new:
        figure = new(figsize=(size + 0.4, size), layout="constrained")
        panel = figure.subplots()
        darkest = max([1, *(count for row in counts for count in row)])
        panel.imshow(counts, cmap="Greys", vmin=0, vmax=2 * darkest, aspect="equal")  # ink reads on any
        for y, row in enumerate(counts):
            for x, count in enumerate(row):
                panel.text(x, y, str(count) if count else "", ha="center", va="center")
        edges = [place - 0.5 for place in range(len(names) + 1)]
        panel.hlines(edges, edges[0], edges[-1], color=RULE, linewidth=0.6)
        panel.vlines(edges, edges[0], edges[-1], color=RULE, linewidth=0.6)
        panel.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        panel.set_yticks(range(len(names)), names)
        panel.set_xlabel(columns)
        panel.set_ylabel(rows)
        panel.tick_params(length=0)
    return figure


def calibration(bins: Sequence[tuple[float, float, int]]) -> Figure:
    """Draw (mean probability, share right, threads) of each bin beside what a calibrated model gives."""
    with _styled() as new:
        figure = new(figsize=(3.6, 3.4), layout="constrained")
        panel = figure.subplots()
        panel.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        largest = max([1, *(number for *_, number in bins)])
        for probability, right, number in bins:
            size = 4 + 8 * (number / largest) ** 0.5
            panel.plot(probability, right, "o", color=BLUE, markersize=size, clip_on=False)
        panel.set_xlim(0, 1)
        panel.set_ylim(0, 1)
        panel.set_xlabel("Probability that the model gives")
        panel.set_ylabel("Share that is right")
        panel.grid(color=RULE, linewidth=0.6)
    return figure
