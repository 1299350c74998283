"""A study: what is mined, from where, what counts, and into which strata, read from study.toml.

A study file says what differs from the study it `extends` (the bundled one unless it says
otherwise); tables merge key by key, lists and values replace. Unknown keys are refused.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from db.errors import UsageError
from pipeline.codebook import Codebook, load_codebook
from pipeline.errors import StudyError
from pipeline.keywords import KeywordMatcher
from pipeline.records import ThreadRecord

STUDIES = Path(__file__).parent / "studies"
BUNDLED = "numerical-bugs"
SERVICES = ("github", "stackexchange", "discourse")
CRITERIA = ("closed", "replied", "accepted", "library", "keyword")
CODE = r"[\w-]+"  # a stratum's: codes are joined by commas and spaces, and * and ? stand for no one stratum
SPDX = r"[A-Za-z0-9][A-Za-z0-9.+-]*"
TABLES = ("study", "keywords", "criteria", "sources", "strata", "crawl", "database", "labeling", "package")


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """One source of a study: which service, where, and how its threads get their libraries.

    `url` is the API's root and `site` the root of the pages people read. `topics` (GitHub) and
    `tags` (Stack Exchange) map a topic or tag to a library; a forum is about one `library`.
    """

    name: str
    service: str
    url: str
    site: str
    topics: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    library: str | None = None


@dataclass(frozen=True, slots=True)
class Stratum:
    """A stratum: the candidates of one source about one library, labelled up to `quota` valid ones."""

    code: str
    title: str
    source: str
    library: str
    quota: int = 100


Row = TypeVar("Row", SourceSettings, Stratum)


@dataclass(frozen=True, slots=True)
class PackageSettings:
    """What a replication package says of itself: who made the data, their licence, how to cite them.

    Creators are people, as "Family, Given", or groups, by their name; `license` is an SPDX identifier.
    """

    creators: tuple[str, ...] = ()
    license: str | None = None
    citation: str | None = None


@dataclass(frozen=True)
class Study:
    """A whole study; `labeling` and `crawl` hold their tables as they stand."""

    name: str
    title: str
    published: str | None
    codebook: Codebook
    keywords: KeywordMatcher
    search_terms: tuple[str, ...]
    criteria: dict[str, tuple[str, ...]]
    sources: dict[str, SourceSettings]
    strata: tuple[Stratum, ...]
    crawl: dict[str, Any]
    database_url: str
    labeling: dict[str, Any]
    package: PackageSettings

    @cached_property
    def libraries(self) -> tuple[str, ...]:
        """Every library that a stratum names, sorted."""
        return tuple(sorted({stratum.library for stratum in self.strata}))

    @cached_property
    def rules_digest(self) -> str:
        """Digests all that decides about a stored thread: keywords, criteria, sources, strata."""
        services = {name: source.service for name, source in self.sources.items()}
        strata = [(stratum.code, stratum.source, stratum.library) for stratum in self.strata]
        rules = (self.keywords.counted, self.keywords.extended, self.criteria, services, strata)
        return hashlib.sha256(repr(rules).encode()).hexdigest()

    def stratum(self, code: str) -> Stratum:
        """Return the stratum with `code`; UsageError if there is none."""
        for stratum in self.strata:
            if stratum.code == code:
                return stratum
        codes = ", ".join(stratum.code for stratum in self.strata)
        raise UsageError(f"stratum {code!r}: the study has {codes or 'none'}")

    def strata_of(self, source: str, libraries: tuple[str, ...]) -> tuple[str, ...]:
        """Return the sorted codes of the strata that a thread of `source` about `libraries` belongs to."""
        return tuple(sorted(s.code for s in self.strata if s.source == source and s.library in libraries))

    def criteria_of(self, thread: ThreadRecord) -> tuple[str, ...]:
        """Return the criteria that a thread of its source must meet; none for a source not in the study."""
        source = self.sources.get(thread.source)
        return self.criteria.get(source.service, ()) if source else ()


def load_study(path: Path | None = None) -> Study:
    """Read the study at `path`, or the bundled one; StudyError says what is wrong and where."""
    if path is None:
        return _to_study(_read(_bundled(BUNDLED)), _bundled(BUNDLED))
    data = _read(path)
    base_name = data.pop("extends", BUNDLED)
    folder = path.parent
    if base_name:
        if not _bundled(base_name).is_file():
            raise StudyError(f"study {path}: extends {base_name!r}, which is not a bundled study ({BUNDLED})")
        if "codebook" not in data.get("study", {}):
            folder = _bundled(base_name).parent
        data = _merge(_read(_bundled(base_name)), data)
    return _to_study(data, path, folder)


def _bundled(name: str) -> Path:
    return STUDIES / name.replace("-", "_") / "study.toml"


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise StudyError(
            f"study {path}: cannot be read ({error.strerror}); check --study or NANMINE_STUDY"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"study {path}: is not TOML: {error}") from None


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _to_study(data: dict[str, Any], path: Path, folder: Path | None = None) -> Study:
    try:
        _only(data, *TABLES)
        head = data.get("study", {})
        _only(head, "name", "title", "codebook", "published", where="study")
        words = data.get("keywords", {})
        _only(words, "counted", "extended", "search", where="keywords")
        _only(data.get("database", {}), "url", where="database")
        sources = {
            name: _to_row(SourceSettings, table, f"[sources.{name}]", name=name)
            for name, table in data.get("sources", {}).items()
        }
        study = Study(
            name=head["name"],
            title=head.get("title", head["name"]),
            published=head.get("published"),
            codebook=load_codebook((folder or path.parent) / head["codebook"]),
            keywords=KeywordMatcher(_words(words, "counted"), _words(words, "extended")),
            search_terms=_words(words, "search"),
            criteria={service: tuple(names) for service, names in data.get("criteria", {}).items()},
            sources=sources,
            strata=tuple(_to_row(Stratum, row, "[[strata]]") for row in data.get("strata", ())),
            crawl=data.get("crawl", {}),
            database_url=data.get("database", {}).get("url", "sqlite:///nanmine.db"),
            labeling=data.get("labeling", {}),
            package=_to_package(data.get("package", {})),
        )
        _check(study)
    except KeyError as error:
        raise StudyError(f"study {path}: {error.args[0]!r} is missing") from None
    except (TypeError, ValueError) as error:
        raise StudyError(f"study {path}: {error}") from None
    return study


def _to_row(kind: type[Row], table: dict[str, Any], where: str, **given: Any) -> Row:
    """Return a table as a dataclass; ValueError names a key that is missing or unknown."""
    if not isinstance(table, dict):
        raise ValueError(f"{where} is not a table")
    values = table | given
    known = {one.name: one for one in fields(kind)}
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r} in {where}")
    for name, one in known.items():
        if name not in values and one.default is MISSING and one.default_factory is MISSING:
            raise ValueError(f"{name!r} is missing in {where}")
    return kind(**values)


def _is_like(pattern: str, value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _words(table: dict[str, Any], key: str) -> tuple[str, ...]:
    """Return a list of words; one text would be taken for its letters."""
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(word, str) and word for word in found):
        raise ValueError(f"[keywords] {key} is {found!r}, not a list of words")
    return tuple(found)


def _to_package(table: dict[str, Any]) -> PackageSettings:
    _only(table, "creators", "license", "citation", where="package")
    creators, license_, citation = table.get("creators", []), table.get("license"), table.get("citation")
    if not isinstance(creators, list) or not all(isinstance(name, str) and name for name in creators):
        raise ValueError("[package] creators is not a list of names")
    if license_ is not None and not _is_like(SPDX, license_):
        raise ValueError(f"[package] license {license_!r} is not an SPDX identifier such as CC-BY-4.0")
    if citation is not None and not isinstance(citation, str):
        raise ValueError("[package] citation is not a text")
    return PackageSettings(tuple(creators), license_, citation)


def _only(table: dict[str, Any], *known: str, where: str = "") -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"unknown key {key!r}" + (f" in [{where}]" if where else ""))


def _check(study: Study) -> None:
    if not isinstance(study.name, str) or not isinstance(study.title, str):
        raise ValueError("[study] name and title are texts")
    for source in study.sources.values():
        if source.service not in SERVICES:
            raise ValueError(
                f"[sources.{source.name}] service {source.service!r} is not one of {', '.join(SERVICES)}"
            )
        if not str(source.url).startswith(("https://", "http://")):
            raise ValueError(f"[sources.{source.name}] url {source.url!r} is not an http address")
    for service, names in study.criteria.items():
        for name in names:
            if name not in CRITERIA:
                raise ValueError(f"[criteria] {service}: {name!r} is not one of {', '.join(CRITERIA)}")
    codes = [stratum.code for stratum in study.strata]
    for code in codes:
        if not _is_like(CODE, code):
            raise ValueError(f"[[strata]] code {code!r} is not made of letters, digits, - and _")
    if len(set(codes)) < len(codes):
        raise ValueError("[[strata]] a code is given twice")
    for stratum in study.strata:
        if not isinstance(stratum.quota, int) or stratum.quota < 1:
            raise ValueError(f"stratum {stratum.code}: quota {stratum.quota!r} is not a number of 1 or more")
        if stratum.source not in study.sources:
            raise ValueError(f"stratum {stratum.code}: source {stratum.source!r} is not in [sources]")
