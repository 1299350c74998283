"""The codebook of a study: reasons, categories, fix patterns and close calls, as data.

Code compares codes and prints names; it never spells a category. A codebook that names a code
twice, or refers to one it does not define, is refused.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from db.records import Label
from pipeline.errors import StudyError


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a thread is not a valid bug of the study; `key` chooses it in the annotation screen.

    `step` is when it is decided: a reason of step 2 is given only where none of step 1 holds.
    """

    code: str
    name: str
    definition: str
    key: str = ""
    step: int = 1


@dataclass(frozen=True, slots=True)
class BroadType:
    """A broad type that groups root causes."""

    code: str
    name: str


@dataclass(frozen=True, slots=True)
class Cause:
    """A root cause: what it is, what belongs to it and what does not, and how it is fixed."""

    code: str
    name: str
    type: str
    definition: str
    include: str = ""
    exclude: str = ""
    example: str = ""
    fix_patterns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FixPattern:
    """A way in which bugs of one cause are fixed."""

    code: str
    name: str
    definition: str = ""


@dataclass(frozen=True, slots=True)
class CloseCall:
    """The rule that decides between categories that lie close together."""

    between: tuple[str, ...]
    rule: str


@dataclass(frozen=True)
class Codebook:
    """A whole codebook; `source` is the TOML it was read from, `cues` are for `pipeline.rules`."""

    name: str
    unit: str
    valid: str
    reasons: tuple[Reason, ...]
    types: tuple[BroadType, ...]
    causes: tuple[Cause, ...]
    fix_patterns: tuple[FixPattern, ...]
    close_calls: tuple[CloseCall, ...]
    cues: tuple[dict[str, Any], ...]
    source: str

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the TOML text."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @cached_property
    def cause_codes(self) -> tuple[str, ...]:
        """The codes of the root causes, in codebook order."""
        return tuple(cause.code for cause in self.causes)

    @cached_property
    def reason_codes(self) -> tuple[str, ...]:
        """The codes of the reasons, in codebook order."""
        return tuple(reason.code for reason in self.reasons)

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """The steps in which validity is decided, in order: those of the reasons, and at least one."""
        return tuple(sorted({reason.step for reason in self.reasons})) or (1,)

    def failed_step(self, reason: str | None) -> int:
        """Return the position in `steps` at which `reason` rules a thread out: the first if it is unknown."""
        steps = {one.code: self.steps.index(one.step) for one in self.reasons}
        return steps.get(reason or "", 0)

    def cause(self, code: str) -> Cause:
        """Return the root cause with `code`; KeyError if there is none."""
        return {cause.code: cause for cause in self.causes}[code]

    def fix_patterns_of(self, cause: str) -> tuple[str, ...]:
        """Return the fix patterns that a label of `cause` may carry: its own, and `other-fix`."""
        own = self.cause(cause).fix_patterns
        return (*own, *(pattern.code for pattern in self.fix_patterns if pattern.code == "other-fix"))

    def problem_with(self, label: Label) -> str | None:
        """Say in one clause what makes `label` impossible under this codebook, or None."""
        if not label.valid:
            if label.reason not in self.reason_codes:
                return f"reason {label.reason!r} is not one of {', '.join(self.reason_codes)}"
            return (
                "a thread that is not valid has no root cause or fix pattern"
                if label.root_cause or label.fix_pattern
                else None
            )
        if label.root_cause not in self.cause_codes:
            return f"root cause {label.root_cause!r} is not one of {', '.join(self.cause_codes)}"
        patterns = self.fix_patterns_of(label.root_cause)
        if label.fix_pattern and label.fix_pattern not in patterns:
            return (
                f"fix pattern {label.fix_pattern!r} is not one of {label.root_cause}'s: {', '.join(patterns)}"
            )
        return "a valid thread has no reason" if label.reason else None


def load_codebook(path: Path) -> Codebook:
    """Read and check a codebook; StudyError says what is wrong and where."""
    try:
        return to_codebook(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(
            f"codebook {path}: cannot be read ({error.strerror}); check [study] codebook"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"codebook {path}: is not TOML: {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError(f"codebook {path}: {error}") from None


def to_codebook(source: str) -> Codebook:
    """Return the codebook that the TOML text `source` describes; ValueError if it contradicts itself."""
    data = tomllib.loads(source)
    unknown = data.keys() - {"codebook", "reasons", "types", "causes", "fix_patterns", "close_calls", "cues"}
    if unknown:
        raise ValueError(f"unknown table {sorted(unknown)[0]!r}")
    head = data.get("codebook", {})
    codebook = Codebook(
        name=head.get("name", ""),
        unit=head.get("unit", ""),
        valid=head.get("valid", ""),
        reasons=tuple(Reason(**row) for row in data.get("reasons", ())),
        types=tuple(BroadType(**row) for row in data.get("types", ())),
        causes=tuple(Cause(**_with_tuples(row, "fix_patterns")) for row in data.get("causes", ())),
        fix_patterns=tuple(FixPattern(**row) for row in data.get("fix_patterns", ())),
        close_calls=tuple(CloseCall(**_with_tuples(row, "between")) for row in data.get("close_calls", ())),
        cues=tuple(data.get("cues", ())),
        source=source,
    )
    _check(codebook)
    return codebook


def _with_tuples(row: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: tuple(value) if key in keys else value for key, value in row.items()}


def _check(codebook: Codebook) -> None:
    if not codebook.causes:
        raise ValueError("has no [[causes]]")
    types = _distinct("type", (type_.code for type_ in codebook.types))
    causes = _distinct("cause", codebook.cause_codes)
    patterns = _distinct("fix pattern", (pattern.code for pattern in codebook.fix_patterns))
    _distinct("reason", codebook.reason_codes)
    for cause in codebook.causes:
        _known(f"cause {cause.code}: type", (cause.type,), types)
        _known(f"cause {cause.code}: fix pattern", cause.fix_patterns, patterns)
    for call in codebook.close_calls:
        _known("close call: cause", call.between, causes)


def _distinct(what: str, codes: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    for code in codes:
        if code in seen:
            raise ValueError(f"{what} {code!r} is defined twice")
        seen.add(code)
    return seen


def _known(where: str, codes: Iterable[str], known: set[str]) -> None:
    for code in codes:
        if code not in known:
            raise ValueError(f"{where} {code!r} is not defined")
