"""Tables: parquet, arrow (file or stream) and csv, as blocks of polars columns."""

import codecs
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from curate.errors import InputError
from curate.sources.raw_block import BLOCK_BYTES, MAX_BLOCK_ROWS, RawBlock


def read_parquet(path: Path) -> Iterator[RawBlock]:
    """Yield blocks of a parquet file; the rows per block follow from the row groups' sizes."""
    # Without pre-buffering, which would keep everything in memory until the file is closed.
    with pq.ParquetFile(path, pre_buffer=False) as file:
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        row_bytes = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1.0)
        rows = int(min(max(BLOCK_BYTES / max(row_bytes, 1.0), 1), MAX_BLOCK_ROWS))
        yield from blocks_of(file.iter_batches(batch_size=rows))


def read_arrow(path: Path) -> Iterator[RawBlock]:
    """Yield blocks of an Arrow IPC file, or of the stream format that `save_to_disk` writes."""
    with pa.memory_map(str(path)) as source:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        if is_file:
            reader = pa.ipc.open_file(source)
            yield from blocks_of(reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            yield from blocks_of(pa.ipc.open_stream(source))


def read_csv(open_stream: Callable[[], BinaryIO]) -> Iterator[RawBlock]:
    """Yield blocks of a csv file with a header; every column is text. Rows of a different width are broken rows."""
    broken: list[tuple[int, str]] = []

    def on_invalid(row: pa.csv.InvalidRow) -> str:
        # `number` counts the header as row 1.
        broken.append(
            (row.number - 2, f"row {row.number - 1}: {row.actual_columns} cells instead of {row.expected_columns}")
        )
        return "skip"

    lenient = pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda _: "skip")
    large = pa.csv.ReadOptions(block_size=BLOCK_BYTES)  # the first row may be large
    names = pa.csv.open_csv(_repairing(open_stream()), read_options=large, parse_options=lenient).schema.names
    reader = pa.csv.open_csv(
        _repairing(open_stream()),
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),  # threads lose the row numbers
        parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=on_invalid),
        convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )
    row = 0
    for batch in reader:
        skip = {number for number, _ in broken}
        numbers: list[int] = []
        while len(numbers) < batch.num_rows:
            if row not in skip:
                numbers.append(row)
            row += 1
        yield RawBlock(_series(batch), numbers)
    if broken:
        yield RawBlock({}, [], broken)


def _repairing(stream: BinaryIO) -> BinaryIO:
    """Return the stream with invalid UTF-8 replaced by U+FFFD; Arrow fails on it in names and rows of a wrong width."""
    repair = codecs.getincrementaldecoder("utf-8")("replace").decode
    return cast("BinaryIO", pa.TransformInputStream(stream, lambda part: repair(bytes(part)).encode()))


def blocks_of(batches: Iterable[pa.RecordBatch]) -> Iterator[RawBlock]:
    """Yield record batches as blocks; a large batch is split into several."""
    row = 0
    for batch in batches:
        batch.validate()  # or the offsets of a damaged file crash the process below
        parts = max(1, -(-batch.nbytes // (2 * BLOCK_BYTES)), -(-batch.num_rows // MAX_BLOCK_ROWS))
        size = max(1, -(-batch.num_rows // parts))
        for start in range(0, batch.num_rows, size):
            part = batch.slice(start, size)
            yield RawBlock(_series(part), range(row, row + part.num_rows))
            row += part.num_rows


def _series(batch: pa.RecordBatch) -> dict[str, pl.Series | list[Any]]:
    """Return the batch's columns. Invalid UTF-8 is replaced by U+FFFD, which a signal reports."""
    if len(set(batch.schema.names)) < len(batch.schema.names):
        raise InputError(f"two columns have the same name: {', '.join(batch.schema.names)}")
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise
        batch = pa.RecordBatch.from_arrays([_repaired(column) for column in batch.columns], batch.schema.names)
        batch.validate(full=True)
    return {name: _column(name, column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}


def _column(name: str, column: pa.Array) -> pl.Series | list[Any]:
    """Return the column as a Series; as Python values for a type unknown to polars (list_view, union, decimal256 …)."""
    try:
        return pl.Series(name, column)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        pass
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, LookupError, pa.ArrowException) as error:  # e.g. an unknown time zone
        raise InputError(f"column {name!r} has the type {column.type}, which cannot be read") from error
    return values


def _repaired(column: pa.Array) -> pa.Array:
    kind = column.type
    if kind == _as_bytes(kind):  # contains no text
        return column
    plain = column.cast(_as_bytes(kind))
    plain.validate(full=True)  # more than the text may be invalid
    return pa.array([_decoded(value, kind) for value in plain.to_pylist()], kind)


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """Return the type with text replaced by bytes, also inside lists and structs."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.large_binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_as_bytes(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_as_bytes(field.type)) for field in kind])
    return kind


def _decoded(value: Any, kind: pa.DataType) -> Any:
    if value is None or kind == _as_bytes(kind):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list):
        return [_decoded(item, kind.value_type) for item in value]
    return {field.name: _decoded(value[field.name], field.type) for field in kind}
