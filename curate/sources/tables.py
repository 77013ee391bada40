"""Tables: parquet and arrow (file or stream), as blocks of polars columns."""

import mmap
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import InputError
from curate.sources.arrow_messages import check_messages
from curate.sources.decoded import cuts, decoded, is_encoded, row_bytes
from curate.sources.parquet_pages import Plan, plan
from curate.sources.raw_block import BLOCK_BYTES, MAX_BLOCK_CELLS, MAX_BLOCK_ROWS, Bounds, RawBlock, Unpacked

FILE_HEADER = 8  # bytes before the stream in an Arrow file


def read_parquet(file: BinaryIO, bounds: Bounds, unpacked: Unpacked) -> Iterator[RawBlock]:
    """Yield blocks of a parquet file. Texts that its dictionaries repeat are decoded block by block."""
    yield from blocks_of(parquet_batches(file, bounds), bounds, unpacked)


def parquet_batches(file: BinaryIO, bounds: Bounds) -> Iterator[pa.RecordBatch]:
    """Yield a parquet file in batches of limited size; a column whose dictionary is large once decoded keeps it."""
    # Without pre-buffering, which would keep everything in memory until the file is closed.
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, pq.ParquetFile(file, pre_buffer=False) as whole:
        bounds.check_columns(whole.metadata.num_columns)
        groups = [whole.metadata.row_group(i) for i in range(whole.metadata.num_row_groups)]
        row_bytes = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1.0)
        rows = int(min(max(BLOCK_BYTES / max(row_bytes, 1.0), 1), MAX_BLOCK_ROWS))
        for how, numbers in groupby(range(len(groups)), lambda number: _planned(data, groups[number], rows)):
            reader = pq.ParquetFile(file, pre_buffer=False, read_dictionary=sorted(how.as_dictionary))
            yield from reader.iter_batches(batch_size=how.rows, row_groups=list(numbers))


def _planned(data: mmap.mmap, group: pq.RowGroupMetaData, rows: int) -> Plan:
    """Return the plan of a row group. What was read of the file for it no longer counts as memory of this process."""
    found = plan(data, group, rows)
    if sys.platform == "linux":
        data.madvise(mmap.MADV_DONTNEED)
    return found


def read_arrow(file: BinaryIO, bounds: Bounds, unpacked: Unpacked) -> Iterator[RawBlock]:
    """Yield blocks of an Arrow IPC file, or of the stream format that `save_to_disk` writes."""
    data = pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))  # open as long as a batch refers to it
    stream = data
    if data[:6].to_pybytes() == b"ARROW1":  # a stream with an index at its end, which a truncated file does not have
        stream = data[FILE_HEADER:]
        pa.ipc.open_file(data)
    check_messages(stream)
    yield from blocks_of(pa.ipc.open_stream(stream), bounds, unpacked)


def blocks_of(
    batches: Iterable[pa.RecordBatch], bounds: Bounds | None = None, unpacked: Unpacked | None = None
) -> Iterator[RawBlock]:
    """Yield record batches as blocks; one that is large once decoded is split into several."""
    bounds = bounds or Bounds()
    row = 0
    for batch in batches:
        batch.validate()  # or the offsets of a damaged file crash the process below
        bounds.check_columns(batch.num_columns)
        encoded = [column for column in batch.columns if is_encoded(column.type)]
        for column in encoded:
            _validate(column)
        sizes = sum((row_bytes(column) for column in batch.columns), np.zeros(batch.num_rows, np.int64))
        if batch.num_rows:
            largest = int(sizes.argmax())
            bounds.check_row(int(sizes[largest]), f"row {row + largest + 1:,}")
        if unpacked:
            unpacked.add(int(sizes.sum()) + sum(column.get_total_buffer_size() for column in encoded))
        for part in cuts(sizes, 2 * BLOCK_BYTES, min(MAX_BLOCK_ROWS, MAX_BLOCK_CELLS // max(batch.num_columns, 1))):
            columns = [decoded(column[part]) for column in batch.columns]
            block = _series(pa.RecordBatch.from_arrays(columns, batch.schema.names))
            yield RawBlock(block, range(row + part.start, row + part.stop))
        row += batch.num_rows


def _validate(column: pa.Array) -> None:
    """Raise ArrowInvalid if the column is damaged. Invalid UTF-8 is repaired later."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise


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
