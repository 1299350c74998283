"""The layers import only downwards, and the light commands load nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import db
import flows
import labeling
import pipeline

ROOT = Path(__file__).parents[1]
LAYERS = ("db", "pipeline", "labeling", "flows")
HEAVY = ("prefect", "sklearn", "textual", "matplotlib", "scipy")


def imported_layers(path: Path) -> set[str]:
    """Return the layers that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found & set(LAYERS)


@pytest.mark.parametrize("layer", LAYERS)
def test_layer_imports_only_those_below(layer: str) -> None:
    """A layer imports itself and the layers below it."""
    allowed = set(LAYERS[: LAYERS.index(layer) + 1])
    wrong = {
        str(path.relative_to(ROOT)): sorted(imported_layers(path) - allowed)
        for path in (ROOT / layer).rglob("*.py")
        if imported_layers(path) - allowed
    }
    assert wrong == {}


@pytest.mark.parametrize("package", [db, pipeline, labeling, flows], ids=lambda package: package.__name__)
def test_package_is_the_one_of_this_checkout(package: object) -> None:
    """No other distribution's package of the same plain name stands in for ours."""
    assert Path(str(package.__file__)).is_relative_to(ROOT)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["label", "--help"], ["label", "next", "--json"], ["tables"], ["status"]],
    ids=" ".join,
)
def test_light_commands_load_neither_prefect_nor_sklearn(arguments: list[str]) -> None:
    """Help, labeling, tables and status start without the heavy packages."""
    code = (
        "import sys; from flows.cli import run; run(sys.argv[1:]);"
        f"print(*sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr, end='<loaded>')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--as", "ada", *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr.endswith("<loaded>")
    assert done.stderr.splitlines()[-1] == "<loaded>"


def test_the_tables_name_no_dialect_that_is_not_used() -> None:
    """Declaring the tables does not load PostgreSQL's dialect, which costs every command its time."""
    code = "import sys, db.final_labels, db.proposals, db.search"
    code += "; print('sqlalchemy.dialects.postgresql' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
