"""The replication package: whole, private, the same twice, and its tables made anew from it alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select

from db.engine import Database, open_database
from db.label_events import LabelEvent
from flows.cli import nanmine, run
from pipeline import bundle_texts as texts
from pipeline.bundle import SUMS, write_bundle
from pipeline.bundle_check import bundle_tables, check_bundle
from pipeline.bundle_metadata import About, croissant, data_package
from pipeline.errors import InputError
from pipeline.figures import drawn_with
from pipeline.patterns import read_patterns
from pipeline.provenance import newest
from pipeline.render import render
from pipeline.study import PackageSettings, Study, load_study
from pipeline.study_files import study_toml


def packed(source: Path, study: Study, folder: Path, *, with_text: bool) -> Path:
    """Write the package of a database file into a folder."""
    database = open_database(f"sqlite:///{source}")
    with database.reading() as session:
        write_bundle(session, study, folder, with_text=with_text)
    database.close()
    return folder


@pytest.fixture(scope="module")
def _package(_labelled_database: Path, study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(_labelled_database, study, tmp_path_factory.mktemp("package"), with_text=False)


@pytest.fixture(scope="module")
def _full(_labelled_database: Path, study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(_labelled_database, study, tmp_path_factory.mktemp("full"), with_text=True)


@pytest.fixture
def package(_package: Path) -> Path:
    """A package of the labelled study, without texts, to do with as a test likes."""
    return shutil.copytree(_package, Path("package"))


@pytest.fixture
def full(_full: Path) -> Path:
    """The same with texts."""
    return shutil.copytree(_full, Path("full"))


def repack(package: Path) -> None:
    """Write the checksums anew, as somebody who changed a file on purpose would."""
    paths = sorted(path for path in package.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(package).as_posix()}\n" for p in paths
    ]
    (package / SUMS).write_text("".join(lines))


def change_data(package: Path, name: str, old: str, new: str) -> None:
    """Change one data file and every size and digest of it, as somebody would who means to deceive."""
    path = package / "data" / f"{name}.csv"
    before, after = path.read_bytes(), path.read_text().replace(old, new).encode()
    path.write_bytes(after)
    digests = [hashlib.sha256(content).hexdigest() for content in (before, after)]
    for described in ("datapackage.json", "croissant.json"):
        text = (package / described).read_text().replace(*digests)
        text = text.replace(f'"bytes": {len(before)}', f'"bytes": {len(after)}')
        (package / described).write_text(text)
    repack(package)


def test_a_fresh_package_holds(package: Path) -> None:
    """Files, descriptions, privacy, labels, tables and figures: every check has its line."""
    lines = list(check_bundle(package))
    assert len(lines) == 6 and "byte for byte" in lines[4] and lines[5].startswith("8 figure files come out")


def test_the_package_is_the_same_twice(package: Path, labelled: Database, study: Study) -> None:
    """No clock, no random id and no path of this machine in any file."""
    with labelled.reading() as session:
        write_bundle(session, study, Path("again"))
    for path in package.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (Path("again") / path.relative_to(package)).read_bytes(), path
            assert str(Path.cwd()).encode() not in path.read_bytes()


def test_no_text_and_no_name_is_in_it(package: Path) -> None:
    """Titles, bodies, account hashes and annotators' handles are nowhere in the package."""
    for path in package.rglob("*"):
        if path.is_file() and path.suffix not in (".png", ".svg"):
            content = path.read_text()
            for secret in ("nan in step", "epsilon.", "anon:", '"ada"', '"bo"', '"cy"', ",ada,", "torch.log"):
                assert secret not in content, (path, secret)


