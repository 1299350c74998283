"""What a keyword hit is: a whole token, never a part of a word.

Letters and digits are word characters; underscore, dot, slash and sign are borders. So `np.nan`,
`NaN/Inf`, `-inf`, `nan_loss` and `tensor(nan,` hold hits, and banana, nano, info and inference none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Match:
    """One keyword occurrence in a text; `start` and `end` are offsets in code points.

    `keyword` is the study's spelling, `text` what stands there. An `extended` keyword is recorded
    but does not make a thread a candidate.
    """

    keyword: str
    text: str
    start: int
    end: int
    extended: bool


class KeywordMatcher:
    """Finds a study's keywords; `counted` ones make candidates, `extended` ones are only recorded."""

    def __init__(self, counted: Iterable[str], extended: Iterable[str] = ()) -> None:
        self.counted = tuple(counted)
        self.extended = tuple(extended)
        words = sorted({*self.counted, *self.extended}, key=len, reverse=True)
        self._spelling = {_fold(word): word for word in words}
        self._extended = {_fold(word) for word in self.extended} - {_fold(word) for word in self.counted}
        self._pattern = _compile(words)
        self._fragments = _fragments(words)

    def find(self, text: str) -> Iterator[Match]:
        """Yield every match in `text`, left to right."""
        if self._pattern is None:
            return
        for found in self._pattern.finditer(text):
            folded = _fold(found[0])
            yield Match(
                self._spelling[folded], found[0], found.start(), found.end(), folded in self._extended
            )

    def occurs_in(self, text: str) -> bool:
        """Say whether `text` holds any keyword, counted or extended."""
        if self._pattern is None:
            return False
        lowered = text.lower()  # a plain search is four times as fast, and rules most texts out
        if lowered.isascii() and not any(fragment in lowered for fragment in self._fragments):
            return False
        return self._pattern.search(text) is not None


def _fold(word: str) -> str:
    return " ".join(word.lower().split()).replace("ı", "i").replace("ſ", "s")


def _fragments(words: list[str]) -> tuple[str, ...]:
    """Return the shortest texts of which every keyword's longest word contains one."""
    longest = sorted({max(_fold(word).split(), key=len) for word in words}, key=len)
    found: list[str] = []
    for word in longest:
        if not any(fragment in word for fragment in found):
            found.append(word)
    return tuple(found)


def _compile(words: list[str]) -> re.Pattern[str] | None:
    if not words:
        return None
    alternatives = "|".join(r"\s+".join(re.escape(part) for part in word.split()) for word in words)
    return re.compile(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])", re.IGNORECASE)
