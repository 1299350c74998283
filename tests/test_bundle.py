"""The replication package: whole, private, the same twice, and its tables made anew from it alone."""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from db.engine import Database, open_database
from flows.cli import nanmine, run
from pipeline.bundle import SUMS, write_bundle
from pipeline.bundle_check import bundle_tables, check_bundle
from pipeline.errors import InputError
from pipeline.study import Study, load_study
from pipeline.study_files import study_toml


@pytest.fixture(scope="module")
def _package(_labelled_database: Path, study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = open_database(f"sqlite:///{_labelled_database}")
    folder = tmp_path_factory.mktemp("package")
    with database.reading() as session:
        write_bundle(session, study, folder)
    database.close()
    return folder


@pytest.fixture
def package(_package: Path) -> Path:
    """A package of the labelled study, without texts, to do with as a test likes."""
    return shutil.copytree(_package, Path("package"))


def repack(package: Path) -> None:
    """Write the checksums anew, as somebody who changed a file on purpose would."""
    paths = sorted(path for path in package.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(package).as_posix()}\n" for p in paths
    ]
    (package / SUMS).write_text("".join(lines))


def test_a_fresh_package_holds(package: Path) -> None:
    """Files, descriptions, privacy, labels and tables: every check has its line."""
    lines = list(check_bundle(package))
    assert len(lines) == 5 and "byte for byte" in lines[-1]


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


def test_texts_are_in_it_when_asked_for(labelled: Database, study: Study) -> None:
    """With texts, titles and bodies are there, and the checks hold all the same."""
    with labelled.reading() as session:
        write_bundle(session, study, Path("full"), with_text=True)
    assert "nan in step" in Path("full/data/threads.csv").read_text()
    assert "Add an epsilon." in Path("full/data/texts.jsonl").read_text()
    assert "texts are included" in list(check_bundle(Path("full")))[2]


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
    labels = package / "data" / "labels.csv"
    old, content = labels.read_bytes(), labels.read_text().replace('"GE"', '"IR"', 1)
    labels.write_text(content)
    for name in ("datapackage.json", "croissant.json"):
        described = (
            (package / name)
            .read_text()
            .replace(hashlib.sha256(old).hexdigest(), hashlib.sha256(content.encode()).hexdigest())
        )
        (package / name).write_text(described)
    repack(package)
    with pytest.raises(InputError, match=r"tables/table1\.md is not what its data give"):
        list(check_bundle(package))


def test_a_column_that_is_not_described_is_found(package: Path) -> None:
    """Names cannot be smuggled in under a heading that the descriptions leave out."""
    path = package / "data" / "annotations.csv"
    old, content = path.read_bytes(), path.read_text().replace('"annotator"', '"name"', 1)
    path.write_text(content)
    described = (package / "datapackage.json").read_text()
    digest = hashlib.sha256(content.encode()).hexdigest()
    described = described.replace(hashlib.sha256(old).hexdigest(), digest)
    (package / "datapackage.json").write_text(
        described.replace(f'"bytes": {len(old)}', f'"bytes": {len(content)}')
    )
    repack(package)
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
    for name in ("name", "title", "published", "sources", "strata", "criteria", "search_terms", "labeling"):
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
