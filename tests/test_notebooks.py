"""Notebooks: without outputs, without logic, and each runs from top to bottom."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from db.engine import Database

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code_of(path: Path) -> list[str]:
    """Return the code cells of a notebook."""
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_are_four() -> None:
    """Crawl, labels, tables and figures, model."""
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    """No output, no execution count, no word of the machine it ran on."""
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_logic(path: Path) -> None:
    """No function, class, branch or arithmetic: what it shows is counted in `pipeline`."""
    nodes = [node for code in code_of(path) for node in ast.walk(ast.parse(code))]
    logic = (
        ast.FunctionDef | ast.ClassDef | ast.Lambda | ast.If | ast.For | ast.While | ast.BinOp | ast.Compare
    )
    assert not [node for node in nodes if isinstance(node, logic)]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(
    path: Path, labelled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a labelled database, in a kernel of its own, and every cell but the first shows something."""
    monkeypatch.setenv("NANMINE_DATABASE_URL", f"sqlite:///{tmp_path}/study.db")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=100, kernel_name="python3").execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in cells[1:])