def test_texts_are_in_it_when_asked_for(full: Path, labelled: Database, study: Study) -> None:
    """With texts, titles and bodies are there, and the patterns come out of them as of the database."""
    with labelled.reading() as session:
        patterns = render(read_patterns(session, study), "csv")
    assert "nan in step" in (full / "data" / "threads.csv").read_text()
    assert "Add an epsilon." in (full / "data" / "posts.csv").read_text()
    assert (full / "tables" / "patterns.csv").read_text() == patterns and "torch.log" in patterns
    lines = list(check_bundle(full))
    assert "texts are included" in lines[2] and lines[4].startswith("14 tables")


def test_the_patterns_follow_from_the_packed_texts(full: Path) -> None:
    """A package whose posts were edited, and its description with them, has other patterns."""
    change_data(full, "posts", "torch.log", "torch.exp")
    with pytest.raises(InputError, match=r"tables/patterns\.md is not what its data give"):
        list(check_bundle(full))


def test_the_package_says_that_patterns_are_not_in_it(package: Path) -> None:
    """Without texts there is no table that quotes them, and the README says why and what writes it."""
    assert not list((package / "tables").glob("patterns.*"))
    assert "table of frequent patterns quotes texts" in (package / "README.md").read_text()


def test_the_package_says_that_labels_are_simulated(package: Path) -> None:
    """Whoever opens its README or its metadata is told; a study of people says nothing of it."""
    said = "17 of 19 labels are by simulated annotators"
    assert f"**{said}, not by people.**" in (package / "README.md").read_text()
    assert said in json.loads((package / "croissant.json").read_text())["description"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda package: (package / "link").symlink_to("README.md"), "link is a link or no plain file"),
        (lambda package: (package / "link").symlink_to("/nowhere"), "link is a link or no plain file"),
        (lambda package: (package / "link").symlink_to("/etc"), "link is a link or no plain file"),
        (lambda package: os.mkfifo(package / "data" / "pipe"), "data/pipe is a link or no plain file"),
        (lambda package: (package / SUMS).rename("sums") and (package / SUMS).symlink_to("../sums"), SUMS),
        (lambda package: (package / "data" / "more.csv").write_text("x"), "more.csv is not listed"),
        (lambda package: (package / SUMS).write_bytes(b"\xff\xfe"), "names no file inside the package"),
        (lambda package: cut_sums(package, "funnel.png"), "figures/funnel.png is not listed"),
        (lambda package: double_sums(package), "is listed twice"),
        (lambda package: (package / "figures" / "funnel.svg").write_text("x"), "funnel.svg is not the file"),
        (lambda package: (package / "README.md").unlink(), "README.md is missing"),
    ],
)
def test_whatever_was_tampered_with_is_one_line(
    package: Path, damage: Callable[[Path], object], said: str
) -> None:
    """Links, pipes, extra and lost files, a checksum list that was cut: each is named."""
    damage(package)
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        list(check_bundle(package))
    assert "\n" not in str(caught.value)


def cut_sums(package: Path, name: str) -> None:
    """Take the line of one file out of the checksums."""
    lines = (package / SUMS).read_text().splitlines(keepends=True)
    (package / SUMS).write_text("".join(line for line in lines if name not in line))


def double_sums(package: Path) -> None:
    """List the last file a second time."""
    lines = (package / SUMS).read_text().splitlines(keepends=True)
    (package / SUMS).write_text("".join([*lines, lines[-1]]))


def test_another_codebook_than_the_packed_one_is_refused(package: Path) -> None:
    """A package cannot make the checker read a codebook that lies elsewhere."""
    Path("codebook.toml").write_text((package / "codebook.toml").read_text() + "\n")
    study = package / "study.toml"
    study.write_text(study.read_text().replace('"codebook.toml"', '"../codebook.toml"'))
    repack(package)
    with pytest.raises(InputError, match=r"does not use the codebook\.toml of the package"):
        list(check_bundle(package))


