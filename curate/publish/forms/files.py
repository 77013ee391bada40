"""Rows of any columns as a file, by its ending: JSON lines, one JSON array, CSV or parquet, block by block."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa

from curate.errors import InputError
from curate.files import atomic
from curate.rundir.writers import TableWriter

ENDINGS = (".jsonl", ".json", ".parquet", ".csv")
PACKED = {".gz": "gzip", ".zst": "zstd"}

Write = Callable[[pl.DataFrame], Any]
Lines = Callable[[pl.DataFrame], bytes]  # rows as JSON, each with a line break after it


def ending(path: Path) -> str:
    """Return the ending that tells a file's form; "" for none: a folder. Raise InputError for an unknown one."""
    name = path.with_suffix("") if path.suffix in PACKED else path
    if name.suffix not in ("", *ENDINGS) or (name != path and name.suffix in ("", ".parquet")):
        raise InputError(f"{path} has another ending than {', '.join(ENDINGS)}, or .gz or .zst after one of text")
    return name.suffix


@contextmanager
def writer(path: Path, schema: pl.Schema, lines: Lines) -> Iterator[Write]:
    """
    Yield a function that appends rows of the schema; the file appears at the end, whole.

    Raise InputError for a table of text whose columns are lists or objects.
    """
    nested = [name for name, dtype in schema.items() if dtype.is_nested()]
    kind = ending(path)
    if kind == ".csv" and nested:
        raise InputError(f"{path}: a table of text cannot hold {', '.join(nested)}; use .jsonl or .parquet")
    with atomic(path) as temporary:
        if kind == ".parquet":
            table = TableWriter(temporary, schema)
            yield table.write
            table.close()
        else:
            with pa.output_stream(str(temporary), compression=PACKED.get(path.suffix)) as file:
                yield {".jsonl": _lines, ".json": _array, ".csv": _cells}[kind](file, lines)
                file.write(b"\n]\n" if kind == ".json" else b"")


def _lines(file: Any, lines: Lines) -> Write:
    return lambda rows: file.write(lines(rows))


def _array(file: Any, lines: Lines) -> Write:
    """Write one JSON array; in JSON, a line break is never part of a text."""
    file.write(b"[")
    separator = b"\n"

    def write(rows: pl.DataFrame) -> None:
        nonlocal separator
        if text := lines(rows).rstrip(b"\n"):
            file.write(separator + text.replace(b"\n", b",\n"))
            separator = b",\n"

    return write


def _cells(file: Any, _: Lines) -> Write:
    is_first = True

    def write(rows: pl.DataFrame) -> None:
        nonlocal is_first
        file.write(rows.write_csv(include_header=is_first).encode())
        is_first = False

    return write


def json_lines(rows: pl.DataFrame) -> bytes:
    """Return rows as JSON lines; nulls are written."""
    return rows.write_ndjson().encode()


def json_lines_without_nulls(rows: pl.DataFrame, *, tools_as_text: bool = False) -> bytes:
    """
    Return rows as JSON lines: objects in them have only the fields that they have, and calls and tools are objects.

    Templates ask whether a message has any `tool_calls`, not whether they are null.
    """
    keep = frozenset({"tools"}) if tools_as_text else frozenset[str]()
    return b"".join(
        msgspec.json.encode({name: _value(name, item, keep) for name, item in row.items()}) + b"\n"
        for row in rows.iter_rows(named=True)
    )


def _decoded(value: Any, keep: frozenset[str]) -> Any:
    if isinstance(value, list):
        return [_decoded(item, keep) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _value(name, item, keep) for name, item in value.items() if item is not None}


def _value(name: str, item: Any, keep: frozenset[str]) -> Any:
    return _json(item) if name in OBJECTS - keep else _decoded(item, keep)


OBJECTS = frozenset({"tools", "tool_calls"})  # JSON in a frame


def _json(value: Any) -> Any:
    if isinstance(value, list):
        return [msgspec.Raw(item.encode()) for item in value]
    return None if value is None else msgspec.Raw(value.encode())
