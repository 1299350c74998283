"""A study written as TOML that `load_study` reads back: for replication packages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from pipeline.study import Study


def study_toml(study: Study) -> str:
    """Return a study.toml that says everything and extends nothing; its codebook is codebook.toml."""
    published = {"published": study.published} if study.published else {}
    keywords = {
        "counted": study.keywords.counted,
        "extended": study.keywords.extended,
        "search": study.search_terms,
    }
    lines = ['extends = ""', ""]
    head = {"name": study.name, "title": study.title, "codebook": "codebook.toml", **published}
    lines += _table("study", head)
    lines += _table("keywords", keywords)
    lines += _table("criteria", study.criteria)
    for name, source in study.sources.items():
        settings = {key: value for key, value in asdict(source).items() if key != "name" and value}
        lines += _table(f"sources.{_key(name)}", settings)
    for stratum in study.strata:
        lines += _table("strata", asdict(stratum), array=True)
    lines += _table("labeling", study.labeling)
    return "\n".join([*lines, *_table("package", {k: v for k, v in asdict(study.package).items() if v})])


def _table(name: str, values: Mapping[str, Any], *, array: bool = False) -> Iterator[str]:
    yield f"[[{name}]]" if array else f"[{name}]"
    for key, value in values.items():
        yield f"{_key(key)} = {_value(value)}"
    yield ""


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
