"""Studies and settings are data, and what is wrong with them is said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from db.errors import UsageError
from db.records import Label
from pipeline.errors import StudyError
from pipeline.settings import load_settings
from pipeline.study import Study, load_study

CODEBOOK = """
[[types]]
code = "t"
name = "T"
[[causes]]
code = "A"
name = "Ay"
type = "t"
definition = "d"
"""


def written(folder: Path, text: str, codebook: str = CODEBOOK) -> Path:
    """Write a study and a codebook, and return the study's path."""
    (folder / "codebook.toml").write_text(codebook)
    (folder / "study.toml").write_text(text)
    return folder / "study.toml"


def test_bundled_study_is_the_paper_s(study: Study) -> None:
    """Four strata of 100, two libraries, ten causes."""
    assert [(stratum.code, stratum.quota) for stratum in study.strata] == [
        ("TI", 100),
        ("TP", 100),
        ("PI", 100),
        ("PP", 100),
    ]
    assert study.libraries == ("pytorch", "tensorflow")
    assert study.codebook.cause_codes == (
        "IR",
        "APIM",
        "IDP",
        "IFPT",
        "CLE",
        "GE",
        "RE",
        "BI",
        "IMC",
        "Other",
    )


def test_a_study_says_only_what_differs(tmp_path: Path) -> None:
    """Tables merge with the bundled study's, and the bundled codebook stays."""
    changed = load_study(written(tmp_path, '[crawl]\npace = 0.5\n[keywords]\ncounted = ["deadlock"]\n'))
    assert changed.keywords.counted == ("deadlock",)
    assert changed.crawl["pace"] == 0.5
    assert len(changed.codebook.causes) == 10


def test_another_study_starts_from_nothing(tmp_path: Path) -> None:
    """With `extends = ""` nothing of the bundled study is left."""
    other = load_study(
        written(tmp_path, 'extends = ""\n[study]\nname = "other"\ncodebook = "codebook.toml"\n')
    )
    assert (other.sources, other.strata, other.keywords.counted) == ({}, (), ())
    assert other.codebook.cause_codes == ("A",)


CODES = ('"T,I"', '"T I"', '"*"', '"?"', '""', "3")  # of strata: none could be told from another, or from all
REST = 'title = "A"\nsource = "github"\nlibrary = "l"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[study\n", "is not TOML"),
        ("[keywords]\nwords = []\n", "unknown key 'words' in \\[keywords\\]"),
        ('[keywords]\ncounted = "nan"\n', "counted is 'nan', not a list of words"),
        ("[study]\nname = 3\n", "name and title are texts"),
        ("[sources.github]\nurl = 5\n", "is not an http address"),
        ('[[strata]]\ncode = "A"\ntitle = "A"\nsource = "github"\nlibrary = "l"\nquota = "9"\n', "quota '9'"),
        *((f"[[strata]]\ncode = {code}\n{REST}", "is not made of letters") for code in CODES),
        ("[strata]\ncode = 'A'\n", r"\[strata\]\] is not a table"),
        ("[sources]\ngithub = 3\n", r"\[sources.github\] is not a table"),
        ("[package]\nlicense = 4.0\n", "license 4.0 is not an SPDX identifier"),
        ("colour = 1\n", "unknown key 'colour'"),
        ('[[strata]]\ncode = "A"\ntitle = "A"\nsource = "github"\n', "'library' is missing in \\[\\[strata"),
        ('[sources.github]\ntopic = "t"\n', "unknown key 'topic' in \\[sources.github\\]"),
        ('[sources.y]\nservice = "discourse"\n', "'url' is missing in \\[sources.y\\]"),
        ('[sources.x]\nservice = "usenet"\nurl = "http://x"\nsite = "http://x"\n', "'usenet' is not one of"),
        ('[sources.github]\nurl = "ftp://x"\n', "is not an http address"),
        ('[[strata]]\ncode = "A"\ntitle = "A"\nsource = "nowhere"\nlibrary = "l"\n', "'nowhere' is not in"),
        ('[criteria]\ngithub = ["nice"]\n', "'nice' is not one of"),
        ('[package]\nauthor = "A"\n', "unknown key 'author' in \\[package\\]"),
        ('[package]\ncreators = "A"\n', "creators is not a list of names"),
        ('[package]\nlicense = "MIT or so"\n', "is not an SPDX identifier"),
        ("[package]\ncitation = 1\n", "citation is not a text"),
        ('extends = "no-such"\n', "is not a bundled study"),
        ('[study]\ncodebook = "missing.toml"\n', "cannot be read"),
    ],
)
def test_a_wrong_study_is_explained(tmp_path: Path, text: str, said: str) -> None:
    """A study file that is wrong ends in one line that says where."""
    with pytest.raises(StudyError, match=said) as caught:
        load_study(written(tmp_path, text))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("codebook", "said"),
    [
        (CODEBOOK + CODEBOOK[CODEBOOK.index("[[causes]]") :], "'A' is defined twice"),
        (CODEBOOK.replace('type = "t"', 'type = "u"'), "'u' is not defined"),
        (CODEBOOK + 'fix_patterns = ["f"]\n', "'f' is not defined"),
        ("", "has no \\[\\[causes\\]\\]"),
        ("[colours]\n", "unknown table 'colours'"),
    ],
)
def test_a_wrong_codebook_is_explained(tmp_path: Path, codebook: str, said: str) -> None:
    """A codebook that contradicts itself ends in one line."""
    with pytest.raises(StudyError, match=said):
        load_study(written(tmp_path, '[study]\ncodebook = "codebook.toml"\n', codebook))


