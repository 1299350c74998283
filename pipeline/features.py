"""Documents to numbers: hashed counts a channel, facts, and the cues that hit.

Hashing needs no vocabulary, so a document's counts depend on the document alone and can be cached
by its content; what depends on the training set (document frequencies) is applied afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse import hstack as stack_columns
from scipy.sparse import vstack as stack_rows

from pipeline.dataset import FACTS, Document
from pipeline.rules import Hit, Rules

FEATURES_VERSION = 1  # goes up when any count of any document changes
WIDTH = 2**18  # columns a block
HEAD = 6_000  # characters of a channel that character n-grams are counted in
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Block:
    """A block of columns: the n-grams of some channels, with the share of similarity they make up."""

    name: str
    channels: tuple[str, ...]
    analyzer: str
    ngrams: tuple[int, int]
    share: float


BLOCKS = (
    Block("title words", ("title",), "word", (1, 2), 0.15),
    Block("title characters", ("title",), "char_wb", (3, 5), 0.15),
    Block("question words", ("prose",), "word", (1, 2), 0.3),
    Block("question characters", ("prose",), "char_wb", (3, 5), 0.3),
    Block("code words", ("code",), "word", (1, 1), 0.1),
    Block("log words", ("log",), "word", (1, 1), 0.05),
    Block("reply words", ("replies",), "word", (1, 2), 0.15),
    Block("answer words", ("answer",), "word", (1, 2), 0.2),
    Block("context words", ("context",), "word", (1, 2), 0.2),
    Block("code context words", ("code_context",), "word", (1, 2), 0.1),
    Block("tags", ("tags",), "tags", (1, 1), 0.15),
)
COLUMNS = WIDTH * len(BLOCKS)


@dataclass(frozen=True, slots=True)
class Features:
    """The features of n documents: `counts` (n × COLUMNS, sparse), `facts` (n × FACTS), `cues` (n × cues)."""

    counts: csr_matrix
    facts: Floats
    cues: Floats

    def __len__(self) -> int:
        return int(self.facts.shape[0])

    def take(self, rows: Any) -> Features:
        """Return the features of the rows named by indices or a mask."""
        return Features(self.counts[rows], self.facts[rows], self.cues[rows])


def extract(documents: Sequence[Document], rules: Rules) -> tuple[Features, list[tuple[Hit, ...]]]:
    """Count everything in some documents; also return the hits of the cues in each."""
    hits = [rules.find(document.segments) for document in documents]
    cues = np.zeros((len(documents), len(rules.cues)))
    for row, found in enumerate(hits):
        cues[row, [hit.cue for hit in found]] = 1
    facts = np.array([document.facts for document in documents]).reshape(-1, len(FACTS))
    counts = stack_columns([_count(block, documents) for block in BLOCKS], format="csr")
    return Features(counts, facts, cues), hits


def _count(block: Block, documents: Sequence[Document]) -> csr_matrix:
    from sklearn.feature_extraction.text import HashingVectorizer

    if not documents:
        return csr_matrix((0, WIDTH), dtype=np.float32)
    texts = [_text(document, block) for document in documents]
    vectorizer = HashingVectorizer(
        n_features=WIDTH,
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
        analyzer="char_wb" if block.analyzer == "char_wb" else "word",
        ngram_range=block.ngrams,
        token_pattern=r"\S+" if block.analyzer == "tags" else r"(?u)\b\w\w+\b",
    )
    return vectorizer.transform(texts)


def _text(document: Document, block: Block) -> str:
    text = "\n".join(segment.text for segment in document.segments if segment.channel in block.channels)
    return text[:HEAD] if block.analyzer == "char_wb" else text


def concatenate(parts: Sequence[Features]) -> Features:
    """Return the features of several batches as one."""
    return Features(
        stack_rows([part.counts for part in parts], format="csr"),
        np.concatenate([part.facts for part in parts]),
        np.concatenate([part.cues for part in parts]),
    )
