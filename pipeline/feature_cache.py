"""Features kept in the database by content, so that a text is read once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from db.engine import Database
from db.proposals import cache_features, cached_ids, cached_rows
from pipeline.dataset import FACTS, Document, Reference, read_documents
from pipeline.evidence import Traces, pack
from pipeline.features import BLOCKS, FEATURES_VERSION, Features, extract
from pipeline.rules import Rules
from pipeline.scoring import Sheet, bounds
from pipeline.study import Study

SCORED = ("lengths", "facts", "cues", "indices", "counts")  # columns of the cache that make a sheet
TRACED = ("traces", "pieces")  # columns that say where its numbers come from
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
        keys = [self.key(reference) for reference in references]
        with database.reading() as session:
            there = cached_ids(session, keys)
        missing = [one for one, key in zip(references, keys, strict=True) if key not in there]
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
        features, traces = extract(documents, self.rules)
        sheet = Sheet.of(features)
        for row, (document, trace) in enumerate(zip(documents, traces, strict=True)):
            starts = sheet.starts[row * len(BLOCKS) : (row + 1) * len(BLOCKS) + 1]
            own = slice(starts[0], starts[-1])
            reference = Reference(document.thread_id, document.url, document.content_sha256, document.group)
            yield {
                "key": self.key(reference),
                "lengths": np.diff(starts).tobytes(),
                "facts": sheet.facts[row].astype(np.float32).tobytes(),
                "cues": np.flatnonzero(sheet.cues[row]).astype(np.int16).tobytes(),
                "indices": sheet.indices[own].tobytes(),
                "counts": sheet.counts[own].tobytes(),
                "traces": np.concatenate([trace.counts, trace.cues]).tobytes(),
                "pieces": pack(trace),
            }

    def find(self, session: Session, references: Sequence[Reference]) -> list[tuple[int, Reference]]:
        """Return where in the cache each thread is; one that changed as it was read is left out."""
        keys = [self.key(reference) for reference in references]
        there = cached_ids(session, keys)
        return [(there[key], one) for key, one in zip(keys, references, strict=True) if key in there]

    def features(self, session: Session, rows: Sequence[int]) -> Features:
        """Return the features in some rows of the cache (their ids), in this order."""
        return self.sheet(cached_rows(session, rows, SCORED)).features()

    def sheet(self, rows: Sequence[tuple[bytes, ...]]) -> Sheet:
        """Return rows of the cache, of the columns SCORED, as a sheet."""
        lengths, facts, cues, indices, counts = (
            np.frombuffer(b"".join(row[number] for row in rows), dtype=kind)
            for number, kind in enumerate((np.int32, np.float32, np.int16, np.int32, np.uint8))
        )
        hit = np.zeros((len(rows), len(self.rules.cues)))
        hit[np.repeat(np.arange(len(rows)), [len(row[2]) // 2 for row in rows]), cues] = 1
        told = facts.reshape(-1, len(FACTS)).astype(np.float64)
        return Sheet(bounds(lengths), indices, counts, told, hit)

    def traces(self, rows: Sequence[tuple[bytes, ...]]) -> Traces:
        """Return rows of the cache, of the columns SCORED and TRACED, as traces."""
        sizes = [2 * len(row[4]) for row in rows]
        of_counts = b"".join(row[5][:size] for row, size in zip(rows, sizes, strict=True))
        of_cues = b"".join(row[5][size:] for row, size in zip(rows, sizes, strict=True))
        counts, cues = (np.frombuffer(of, dtype=np.uint16) for of in (of_counts, of_cues))
        return Traces(counts, cues, tuple(row[6] for row in rows))
