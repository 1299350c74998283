"""What other tools make of our files: each test runs the real tool, where it is installed.

`make test-interop` installs them and sets NANMINE_INTEROP, with which a missing one is a failure.
NANMINE_DOCCANO names a Python that has doccano, whose requirements contradict ours.
"""

from __future__ import annotations

import html
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from db.engine import Database, open_database
from db.label_events import append_event
from db.records import Label
from db.threads import Thread
from flows.cli import nanmine
from labeling.desk import Desk
from labeling.interop import Carried, from_doccano, label_studio_config, to_doccano, to_label_studio
from pipeline.bundle import write_bundle
from pipeline.float_types import TYPES
from pipeline.numerics import PyTorch
from pipeline.ranges import describe, regions
from pipeline.study import PackageSettings, Study

pytestmark = pytest.mark.slow
REQUIRED = "NANMINE_INTEROP" in os.environ
DOCCANO = os.environ.get("NANMINE_DOCCANO")
KINDS = {kind.name: kind for kind in TYPES}
ROUND_TRIP = Path(__file__).with_name("doccano_round_trip.py")


def needs(module: str) -> pytest.MarkDecorator:
    """Skip where another tool is not installed, unless it must be."""
    missing = find_spec(module) is None and not REQUIRED
    return pytest.mark.skipif(missing, reason=f"{module} is not installed (make test-interop installs it)")