def test_the_study_says_whose_the_package_is(study: Study) -> None:
    """Creators, licence and citation of study.toml stand in every description, with the date of the data."""
    named = replace(study, package=PackageSettings(("Lovelace, Ada", "A group"), "CC-BY-4.0", "Cite: this"))
    about = About(named, "0" * 64, datetime(2022, 3, 4, tzinfo=UTC), False)
    cff, package, described = texts.citation(about), data_package([], about), croissant([], about)
    assert 'family-names: "Lovelace"\n    given-names: "Ada"\n  - name: "A group"' in cff
    assert "license: CC-BY-4.0" in cff and 'date-released: "2022-03-04"' in cff
    licence = "https://spdx.org/licenses/CC-BY-4.0.html"
    assert package["licenses"] == [{"name": "CC-BY-4.0", "path": licence}]
    assert (described["citeAs"], described["datePublished"]) == ("Cite: this", "2022-03-04")
    assert described["license"] == licence and "are under CC-BY-4.0" in texts.licences(about)


def test_a_package_without_licence_says_so(study: Study) -> None:
    """No licence and no date are made up."""
    about = About(study, "0" * 64, None, False)
    assert "have no licence yet" in texts.licences(about)
    assert not {"license", "datePublished"} & croissant([], about).keys()
    assert not {"licenses", "created"} & data_package([], about).keys()
    assert "license" not in texts.citation(about) and "date-released" not in texts.citation(about)


def test_the_date_of_a_package_is_that_of_its_data(labelled: Database) -> None:
    """The last act of labeling dates it, else the newest thread; an empty study has no date."""
    with labelled.reading() as session:
        assert newest(session) == session.scalar(select(func.max(LabelEvent.at)))
    with open_database("sqlite:///empty.db").reading() as session:
        assert newest(session) is None


def test_a_changed_file_is_found(package: Path) -> None:
    """One bit, a missing file, a file that does not belong: each is named."""
    with (package / "data" / "labels.csv").open("a") as file:
        file.write("x")
    with pytest.raises(InputError, match=r"data/labels\.csv is not the file that was packed"):
        list(check_bundle(package))
    (package / "data" / "labels.csv").unlink()
    with pytest.raises(InputError, match=r"data/labels\.csv is missing"):
        list(check_bundle(package))


def test_a_changed_label_with_new_checksums_is_found_in_the_tables(package: Path) -> None:
    """Somebody who edits a label and every digest still has tables that do not follow from the data."""
    change_data(package, "labels", '"GE"', '"IR"')
    with pytest.raises(InputError, match=r"tables/table1\.md is not what its data give"):
        list(check_bundle(package))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda figures: (figures / "funnel.svg").write_bytes(b"<svg/>"), "funnel.svg is not what its data"),
        (lambda figures: (figures / "funnel.png").unlink(), "funnel.png is not there, though its data give"),
        (lambda figures: (figures / "more.png").write_bytes(b"x"), "more.png does not come out of its data"),
    ],
)
def test_a_changed_figure_with_new_checksums_is_found(
    package: Path, damage: Callable[[Path], object], said: str
) -> None:
    """Figures are drawn anew: one that is edited, taken out or put in is named, whatever the checksums."""
    damage(package / "figures")
    repack(package)
    with pytest.raises(InputError, match=re.escape(f"figures/{said}")):
        list(check_bundle(package))