@pytest.mark.parametrize(
    ("label", "fits"),
    [
        (Label(True, root_cause="IR", fix_pattern="add-epsilon"), True),
        (Label(True, root_cause="IR", fix_pattern="other-fix"), True),
        (Label(True, root_cause="IR", fix_pattern="fix-logic"), False),
        (Label(True, root_cause="XX"), False),
        (Label(True), False),
        (Label(True, root_cause="IR", reason="not-a-bug"), False),
        (Label(False, reason="not-a-bug"), True),
        (Label(False, reason="boring"), False),
        (Label(False), False),
        (Label(False, reason="not-a-bug", root_cause="IR"), False),
    ],
)
def test_a_label_fits_the_codebook_or_not(study: Study, label: Label, fits: bool) -> None:
    """Valid goes with a cause and its own fix patterns, not valid with a reason, and nothing else."""
    assert (study.codebook.problem_with(label) is None) == fits


def test_first_that_is_set_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag beats the environment, which beats the study file, which beats the default."""
    written(tmp_path, '[database]\nurl = "sqlite:///file.db"\n')
    monkeypatch.chdir(tmp_path)
    variables = {"NANMINE_DATABASE_URL": "sqlite:///environment.db", "NANMINE_ANNOTATOR": "ada"}
    assert load_settings(variables, database="sqlite:///flag.db").database_url == "sqlite:///flag.db"
    assert load_settings(variables).database_url == "sqlite:///environment.db"
    assert load_settings({}).database_url == "sqlite:///file.db"
    assert (load_settings(variables).annotator, load_settings(variables, annotator="bob").annotator) == (
        "ada",
        "bob",
    )


def test_tokens_stay_out_of_the_repr() -> None:
    """Several tokens are split at commas, our variable comes first, and none is shown."""
    found = load_settings(
        {"NANMINE_GITHUB_TOKEN": "one, two", "GITHUB_TOKEN": "three", "NANMINE_STACKEXCHANGE_KEY": "four"}
    )
    assert (found.github_tokens, found.stackexchange_key) == (("one", "two"), "four")
    assert not any(secret in repr(found) for secret in ("one,", "two", "four"))


def test_addresses_come_from_the_environment() -> None:
    """Each service's address can be moved; a wrong one is refused."""
    found = load_settings({"NANMINE_FORUM_URL": "http://127.0.0.1:9/"})
    assert found.study.sources["pytorch-forums"].url == "http://127.0.0.1:9"
    assert found.study.sources["github"].url == "https://api.github.com"
    with pytest.raises(UsageError, match="NANMINE_GITHUB_URL"):
        load_settings({"NANMINE_GITHUB_URL": "github"})


@pytest.mark.parametrize("pace", ["fast", "-1", "nan", "inf"])
def test_a_wrong_pace_is_refused(pace: str) -> None:
    """The pace is a number of 0 or more."""
    with pytest.raises(UsageError, match="pace"):
        load_settings({"NANMINE_PACE": pace})


def test_a_study_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Editors that write a BOM and Windows line ends write a study all the same."""
    (tmp_path / "study.toml").write_bytes(b'\xef\xbb\xbf[study]\r\nname = "other"\r\n')
    assert load_study(tmp_path / "study.toml").name == "other"
