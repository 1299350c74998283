"""What a codebook means to people who label: its digest, and what differs between two of them.

Cues for the rule model, names and the order of lines are not part of the meaning.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.codebook import Codebook


@dataclass(frozen=True, slots=True)
class CodebookDiff:
    """Codes added, removed and changed in meaning, of causes and of reasons."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    rules_changed: bool

    @property
    def is_empty(self) -> bool:
        """Whether the two mean the same."""
        return not (self.added or self.removed or self.changed or self.rules_changed)


def codebook_digest(codebook: Codebook) -> str:
    """Return the SHA-256 of what the codebook means."""
    meaning = [_meanings(codebook), _rules(codebook)]
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def codebook_diff(old: Codebook, new: Codebook) -> CodebookDiff:
    """Return what changed from `old` to `new`."""
    before, after = _meanings(old), _meanings(new)
    return CodebookDiff(
        added=tuple(code for code in after if code not in before),
        removed=tuple(code for code in before if code not in after),
        changed=tuple(code for code in after if code in before and after[code] != before[code]),
        rules_changed=_rules(old) != _rules(new),
    )


def _meanings(codebook: Codebook) -> dict[str, Any]:
    causes = {
        cause.code: {**asdict(cause), "name": "", "fix_patterns": list(cause.fix_patterns)}
        for cause in codebook.causes
    }
    return causes | {reason.code: reason.definition for reason in codebook.reasons}


def _rules(codebook: Codebook) -> list[Any]:
    calls = sorted([list(call.between), call.rule] for call in codebook.close_calls)
    patterns = sorted([pattern.code, pattern.definition] for pattern in codebook.fix_patterns)
    return [codebook.unit, codebook.valid, calls, patterns]
