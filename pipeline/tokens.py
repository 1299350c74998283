"""Tokens with the piece each comes from; the same tokens as scikit-learn's analyzers give."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

WORDS = {"word": re.compile(r"(?u)\b\w\w+\b"), "tags": re.compile(r"\S+")}
KEPT = 40  # characters of the longest word whose n-grams are kept in memory
Parts = Iterable[tuple[str, int]]  # texts in order, each with the number of its piece


def tokens_of(analyzer: str, ngrams: tuple[int, int], parts: Parts) -> tuple[list[str], list[int]]:
    """Return the n-grams of a text that comes in parts, and the piece of each.

    `analyzer` is `word`, `tags` (whatever stands between white space) or `char_wb`; parts end at white
    space, and an n-gram of words over the end of one belongs to the piece of its first word.
    """
    tokens: list[str] = []
    pieces: list[int] = []
    for text, piece in parts:
        lower = text.lower()
        found = _characters(lower, *ngrams) if analyzer == "char_wb" else WORDS[analyzer].findall(lower)
        tokens += found
        pieces += [piece] * len(found)
    return (tokens, pieces) if analyzer == "char_wb" else _joined(tokens, pieces, ngrams)


def _characters(text: str, least: int, most: int) -> list[str]:
    return [
        gram
        for word in text.split()
        for gram in (_kept_grams if len(word) <= KEPT else _grams)(word, least, most)
    ]


def _grams(word: str, least: int, most: int) -> tuple[str, ...]:
    """Return the character n-grams of one word with a space on each side; a short word is one itself."""
    padded = f" {word} "
    sizes = range(least, max(least, min(most, len(padded))) + 1)
    return tuple(padded[start : start + n] for n in sizes for start in range(max(1, len(padded) - n + 1)))


_kept_grams = lru_cache(2**15)(_grams)


def _joined(words: list[str], pieces: list[int], ngrams: tuple[int, int]) -> tuple[list[str], list[int]]:
    """Return the n-grams of words."""
    tokens: list[str] = []
    places: list[int] = []
    for n in range(ngrams[0], ngrams[1] + 1):
        tokens += words if n == 1 else map(" ".join, zip(*(words[i:] for i in range(n)), strict=False))
        places += pieces[: max(0, len(words) - n + 1)]
    return tokens, places
