"""Features kept in the database by content, so that a text is read once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sqlalchemy.orm import Session

from db.engine import Database
from db.proposals import cache_features, cached_features, cached_hits
from pipeline.dataset import FACTS, Document, Reference, read_documents
from pipeline.features import COLUMNS, FEATURES_VERSION, Features, extract
from pipeline.rules import Hit, Rules
from pipeline.study import Study

BATCH = 200  # texts read and written at a time


class FeatureCache:
    """The cache for one study: what its cues and keywords make of a text is part of the key."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.rules = Rules(study.codebook)
        words = (*study.keywords.counted, "|", *study.keywords.extended)
        told = (str(FEATURES_VERSION), study.codebook.digest, *words)
        self._origin = hashlib.sha256("\n".join(told).encode()).hexdigest()

    def key(self, reference: Reference) -> str:
        """Return the key of a thread's text."""
        told = f"{self._origin} {reference.content_sha256} {reference.url}"
        return hashlib.sha256(told.encode()).hexdigest()

    def fill(
        self,
        database: Database,
        references: Sequence[Reference],
        progress: Callable[[int], None] = lambda _: None,
    ) -> int:
        """Read what is not in the cache yet, in batches; return how many texts were read."""
        with database.reading() as session:
            there = cached_features(session, [self.key(reference) for reference in references])
        missing = [reference for reference in references if self.key(reference) not in there]
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            with database.reading() as session:
                documents = list(read_documents(session, self.study, [one.thread_id for one in batch]))
            rows = list(self._rows(documents))
            with database.writing() as session:
                cache_features(session, rows)
            progress(len(batch))
        return len(missing)

    def _rows(self, documents: Sequence[Document]) -> Iterator[dict[str, Any]]:
        features, hits = extract(documents, self.rules)
        features.counts.sort_indices()
        for row, document in enumerate(documents):
            own = slice(features.counts.indptr[row], features.counts.indptr[row + 1])
            reference = Reference(document.thread_id, document.url, document.content_sha256, document.group)
            yield {
                "key": self.key(reference),
                "indices": features.counts.indices[own].astype(np.int32).tobytes(),
                "counts": np.minimum(features.counts.data[own], 255).astype(np.uint8).tobytes(),
                "facts": features.facts[row].astype(np.float32).tobytes(),
                "cues": np.flatnonzero(features.cues[row]).astype(np.int16).tobytes(),
                "hits": [[hit.cue, hit.text, hit.position] for hit in hits[row]],
            }

    def features(self, session: Session, references: Sequence[Reference]) -> Features:
        """Return the cached features of some threads, row by row; KeyError if one is not cached."""
        keys = [self.key(reference) for reference in references]
        return self.unpack(cached_features(session, keys), keys)

    def unpack(self, found: dict[str, tuple[bytes, bytes, bytes, bytes]], keys: Sequence[str]) -> Features:
        """Return cached rows as features, in the order of the keys."""
        rows = [found[key] for key in keys]
        lengths = np.array([len(row[1]) for row in rows], dtype=np.int64)
        indices = np.frombuffer(b"".join(row[0] for row in rows), dtype=np.int32)
        counts = np.frombuffer(b"".join(row[1] for row in rows), dtype=np.uint8).astype(np.float32)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        matrix = csr_matrix((counts, indices, starts), shape=(len(rows), COLUMNS))
        facts = np.frombuffer(b"".join(row[2] for row in rows), dtype=np.float32).reshape(-1, len(FACTS))
        cues = np.zeros((len(rows), len(self.rules.cues)))
        hit = [np.frombuffer(row[3], dtype=np.int16) for row in rows]
        for number, found_cues in enumerate(hit):
            cues[number, found_cues] = 1
        return Features(matrix, facts.astype(np.float64), cues)

    def hits(self, session: Session, references: Sequence[Reference]) -> list[tuple[Hit, ...]]:
        """Return where the cues hit in some threads; none for one that is not cached."""
        found = cached_hits(session, [self.key(reference) for reference in references])
        return [tuple(Hit(*hit) for hit in found.get(self.key(one), ())) for one in references]
