"""Exact Jaccard similarity of pairs of texts, by reading the texts again, as many at a time as memory allows."""

from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from curate.dedup.clusters import components
from curate.dedup.tables import EDGES, Texts
from curate.engine import THREADS, Block, Engine, starts_of
from curate.errors import InputError
from curate.text.arrays import to_offsets
from curate.text.blocks import text_chunks
from curate.text.shingles import HASH_BITS, Shingles, shingle_sets

SHINGLES_PER_CHUNK = 1 << 18  # in the pairs that are compared at once
SHINGLES_PER_PAIR = 5  # the memory that comparing a pair takes, in shingles


def similarities(blocks: Texts, pairs: pl.DataFrame, *, size: int = 3, engine: Engine = THREADS) -> pl.DataFrame:
    """
    Return EDGES: the pairs with their Jaccard similarity, shared shingles over shingles in either text.

    in : texts; row_a, row_b (u64), rows over all blocks, of texts that are not blank

    Holds the shingle sets of all these rows: 9 bytes per shingle, at the peak twice that. `batches` limits the memory.
    """
    rows, first, second = _indices(pairs)
    sets = _sets(blocks, rows, size, engine)
    sizes = np.diff(sets.offsets)
    both = sizes[first] + sizes[second]
    # Chunks of equally many shingles, not pairs: texts may have any length.
    cuts = np.append(np.searchsorted(np.cumsum(both), np.arange(0, both.sum(), SHINGLES_PER_CHUNK)), len(pairs))
    chunks = [(first[start:stop], second[start:stop]) for start, stop in pairwise(cuts)]
    # By threads, since all sets are in this process.
    shared = np.concatenate([np.zeros(0), *THREADS.map(partial(_shared, _matrix(sets)), chunks)])
    share = shared / np.maximum(both - shared, 1)
    return pairs.select("row_a", "row_b", similarity=pl.Series(share)).cast(EDGES)


def batches(pairs: pl.DataFrame, counts: np.ndarray, limit: int) -> Iterator[pl.DataFrame]:
    """
    Divide the pairs into batches whose rows have about `limit` shingles.

    in : row_a, row_b (u64); the number of shingles of every row

    Pairs of one cluster stay together where possible, so that few rows are in two batches.
    """
    rows, a, b = _indices(pairs)
    if counts[rows].sum(dtype=np.int64) + SHINGLES_PER_PAIR * len(pairs) <= limit:
        yield from [pairs] if len(pairs) else []
        return
    cluster = components(len(rows), pl.DataFrame({"row_a": a, "row_b": b}))[a]
    order = np.lexsort((b, a, cluster))
    _, first_use = np.unique(np.column_stack([a[order], b[order]]), return_index=True)  # where each row is first needed
    cost = np.bincount(first_use // 2, weights=counts[rows], minlength=len(pairs)) + SHINGLES_PER_PAIR
    batch = (np.cumsum(cost) // limit).astype(np.int64)
    yield from pairs[order].with_columns(batch=batch).partition_by("batch", maintain_order=True, include_key=False)


def _indices(pairs: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of all pairs, ascending, and the indices of each pair's two rows among them."""
    ends = np.concatenate([pairs.get_column(name).to_numpy() for name in ("row_a", "row_b")])
    rows, indices = np.unique(ends.astype(np.int64), return_inverse=True)
    return rows, indices[: len(pairs)], indices[len(pairs) :]


def _sets(blocks: Texts, rows: np.ndarray, size: int, engine: Engine) -> Shingles:
    """Return the shingle sets of these rows, one after the other."""
    starts = starts_of(blocks)
    cuts = np.searchsorted(rows, starts)
    if cuts[-1] < len(rows):
        raise InputError(f"row {rows[-1]} is in no block")
    wanted = [
        (block, rows[first:last] - start)
        for block, start, (first, last) in zip(blocks, starts[:-1], pairwise(cuts), strict=True)
        if first < last
    ]
    sizes, hashes = [np.zeros(0, np.int64)], deque([np.zeros(0, np.uint64)])
    for found in engine.map(partial(_sets_of_block, size=size), wanted):
        sizes.append(np.diff(found.offsets))
        hashes.append(found.hashes)
    offsets = to_offsets(np.concatenate(sizes))
    # Those of each block are freed as soon as they are copied, so memory never holds two copies of all of them.
    joined, start = np.empty(offsets[-1], np.uint64), 0
    while hashes:
        copied = hashes.popleft()
        joined[start : start + len(copied)] = copied
        start += len(copied)
    return Shingles(joined, offsets)


def _sets_of_block(wanted: tuple[Block[pl.Series], np.ndarray], size: int) -> Shingles:
    """Return the shingle sets of these rows of the block."""
    block, rows = wanted
    sets = [shingle_sets(chunk, size=size) for chunk in text_chunks(block.read().gather(rows))]
    sizes = np.concatenate([np.zeros(0, np.int64), *(np.diff(one.offsets) for one in sets)])
    return Shingles(np.concatenate([np.zeros(0, np.uint64), *(one.hashes for one in sets)]), to_offsets(sizes))


def _matrix(sets: Shingles) -> Any:
    """Return a sparse matrix: one row per text, with a one in the column of each of its shingles."""
    from scipy.sparse import csr_array

    ones = np.ones(len(sets.hashes), np.int8)
    shape = (len(sets.offsets) - 1, 1 << int(HASH_BITS))
    return csr_array((ones, sets.hashes.view(np.int64), sets.offsets), shape=shape)


def _shared(matrix: Any, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return how many shingles the two rows of each pair share."""
    first, second = pairs
    return np.diff(matrix[first].multiply(matrix[second]).indptr)
