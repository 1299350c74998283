"""What every test may ask for: a database, a study, settings, and the shared study material."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.engine import Database, open_database
from pipeline.settings import Settings, load_settings
from pipeline.study import Study, load_study

SHARED = Path(os.environ.get("NANMINE_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(autouse=True)
def _no_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run each test in an empty folder with none of our variables set and no proxy in the way."""
    for name in list(os.environ):
        if name.startswith("NANMINE_") or name == "GITHUB_TOKEN":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shared() -> Path:
    """The shared study material beside the clone, or a skip with the reason."""
    if not (SHARED / "README.md").is_file():
        pytest.skip("no ../shared beside this clone (NANMINE_SHARED can name it)")
    return SHARED


@pytest.fixture(scope="session")
def study() -> Study:
    """The bundled study."""
    return load_study()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of the bundled study with a database in the test's folder and no pace to keep."""
    return load_settings({"NANMINE_PACE": "0"}, database=f"sqlite:///{tmp_path}/study.db")


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "empty.db"
    database = open_database(f"sqlite:///{path}")
    database.close()
    return path


@pytest.fixture
def database(tmp_path: Path, _empty_database: Path) -> Iterator[Database]:
    """An empty database with today's schema, in the test's folder, named as `settings` names it."""
    (tmp_path / "study.db").write_bytes(_empty_database.read_bytes())
    opened = open_database(f"sqlite:///{tmp_path}/study.db")
    yield opened
    opened.close()
