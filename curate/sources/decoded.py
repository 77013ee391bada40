"""
Arrow arrays by the size of their rows once decoded, and decoded.

A dictionary, run ends or views store a long text once, however many rows have it; decoded, each row has its own copy.
So the rows per block follow from the decoded sizes, and a slice is decoded only once it is small enough.
"""

from collections.abc import Iterator
from functools import singledispatch
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from pyarrow import types

CELL_BYTES = 8  # of any value: its length, its offset or itself
Sizes = np.ndarray  # int64, one per value


@singledispatch
def row_bytes(array: pa.Array) -> Sizes:
    """Return the decoded size of each value of an array of any type, in bytes. Damaged offsets count as 0 or all."""
    kind = array.type
    return np.full(len(array), 0 if types.is_null(kind) else max(kind.bit_width // 8, CELL_BYTES))


def cuts(sizes: Sizes, most_bytes: int, most_rows: int) -> Iterator[slice]:
    """Yield consecutive slices of at most so many bytes (or of a single row) and rows."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        fit = int(np.searchsorted(ends, before + most_bytes, side="right"))
        end = min(max(min(fit, start + most_rows), start + 1), len(sizes))
        yield slice(start, end)
        start = end


def decoded(array: pa.Array) -> pa.Array:
    """Return a slice of an array without dictionaries: it holds no other values than its own."""
    kind = array.type
    if isinstance(array, pa.DictionaryArray):
        return decoded(array.dictionary.take(array.indices))
    if isinstance(array, pa.StructArray) and kind.num_fields:
        fields = [decoded(array.field(i)) for i in range(kind.num_fields)]
        return pa.StructArray.from_arrays(fields, [field.name for field in kind], mask=array.is_null())
    if types.is_list(kind) or types.is_large_list(kind):
        offsets = np.concatenate([[0], np.cumsum(_numbers(_kernels().list_value_length(array)))])
        return pa.LargeListArray.from_arrays(pa.array(offsets), decoded(array.flatten()), mask=array.is_null())
    return array


def is_encoded(kind: pa.DataType) -> bool:
    """Whether arrays of this type contain a dictionary that `decoded` removes."""
    if types.is_list(kind) or types.is_large_list(kind):
        return is_encoded(kind.value_type)
    return types.is_dictionary(kind) or (types.is_struct(kind) and any(is_encoded(field.type) for field in kind))


@row_bytes.register(pa.ExtensionArray)
def _(array: pa.ExtensionArray) -> Sizes:
    return row_bytes(array.storage)


@row_bytes.register(pa.StringArray)
@row_bytes.register(pa.LargeStringArray)
@row_bytes.register(pa.BinaryArray)
@row_bytes.register(pa.LargeBinaryArray)
def _(array: pa.Array) -> Sizes:
    return _numbers(_kernels().binary_length(array)) + CELL_BYTES


@row_bytes.register(pa.StringViewArray)
@row_bytes.register(pa.BinaryViewArray)
def _(array: pa.Array) -> Sizes:
    views = np.frombuffer(array.buffers()[1], np.int32).reshape(-1, 4)  # the first four bytes of a view are its length
    lengths = views[array.offset : array.offset + len(array), 0].astype(np.int64)
    return np.where(_numbers(array.is_valid()), lengths, 0) + CELL_BYTES


@row_bytes.register(pa.DictionaryArray)
def _(array: pa.DictionaryArray) -> Sizes:
    return _pick(row_bytes(array.dictionary), _numbers(array.indices))


@row_bytes.register(pa.RunEndEncodedArray)
def _(array: pa.RunEndEncodedArray) -> Sizes:
    places = np.arange(array.offset, array.offset + len(array))
    return _pick(row_bytes(array.values), np.searchsorted(_numbers(array.run_ends), places, side="right"))


@row_bytes.register(pa.StructArray)
def _(array: pa.StructArray) -> Sizes:
    return sum((row_bytes(array.field(i)) for i in range(array.type.num_fields)), np.full(len(array), CELL_BYTES))


@row_bytes.register(pa.ListArray)
@row_bytes.register(pa.LargeListArray)
def _(array: pa.Array) -> Sizes:
    return _between(row_bytes(array.values), _numbers(array.offsets)[:-1], np.diff(_numbers(array.offsets)))


@row_bytes.register(pa.MapArray)
def _(array: pa.MapArray) -> Sizes:
    offsets = _numbers(array.offsets)
    return _between(row_bytes(array.keys) + row_bytes(array.items), offsets[:-1], np.diff(offsets))


@row_bytes.register(pa.ListViewArray)
@row_bytes.register(pa.LargeListViewArray)
def _(array: pa.Array) -> Sizes:
    return _between(row_bytes(array.values), _numbers(array.offsets), _numbers(array.sizes))


@row_bytes.register(pa.FixedSizeListArray)
def _(array: pa.FixedSizeListArray) -> Sizes:
    width = array.type.list_size
    starts = np.arange(array.offset, array.offset + len(array)) * width
    return _between(row_bytes(array.values), starts, np.full(len(array), width))


@row_bytes.register(pa.UnionArray)
def _(array: pa.UnionArray) -> Sizes:
    here = slice(array.offset, array.offset + len(array))  # pyarrow's type_codes and offsets do not account for it
    _, codes_at, *offsets_at = array.buffers()[: 2 + (array.type.mode == "dense")]
    codes = np.frombuffer(codes_at, np.int8)[here]
    places = np.frombuffer(offsets_at[0], np.int32)[here] if offsets_at else np.arange(len(array))
    sizes = np.full(len(array), CELL_BYTES)
    for number, code in enumerate(array.type.type_codes):
        of_code = codes == code
        sizes[of_code] += _pick(row_bytes(array.field(number)), places[of_code])
    return sizes


def _between(sizes: Sizes, starts: np.ndarray, lengths: np.ndarray) -> Sizes:
    """Return the sums of consecutive sizes."""
    before = np.concatenate([[0], np.cumsum(sizes)])
    sums: Sizes = _pick(before, starts + lengths) - _pick(before, starts)
    return sums + CELL_BYTES


def _pick(sizes: Sizes, places: np.ndarray) -> Sizes:
    found: Sizes = sizes[np.clip(places, 0, len(sizes) - 1)] if len(sizes) else np.zeros(len(places), np.int64)
    return found


def _numbers(array: pa.Array) -> np.ndarray:
    """Return integers, and 0 for nulls. Polars does it, because the methods of Arrow would import pandas."""
    numbers: np.ndarray = pl.Series(array).fill_null(0).to_numpy().astype(np.int64)
    return numbers


def _kernels() -> Any:
    """Return Arrow's functions on arrays: importing them takes 50 ms, and only tables need them."""
    import pyarrow.compute

    return pyarrow.compute