@pytest.fixture(scope="module", params=[False, True], ids=["without-text", "with-text"])
def package(
    request: pytest.FixtureRequest,
    _labelled_database: Path,
    study: Study,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A package of a study that names its creators and licence."""
    named = replace(study, package=PackageSettings(("Lovelace, Ada", "A group"), "CC-BY-4.0"))
    folder = tmp_path_factory.mktemp("package")
    database = open_database(f"sqlite:///{_labelled_database}")
    with database.reading() as session:
        write_bundle(session, named, folder, with_text=request.param)
    database.close()
    return folder


@needs("check_jsonschema")
def test_the_citation_file_fits_the_schema(package: Path) -> None:
    """The official schema of CITATION.cff accepts ours, and refuses it without its authors."""
    schema = ["--builtin-schema", "vendor.citation-file-format", "--default-filetype", "yaml"]
    check = [sys.executable, "-m", "check_jsonschema", *schema]
    done = subprocess.run([*check, package / "CITATION.cff"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    text = (package / "CITATION.cff").read_text()
    Path("CITATION.cff").write_text(text.split("authors:")[0])
    assert subprocess.run([*check, "CITATION.cff"], capture_output=True, timeout=60).returncode == 1


@needs("frictionless")
def test_frictionless_finds_the_data_as_described(package: Path) -> None:
    """Every row of every file fits its schema; a cell that does not is found."""
    import frictionless

    report = frictionless.validate(str(package / "datapackage.json"))
    assert report.valid, report.flatten(["path", "rowNumber", "type", "note"])
    assert len(report.tasks) == len(list((package / "data").iterdir()))
    described = json.loads((package / "datapackage.json").read_text())
    (schema,) = [row["schema"] for row in described["resources"] if row["name"] == "criteria"]
    Path("criteria.csv").write_text('"url","criterion","met"\n"x","library","perhaps"\n')
    assert not frictionless.validate({"name": "c", "path": "criteria.csv", "schema": schema}).valid


@needs("mlcroissant")
def test_croissant_loads_every_record_without_a_warning(package: Path) -> None:
    """mlcroissant has nothing to recommend, and reads as many records as there are rows."""
    import mlcroissant

    dataset = mlcroissant.Dataset(str(package / "croissant.json"))
    issues = dataset.metadata.ctx.issues
    assert not issues.errors and not issues.warnings
    rows = {name: len(list(dataset.records(name))) for name in ("threads", "labels", "criteria")}
    assert rows["threads"] == 20 and rows["labels"] > 10 and rows["criteria"] > 20
    if (package / "data" / "posts.csv").exists():
        bodies = {record["posts/body"] for record in dataset.records("posts")}
        assert b"Add an epsilon." in bodies and len(bodies) == 3


@pytest.fixture
def desk(labelled: Database, study: Study) -> Iterator[Desk]:
    """A desk with one label that has evidence, among those of the labelled study."""
    with labelled.writing() as session:
        thread = session.query(Thread).filter_by(url="https://github.test/18").one()
        span = {"position": 0, "start": 12, "end": 15}
        label = Label(True, None, "IR", "add-epsilon", "log")
        append_event(
            session,
            "decision",
            thread=thread,
            label=label,
            annotator="ada",
            phase="imported",
            payload={"spans": [span], "memo": "seen"},
        )
    with labelled.reading() as session:
        yield Desk(session, study)


@needs("label_studio_sdk")
def test_label_studio_takes_the_export(desk: Desk) -> None:
    """Label Studio's own validator accepts every task and annotation under the exported interface."""
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface(label_studio_config(desk.study.codebook))
    tasks = json.loads(to_label_studio(desk))
    assert len(tasks) > 10
    for task in tasks:
        assert interface.validate_task({"data": task["data"]})
        assert all(interface.validate_annotation(item) for item in task["annotations"])
    spoilt = tasks[0]["annotations"][0]
    spoilt["result"][0]["value"]["choices"] = ["neither"]
    assert not interface.validate_annotation(spoilt)


@pytest.mark.skipif(not DOCCANO and not REQUIRED, reason="NANMINE_DOCCANO names no Python with doccano")
def test_doccano_takes_the_export_and_gives_it_back(desk: Desk) -> None:
    """doccano's own import and export keep category, evidence and key, and we read what comes back."""
    ours = to_doccano(desk)
    Path("in.jsonl").write_text(ours)
    done = subprocess.run(
        [str(DOCCANO), ROUND_TRIP, "in.jsonl", "out.jsonl"], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    kept = ("text", "cats", "entities", "url", "annotator", "fix_pattern", "function", "memo")
    sent, given = (
        [{name: json.loads(line)[name] for name in kept} for line in text.splitlines()]
        for text in (ours, Path("out.jsonl").read_text())
    )
    assert sent == given and any(row["entities"] for row in given)
    (row,) = [row for row in given if row["entities"]]
    label = {"valid": True, "root_cause": "IR", "fix_pattern": "add-epsilon", "function": "log"}
    ((start, end, _),) = row["entities"]
    carried = Carried(row["text"], "seen", ((start, end),))
    assert row["text"][start:end] == "nan"
    expected = {"url": "https://github.test/18", "annotator": "ada", **label, "carried": carried}
    assert from_doccano(row) == expected


@pytest.fixture
def datasette(labelled: Database, tmp_path: Path) -> Iterator[str]:
    """The address of a real Datasette on the labelled study, started as the README says."""
    database = f"sqlite:///{tmp_path}/study.db"
    CliRunner().invoke(nanmine, ["--database", database, "export", "datasette", "--out", "metadata.json"])
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "datasette", "serve", "study.db", "-m", "metadata.json", "-p", str(port)]
    with Path("datasette.log").open("w") as log, subprocess.Popen(command, stderr=log, stdout=log) as server:
        try:
            _wait(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}/study"
        finally:
            server.terminate()


def _wait(address: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            httpx.get(address, trust_env=False)
        except httpx.ConnectError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"Datasette did not start: {Path('datasette.log').read_text()}")


@needs("datasette")
def test_datasette_shows_every_table_and_view(datasette: str, tmp_path: Path) -> None:
    """Each page answers, and those that people see carry the description from the metadata."""
    described = json.loads(Path("metadata.json").read_text())["databases"]["study"]["tables"]
    with closing(sqlite3.connect(tmp_path / "study.db")) as opened:
        names = [
            name
            for (name,) in opened.execute("select name from sqlite_master where type in ('table', 'view')")
        ]
    overview = httpx.get(f"{datasette}.json", trust_env=False).json()
    shown = {table["name"] for table in overview["tables"] if not table["hidden"]}
    shown |= {view["name"] for view in overview["views"]}
    assert "alembic_version" not in shown and {"threads", "label_history"} <= shown <= described.keys()
    for name in names:
        page = httpx.get(f"{datasette}/{name}", trust_env=False, follow_redirects=True)
        assert page.status_code == 200, name
        assert name not in shown or described[name]["description"] in html.unescape(page.text)


@needs("datasette")
@pytest.mark.parametrize(
    ("table", "words", "found"),
    [("thread", "nan", 20), ("threads", "nan", 20), ("post", "epsilon", 20), ("posts", "epsilon", 20)],
)
def test_datasette_searches_titles_and_bodies(datasette: str, table: str, words: str, found: int) -> None:
    """Tables and views have a search box that answers from the full-text index."""
    address = f"{datasette}/{table}"
    assert 'type="search"' in httpx.get(address, trust_env=False).text
    for query, count in ((words, found), ("nowhere", 0)):
        rows = httpx.get(f"{address}.json", params={"_search": query}, trust_env=False).json()
        assert rows["filtered_table_rows_count"] == count


@needs("torch")
@pytest.mark.parametrize(
    ("function", "kind", "value", "both"),
    [
        ("exp", "float16", "x > 11.09", "x > 11.09"),
        ("exp", "bfloat16", "x ≥ 89", "x ≥ 89"),
        ("div", "float64", "x > -5.563e-309 and x < 5.563e-309", "x > -7.458e-155 and x < 7.458e-155"),
        ("log", "float32", "x ≤ 0", "x < 2.939e-39"),
        ("sqrt", "float32", "x < 0", "x ≤ 0"),
        ("acos", "bfloat16", "x < -1; x > 1", "x ≤ -1; x ≥ 1"),
    ],
)
def test_pytorch_is_probed_by_its_kernels_and_its_backward_pass(
    function: str, kind: str, value: str, both: str
) -> None:
    """PyTorch's autograd leaves its range where the arithmetic of the backward pass says."""
    assert describe(regions(function, KINDS[kind], PyTorch())) == value
    assert describe(regions(function, KINDS[kind], PyTorch(), with_derivative=True)) == both


@needs("torch")
def test_the_command_sets_pytorch_beside_numpy(labelled: Database) -> None:
    """`tables --probe torch` adds rows to Table 2, and nothing changes in the other tables."""
    plain, probed = (
        CliRunner().invoke(nanmine, ["--database", "sqlite:///study.db", "tables", *arguments]).output
        for arguments in (["--all"], ["--probe", "torch"])
    )
    assert "PyTorch |" not in plain and probed.count("| PyTorch |") == 32
    before, _, after = plain.partition("**Where functions")
    assert probed.startswith(before) and probed.endswith(after.partition("\n\n")[2].partition("\n\n**")[2])
