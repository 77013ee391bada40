"""Work on texts block by block: cut to a size that fits the processor's cache, several at once, in order."""

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
from curate.text.shingles import ROW_BITS

Item = TypeVar("Item")
Result = TypeVar("Result")
PIECE_BYTES = 1 << 20
WORKERS = max(1, min(os.cpu_count() or 1, 8))


def pieces(blocks: Iterable[pl.Series]) -> Iterator[tuple[int, pl.Series]]:
    """
    in : str, blocks of any size
    out: the same texts about a megabyte at a time, each piece with the row of its first text over all blocks
    """
    start = 0
    for block in blocks:
        if block.dtype not in (pl.String, pl.Null):
            raise InputError(f"near-duplicates are found among texts, {block.name!r} is {block.dtype}")
        texts = block.cast(pl.String)
        ends = texts.str.len_bytes().fill_null(0).cast(pl.Int64).cum_sum().to_numpy()  # 32 bits hold 4 GB only
        at = 0
        while at < len(texts):
            full = int(np.searchsorted(ends, (ends[at - 1] if at else 0) + PIECE_BYTES))
            stop = min(max(full, at + 1), at + (1 << ROW_BITS))
            yield start + at, texts.slice(at, stop - at).alias("text")
            at = min(stop, len(texts))
        start += len(texts)


def gathered(blocks: Iterable[pl.Series], rows: np.ndarray) -> Iterator[pl.Series]:
    """
    in : str, blocks of any size; rows over all blocks, ascending, each once
    out: the texts of these rows in their order, about a megabyte at a time
    """
    waiting, size = pl.Series("text", [], dtype=pl.String), 0
    for start, texts in pieces(blocks):
        here = texts.gather(rows[slice(*np.searchsorted(rows, [start, start + len(texts)]))] - start)
        if len(waiting) + len(here) > 1 << ROW_BITS or size > PIECE_BYTES:
            yield waiting
            waiting, size = waiting.clear(), 0
        waiting, size = pl.concat([waiting, here]), size + int(here.str.len_bytes().sum())
    yield waiting


@cache
def keep_freed_memory() -> None:
    """
    Let the C library keep what is freed for the next piece: to give it back and ask for it anew takes a third of the
    time. glibc does so, up to twice the size, once a block of this size was freed; others are not changed.
    """
    np.empty(31 << 20, np.uint8)


def mapped(function: Callable[[Item], Result], items: Iterable[Item], workers: int = WORKERS) -> Iterator[Result]:
    """As `map`, with several items in work at once and few of them waiting: they may not all fit into memory."""
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
