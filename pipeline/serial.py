"""Records to files and back: JSON Lines, CSV and Parquet over the same fields, without loss.

A record is a dictionary with the fields of its export. In CSV a list or a nested value is JSON
text, null is an empty cell, and a cell that a spreadsheet would execute gets a quote before it. A
text of a nullable field that is empty, or backslashes alone, gets one backslash more, so that it
is not taken for null. Reading takes both away again.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from db.errors import UsageError
from pipeline.errors import InputError
from pipeline.fields import Field
from pipeline.spreadsheet import original_cell, safe_cell

Record = dict[str, Any]
ROW_GROUP = 10_000


def to_json_lines(records: Iterable[Record], fields: Sequence[Field]) -> Iterator[bytes]:
    """Yield one JSON object a line, keys in field order."""
    for record in records:
        ordered = {field.name: record[field.name] for field in fields}
        yield (json.dumps(ordered, ensure_ascii=False) + "\n").encode()


def to_csv(records: Iterable[Record], fields: Sequence[Field]) -> Iterator[bytes]:
    """Yield the heading and one line a record."""
    yield _csv_line([field.name for field in fields])
    for record in records:
        yield _csv_line([_to_cell(record[field.name], field) for field in fields])


def _csv_line(cells: list[str | int | float]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerow(cells)
    return stream.getvalue().encode()


def _to_cell(value: Any, field: Field) -> str | int | float:
    if value is None:
        return ""
    if field.type in ("integer", "number"):
        return value  # type: ignore[no-any-return]
    if field.type == "boolean":
        return "true" if value else "false"
    if field.type in ("strings", "json"):
        return json.dumps(value, ensure_ascii=False)
    return safe_cell(f"\\{value}" if _looks_null(value, field) else value)


def _looks_null(text: str, field: Field) -> bool:
    """Say whether a text of a nullable field would read as null: only backslashes, or nothing."""
    return field.nullable and not text.strip("\\")


def _from_cell(cell: str, field: Field) -> Any:
    if cell == "" and field.nullable:
        return None
    if field.type == "boolean":
        return cell == "true"
    if field.type in ("integer", "number"):
        return int(cell) if field.type == "integer" else float(cell)
    if field.type in ("strings", "json"):
        return json.loads(cell)
    text = original_cell(cell)
    return text[1:] if field.nullable and not text.strip("\\") else text


def write_parquet(records: Iterable[Record], fields: Sequence[Field], stream: BinaryIO) -> None:
    """Write records as Parquet; nested values are JSON text, times are UTC text as in JSON Lines."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise UsageError("--format parquet needs the extra nanmine[parquet]") from None
    types = {"integer": arrow.int64(), "number": arrow.float64(), "boolean": arrow.bool_()}
    types["strings"] = arrow.list_(arrow.string())
    schema = arrow.schema(
        [
            arrow.field(field.name, types.get(field.type, arrow.string()), nullable=field.nullable)
            for field in fields
        ]
    )
    source = iter(records)
    with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        while rows := [_to_parquet(record, fields) for record in islice(source, ROW_GROUP)]:
            writer.write_table(arrow.Table.from_pylist(rows, schema))


def _to_parquet(record: Record, fields: Sequence[Field]) -> Record:
    return {
        field.name: json.dumps(record[field.name], ensure_ascii=False)
        if field.type == "json"
        else record[field.name]
        for field in fields
    }


def read_records(path: Path, fields: Sequence[Field]) -> list[Record]:
    """Read back what was written, by the file's ending; InputError says what cannot be read."""
    if path.suffix not in READERS:
        raise InputError(f"{path}: is none of {', '.join(READERS)}")
    try:
        return READERS[path.suffix](path, fields)
    except (ValueError, LookupError, StopIteration, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as an export ({error})") from None


def _read_json_lines(path: Path, fields: Sequence[Field]) -> list[Record]:
    with path.open(encoding="utf-8", newline="\n") as lines:
        return [{field.name: row[field.name] for field in fields} for row in map(json.loads, lines)]


def _read_csv(path: Path, fields: Sequence[Field]) -> list[Record]:
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8", newline="") as lines:
        reader = csv.reader(lines)
        positions = {name: position for position, name in enumerate(next(reader))}
        return [{f.name: _from_cell(row[positions[f.name]], f) for f in fields} for row in reader]


def _read_parquet(path: Path, fields: Sequence[Field]) -> list[Record]:
    import pyarrow.parquet as parquet

    nested = [field.name for field in fields if field.type == "json"]
    rows: list[Record] = parquet.read_table(path).to_pylist()
    return [row | {name: json.loads(row[name]) for name in nested} for row in rows]


READERS: dict[str, Callable[[Path, Sequence[Field]], list[Record]]] = {
    ".jsonl": _read_json_lines,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
FORMATS = ("jsonl", "csv", "parquet")


def write_records(records: Iterable[Record], fields: Sequence[Field], form: str, stream: BinaryIO) -> int:
    """Write records in one of FORMATS to a binary stream; return how many."""
    counted = _Counted(records)
    if form == "parquet":
        write_parquet(counted, fields, stream)
    else:
        stream.writelines((to_csv if form == "csv" else to_json_lines)(counted, fields))
    return counted.number


class _Counted:
    """Records that count themselves as they pass."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = records
        self.number = 0

    def __iter__(self) -> Iterator[Record]:
        for record in self._records:
            self.number += 1
            yield record
