"""Texts in chunks that fit the processor's cache."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from curate.errors import InputError

CHUNK_BYTES = 1 << 20
ROW_BITS = 13  # a chunk has at most 2^13 texts


def text_chunks(texts: pl.Series) -> Iterator[pl.Series]:
    """
    Yield the texts about a megabyte at a time.

    in : str. Raises InputError for another dtype.
    """
    if texts.dtype not in (pl.String, pl.Null):
        raise InputError(f"near-duplicates are found among texts, but {texts.name!r} is {texts.dtype}")
    texts = texts.cast(pl.String).alias("text")
    ends = texts.str.len_bytes().fill_null(0).cast(pl.Int64).cum_sum().to_numpy()  # 32 bits would end at 4 GB
    first = 0
    while first < len(texts):
        full = int(np.searchsorted(ends, (ends[first - 1] if first else 0) + CHUNK_BYTES))
        stop = min(max(full, first + 1), first + (1 << ROW_BITS))
        yield texts.slice(first, stop - first)
        first = stop
