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

    Raises NanmineError, which names `path`, where it cannot be written: what was there before stays.
    """
    is_file = path.is_file() or not path.exists()
    partial = path.with_name(f".{path.name}.partial") if is_file else path
    try:
        with partial.open("wb") as stream:
            yield stream
        if is_file:
            partial.replace(path)
    except OSError as error:
        raise NanmineError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if is_file:
            partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text as UTF-8 to `path`, whole or not at all."""
    with whole_file(path) as stream:
        stream.write(text.encode())
