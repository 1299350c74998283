"""Files that are whole or not there at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from db.errors import NanmineError


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` when all is written; a device or pipe is written itself.

    A link stays, and what it leads to is replaced. Raises NanmineError, which names `path`, where it
    cannot be written: what was there before stays. An error of another file passes as it is.
    """
    target = path.resolve()
    partial = target.with_name(f".{target.name}.partial")
    try:
        is_special = path.exists() and not path.is_file()
        with path.open("wb") if is_special else _replacing(target, partial) as stream:
            yield stream
    except OSError as error:
        if error.filename not in (None, str(path), str(partial)):
            raise
        raise NanmineError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def _replacing(path: Path, partial: Path) -> Iterator[BinaryIO]:
    with partial.open("wb") as stream:
        try:
            yield stream
            stream.close()
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text as UTF-8 to `path`, whole or not at all."""
    with whole_file(path) as stream:
        stream.write(text.encode())
