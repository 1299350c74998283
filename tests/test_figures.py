"""Figures: the same bytes on every run, readable without colour."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.image import imread

from db.engine import Database
from pipeline import figures
from pipeline.material import read_material
from pipeline.study import Study
from pipeline.study_tables import study_tables

DRAW = """
import hashlib, sys
from pipeline import figures
figure = figures.matrix(["IR", "GE", "not valid"], [[9, 1, 0], [0, 4, 2], [1, 0, 7]], "First", "Second")
other = figures.calibration([(0.1, 0.2, 5), (0.9, 0.8, 20)])
for drawn in (figure, other):
    print(hashlib.sha256(figures.to_svg(drawn) + figures.to_png(drawn)).hexdigest())
"""


def test_figures_are_the_same_bytes_in_another_process() -> None:
    """Hash seeds, clocks and former figures change nothing."""
    outputs = set()
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "MPLCONFIGDIR": str(Path.cwd()), "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", DRAW], capture_output=True, text=True, env=environment, timeout=100
        )
        assert done.returncode == 0, done.stderr
        outputs.add(done.stdout)
    assert len(outputs) == 1


def draw(database: Database, study: Study) -> dict[str, figures.Figure]:
    """Draw every figure of a database."""
    with database.reading() as session:
        material = read_material(session, everything=True)
    return figures.study_figures(study_tables(material, study, everything=True), material, study)


def test_every_figure_of_a_study_is_drawn_the_same_twice(labelled: Database, study: Study) -> None:
    """Distribution, funnel, months and comparison, without a date in them."""
    first = {name: figures.to_svg(figure) for name, figure in draw(labelled, study).items()}
    assert sorted(first) == ["comparison", "distribution", "funnel", "months"]
    assert first == {name: figures.to_svg(figure) for name, figure in draw(labelled, study).items()}
    assert all(svg.startswith(b"<?xml") and b"<dc:date>" not in svg for svg in first.values())


def test_an_empty_study_has_figures(database: Database, study: Study) -> None:
    """Nothing labelled and nothing mined draws empty axes and fails nowhere."""
    assert all(figures.to_svg(figure) for figure in draw(database, study).values())


def test_figures_keep_their_contrast_in_grey(labelled: Database, study: Study) -> None:
    """Turned to grey, the marks are much darker than the paper."""
    drawn = draw(labelled, study)
    for name in ("comparison", "distribution"):
        Path("figure.png").write_bytes(figures.to_png(drawn[name]))
        pixels = imread("figure.png")
        grey = pixels[..., :3] @ np.array([0.2126, 0.7152, 0.0722])
        assert grey.max() > 0.99 and (grey < 0.45).mean() > 0.002


def test_the_two_colours_differ_in_grey_or_marker() -> None:
    """What must be told apart differs in marker, and both colours hold against white (WCAG 3 to 1)."""
    for color in (figures.BLUE, figures.ORANGE):
        channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance = sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
        assert 1.05 / (luminance + 0.05) > 3