@pytest.mark.parametrize("here", ["matplotlib 0.1, FreeType 1, Pillow 1", ""])
def test_figures_that_cannot_be_drawn_alike_are_said_to_be_unchecked(
    package: Path, monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    """Another matplotlib draws other bytes, and none draws nothing: the output says so and fails nothing."""
    monkeypatch.setattr("pipeline.bundle_check.drawn_with", lambda: here)
    last = list(check_bundle(package))[-1]
    assert last.startswith(f"8 figure files are NOT checked: drawn with {drawn_with()!r}, and here is {here}")


def test_a_column_that_is_not_described_is_found(package: Path) -> None:
    """Names cannot be smuggled in under a heading that the descriptions leave out."""
    change_data(package, "annotations", '"annotator"', '"name"')
    with pytest.raises(InputError, match=r"annotations\.csv: has other columns than"):
        list(check_bundle(package))


def test_a_label_outside_the_codebook_is_found(package: Path) -> None:
    """A package whose labels its own codebook does not know is refused."""
    codebook = package / "codebook.toml"
    codebook.write_text(codebook.read_text().replace('"GE"', '"GX"'))
    repack(package)
    with pytest.raises(InputError, match="root cause 'GE' is not one of"):
        list(check_bundle(package))


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd"])
def test_a_listed_path_outside_the_package_is_refused(package: Path, name: str) -> None:
    """A package cannot make the checker read other files."""
    with (package / SUMS).open("a") as file:
        file.write(f"{'0' * 64}  {name}\n")
    with pytest.raises(InputError, match="names no file inside the package"):
        list(check_bundle(package))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"path": "data/labels.csv"', '"path": "../../etc/passwd"', "which is not in the package"),
        ('"resources"', '"sources"', "lacks something"),
        ("{", "", "cannot be read"),
    ],
)
def test_a_description_that_is_wrong_is_one_line(package: Path, old: str, new: str, said: str) -> None:
    """A description cannot lead outside, and a broken one is said to be broken."""
    path = package / "datapackage.json"
    path.write_text(path.read_text().replace(old, new, 1))
    repack(package)
    with pytest.raises(InputError, match=said):
        list(check_bundle(package))


def test_the_tables_of_a_package_are_those_of_the_database(
    package: Path, labelled: Database, tmp_path: Path
) -> None:
    """`tables --bundle` prints what `tables --all` prints, but for the patterns, which need texts."""
    database = f"sqlite:///{tmp_path}/study.db"
    own = CliRunner().invoke(nanmine, ["--database", database, "tables", "--all"])
    packed = CliRunner().invoke(nanmine, ["tables", "--bundle", str(package)])
    assert own.exit_code == 0 and own.output.startswith(packed.output)
    assert len(bundle_tables(package)) == 13


def test_metadata_describe_every_data_file(package: Path) -> None:
    """Frictionless fields are the headings; every Croissant field has a source that exists."""
    described = json.loads((package / "datapackage.json").read_text())
    for resource in described["resources"]:
        heading = (package / resource["path"]).read_text().split("\n", 1)[0]
        assert [f'"{field["name"]}"' for field in resource["schema"]["fields"]] == heading.split(",")
    sets = json.loads((package / "croissant.json").read_text())["recordSet"]
    assert all(
        Path(package / field["source"]["fileObject"]["@id"]).is_file()
        for row in sets
        for field in row["field"]
    )


def test_a_study_written_as_toml_is_the_same_study(study: Study) -> None:
    """Strata, sources, keywords, criteria and labeling survive."""
    tomllib.loads(study_toml(study))
    Path("study.toml").write_text(study_toml(study))
    Path("codebook.toml").write_text(study.codebook.source)
    again = load_study(Path("study.toml"))
    for name in (
        "name",
        "title",
        "published",
        "sources",
        "strata",
        "criteria",
        "search_terms",
        "labeling",
        "package",
    ):
        assert getattr(again, name) == getattr(study, name), name
    assert again.keywords.counted == study.keywords.counted and again.codebook.digest == study.codebook.digest


def test_the_commands_write_and_check(
    labelled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Export, verify, and a folder that is not empty is left alone with exit code 2."""
    database = f"sqlite:///{tmp_path}/study.db"
    assert run(["--database", database, "export", "bundle", "--out", "made"]) == 0
    assert run(["verify", "bundle", "made"]) == 0
    assert "byte for byte" in capsys.readouterr().out
    assert run(["--database", database, "export", "bundle", "--out", "made"]) == 2
    assert not list(Path().glob(".*partial"))
    assert run(["verify", "bundle", str(tmp_path)]) == 1
    assert "has no SHA256SUMS" in capsys.readouterr().err
