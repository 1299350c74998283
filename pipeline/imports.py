"""Threads from JSON Lines: our own export with its posts, or a thread with `body` and `replies`.

A line that cannot be used is skipped and said, with its number and the reason.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy.orm import Session

from db.engine import Database
from pipeline.errors import InputError
from pipeline.journal import begin_run, end_run, keep_payloads, known_payloads, payload_identity
from pipeline.records import BODY_FORMATS, KINDS, PostRecord, ThreadRecord
from pipeline.store import Counts, author_key, upsert_threads
from pipeline.study import Study

BATCH = 500  # lines a transaction
LONGEST_LINE = 64 * 2**20  # bytes
Line = tuple[str, bytes, ThreadRecord | str]  # where it stands, as it stands, and what it says or why not
FIELDS = frozenset(
    [
        "source",
        "url",
        "external_id",
        "kind",
        "title",
        "author",
        "created_at",
        "updated_at",
        "closed_at",
        "libraries",
        "strata",
        "accepted",
        "n_posts",
        "candidate",
        "posts",
        "availability",
        "body",
        "body_format",
        "replies",
        "repository",
        "topics",
        "tags",
        "score",
    ]
)
POST_FIELDS = frozenset(
    ["position", "role", "external_id", "author", "created_at", "accepted", "body", "body_format", "score"]
)


@dataclass(slots=True)
class ImportReport:
    """What an import did, by source; `outside` counts threads of no source of the study.

    `runs` holds the run of each source that brought something new; an import that brings nothing
    leaves no row.
    """

    counts: defaultdict[str, Counts] = field(default_factory=lambda: defaultdict(Counts))
    skipped: list[str] = field(default_factory=list)
    outside: Counter[str] = field(default_factory=Counter)
    runs: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> Counts:
        """The counts of all sources together."""
        total = Counts()
        for counts in self.counts.values():
            total.add(counts)
        return total


def import_files(
    database: Database,
    study: Study,
    paths: Sequence[Path],
    *,
    strict: bool = False,
    progress: Callable[[int], object] = lambda lines: None,
) -> ImportReport:
    """Import every file; with `strict`, a line that cannot be used is an InputError and nothing is kept.

    `progress` is called with the number of lines done since the last call.
    """
    if strict:
        for path in paths:
            refuse_bad_lines(path, study)
    report = ImportReport()
    for path in paths:
        lines = read_threads(path, study)
        while batch := list(islice(lines, BATCH)):
            with database.writing() as session:
                _store(session, study, batch, report)
            progress(len(batch))
    with database.writing() as session:
        for source, run_id in report.runs.items():
            end_run(session, run_id, "finished", asdict(report.counts[source]))
    return report


def refuse_bad_lines(path: Path, study: Study) -> None:
    """Raise InputError for the first line that cannot be used."""
    for where, _, result in read_threads(path, study):
        if isinstance(result, str):
            raise InputError(f"{where}: {result}; nothing was imported (--strict)")


def _store(session: Session, study: Study, batch: Sequence[Line], report: ImportReport) -> None:
    by_source: dict[str, list[tuple[ThreadRecord, bytes]]] = {}
    for where, line, result in batch:
        if isinstance(result, str):
            report.skipped.append(f"{where}: {result}")
        else:
            by_source.setdefault(result.source, []).append((result, line))
    for source, found in by_source.items():
        if source not in study.sources:
            report.outside[source] += len(found)
        payloads = _keep_lines(session, source, found, report)
        threads = [(thread, payload) for (thread, _), payload in zip(found, payloads, strict=True)]
        report.counts[source].add(upsert_threads(session, study, threads, author_key(session)))


def _keep_lines(
    session: Session, source: str, found: list[tuple[ThreadRecord, bytes]], report: ImportReport
) -> list[int]:
    """Keep the lines as payloads; the run that owns them is begun with the first new one."""
    payloads = [("import", f"import {source} {thread.external_id}", line) for thread, line in found]
    known = known_payloads(session, [payload_identity(source, *payload) for payload in payloads])
    if source not in report.runs and len(known) < len(
        {payload_identity(source, *payload) for payload in payloads}
    ):
        report.runs[source] = begin_run(session, source, "import")
    return keep_payloads(session, report.runs.get(source), source, payloads)


def read_threads(path: Path, study: Study) -> Iterator[Line]:
    """Yield (where, line, thread or the reason it cannot be used) for every line that is not blank.

    Raises InputError if the file cannot be read to its end.
    """
    try:
        with _open(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=1):
                if line.strip():
                    yield f"{path}:{number}", line.rstrip(b"\r\n"), _to_thread_or_reason(line, study)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read: {reason}; what came before it is kept") from None


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    with path.open("rb") as file:
        start = file.read(2)
    if not start and path.suffix == ".gz":
        raise InputError(f"{path}: is empty, which no gzip file is; fetch it again")
    packed = start == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")


def _to_thread_or_reason(line: bytes, study: Study) -> ThreadRecord | str:
    try:
        return to_thread(json.loads(line), study)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return "is not JSON"
    except RecursionError:
        return "is nested too deep"
    except (ValueError, TypeError) as error:
        return str(error)


def to_thread(row: Any, study: Study) -> ThreadRecord:
    """Return the thread that one JSON object describes; ValueError says what is wrong with it."""
    if not isinstance(row, dict):
        raise ValueError("is not a JSON object")
    _known_fields(row, FIELDS)
    source = _text(row, "source", required=True)
    kind = _text(row, "kind", required=True)
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
    url = _text(row, "url", required=True)
    if not url.startswith(("https://", "http://")) or any(character.isspace() for character in url):
        raise ValueError(f"url {url[:80]!r} is not an http address")
    return ThreadRecord(
        source=source,
        external_id=_text(row, "external_id", required=True),
        url=url,
        kind=kind,
        title=_text(row, "title"),
        posts=tuple(_posts(row)),
        author=row.get("author") and _text(row, "author"),
        created_at=_time(row, "created_at"),
        updated_at=_time(row, "updated_at"),
        closed_at=_time(row, "closed_at"),
        repository=row.get("repository") and _text(row, "repository"),
        tags=_texts(row, "topics") or _texts(row, "tags"),
        libraries=_libraries(row, study),
        accepted=bool(row.get("accepted")),
        availability=row.get("availability") or "present",
    )


def _posts(row: dict[str, Any]) -> Iterator[PostRecord]:
    if isinstance(row.get("posts"), list):
        for position, post in enumerate(row["posts"]):
            yield _post(post, "opening" if position == 0 else "reply")
        return
    if "body" not in row:
        raise ValueError("has neither posts nor a body; export threads with --posts")
    names = ("author", "created_at", "body", "body_format")
    yield _post({name: row.get(name) for name in names}, "opening")
    for reply in row.get("replies") or ():
        yield _post(reply, "reply")


def _post(post: Any, role: str) -> PostRecord:
    if not isinstance(post, dict):
        raise ValueError("a post is not a JSON object")
    _known_fields(post, POST_FIELDS)
    body_format = post.get("body_format") or "text"
    if body_format not in BODY_FORMATS:
        raise ValueError(f"body_format {body_format!r} is not one of {', '.join(BODY_FORMATS)}")
    return PostRecord(
        role=post.get("role") or role,
        external_id=_text(post, "external_id"),
        body=_text(post, "body"),
        body_format=body_format,
        author=post.get("author") and _text(post, "author"),
        created_at=_time(post, "created_at"),
        accepted=bool(post.get("accepted")),
    )


def _libraries(row: dict[str, Any], study: Study) -> tuple[str, ...]:
    """Return the libraries that the row states, or else those its topics and tags stand for."""
    if row.get("libraries"):
        return tuple(sorted(set(_texts(row, "libraries"))))
    source = study.sources.get(row["source"])
    if source is None:
        return ()
    named = source.topics | source.tags
    found = {named[name] for name in (*_texts(row, "topics"), *_texts(row, "tags")) if name in named}
    return tuple(sorted(found | ({source.library} if source.library else set())))


def _known_fields(row: dict[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(row.keys() - known)
    if unknown:
        raise ValueError(f"unknown field {unknown[0][:80]!r}")


def _text(row: dict[str, Any], name: str, required: bool = False) -> str:
    value = row.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value):
        raise ValueError(f"{name} is missing" if value in (None, "") else f"{name} is not a text")
    return value


def _texts(row: dict[str, Any], name: str) -> tuple[str, ...]:
    values = row.get(name) or ()
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name} is not a list of texts")
    return tuple(values)


def _time(row: dict[str, Any], name: str) -> datetime | None:
    value = row.get(name)
    if value is None:
        return None
    try:
        when = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} {str(value)[:40]!r} is not an RFC 3339 time") from None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
