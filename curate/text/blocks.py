"""Work on texts in chunks that fit the processor's cache: several at a time, results in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import islice
from typing import TypeVar

import numpy as np
import polars as pl

from curate.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
CHUNK_BYTES = 1 << 20
ROW_BITS = 13  # a chunk has at most 2^13 texts
WORKERS = max(1, min(os.cpu_count() or 1, 8))


def text_chunks(blocks: Iterable[pl.Series]) -> Iterator[tuple[int, pl.Series]]:
    """
    Yield the texts about a megabyte at a time, each chunk with the row of its first text over all blocks.

    in : str, blocks of any size. Raises InputError for another dtype.
    """
    start = 0
    for block in blocks:
        if block.dtype not in (pl.String, pl.Null):
            raise InputError(f"near-duplicates are found among texts, but {block.name!r} is {block.dtype}")
        texts = block.cast(pl.String)
        ends = texts.str.len_bytes().fill_null(0).cast(pl.Int64).cum_sum().to_numpy()  # 32 bits would end at 4 GB
        first = 0
        while first < len(texts):
            full = int(np.searchsorted(ends, (ends[first - 1] if first else 0) + CHUNK_BYTES))
            stop = min(max(full, first + 1), first + (1 << ROW_BITS))
            yield start + first, texts.slice(first, stop - first).alias("text")
            first = min(stop, len(texts))
        start += len(texts)


def gathered(blocks: Iterable[pl.Series], rows: np.ndarray) -> Iterator[pl.Series]:
    """
    Yield the texts of these rows in their order, about a megabyte at a time.

    in : str, blocks of any size; rows over all blocks, ascending, each once
    """
    waiting, size = pl.Series("text", [], dtype=pl.String), 0
    for start, texts in text_chunks(blocks):
        wanted = texts.gather(rows[slice(*np.searchsorted(rows, [start, start + len(texts)]))] - start)
        if len(waiting) + len(wanted) > 1 << ROW_BITS or size > CHUNK_BYTES:
            yield waiting
            waiting, size = waiting.clear(), 0
        waiting, size = pl.concat([waiting, wanted]), size + int(wanted.str.len_bytes().sum())
    yield waiting


@cache
def keep_freed_memory() -> None:
    """
    Make the C library keep freed memory for the next chunk: returning and requesting it takes a third of the time.

    glibc keeps up to twice the size of a block once a block of this size was freed; other libraries are not affected.
    """
    np.empty(31 << 20, np.uint8)


def mapped(function: Callable[[Item], Result], items: Iterable[Item], workers: int = WORKERS) -> Iterator[Result]:
    """Yield as `map` does, on several threads; few items are in memory at a time."""
    keep_freed_memory()
    todo = iter(items)
    pool = ThreadPoolExecutor(workers)
    running: deque[Future[Result]] = deque()
    try:
        for item in islice(todo, workers + 1):
            running.append(pool.submit(function, item))
        while running:
            result = running.popleft().result()
            for item in islice(todo, 1):
                running.append(pool.submit(function, item))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
