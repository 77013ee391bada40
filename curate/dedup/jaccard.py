"""The true similarity of pairs of texts, by reading those texts again, as many at a time as memory allows."""

from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from curate.dedup.clusters import components
from curate.dedup.tables import EDGES, Blocks
from curate.errors import InputError
from curate.text.arrays import to_offsets
from curate.text.blocks import WORKERS, gathered, mapped
from curate.text.shingles import HASH_BITS, Shingles, shingle_sets

CHUNK = 1 << 18  # shingles of pairs compared at once
SHINGLES_A_PAIR = 5  # what a pair takes while it is compared, in the memory of shingles


def similarities(blocks: Blocks, pairs: pl.DataFrame, *, size: int = 3, workers: int = WORKERS) -> pl.DataFrame:
    """
    in : texts; row_a, row_b (u64), rows over all blocks, of texts that are not blank
    out: EDGES, the same pairs with their Jaccard similarity: shingles they share over shingles that either has

    Holds the sets of all rows named, 9 bytes a shingle and twice that for a moment; `batches` divides what is too much.
    """
    rows, first, second = _places(pairs)
    sets = _sets(blocks, rows, size, workers)
    sizes = np.diff(sets.offsets)
    both = sizes[first] + sizes[second]
    # Chunks of about as many shingles, not of as many pairs: texts may be of any length.
    cuts = np.append(np.searchsorted(np.cumsum(both), np.arange(0, both.sum(), CHUNK)), len(pairs))
    chunks = [(first[start:stop], second[start:stop]) for start, stop in pairwise(cuts)]
    shared = np.concatenate([np.zeros(0), *mapped(partial(_shared, _matrix(sets)), chunks, workers)])
    share = shared / np.maximum(both - shared, 1)
    return pairs.select("row_a", "row_b", similarity=pl.Series(share)).cast(EDGES)


def batches(pairs: pl.DataFrame, counts: np.ndarray, most: int) -> Iterator[pl.DataFrame]:
    """
    in : row_a, row_b (u64); shingles of every row
    out: the pairs, so divided that the rows of each part have about `most` shingles

    Pairs of one cluster stay together where they can, so that few rows are in two parts.
    """
    rows, a, b = _places(pairs)
    if counts[rows].sum(dtype=np.int64) + SHINGLES_A_PAIR * len(pairs) <= most:
        yield from [pairs] if len(pairs) else []
        return
    cluster = components(len(rows), pl.DataFrame({"row_a": a, "row_b": b}))[a]
    order = np.lexsort((b, a, cluster))
    _, met = np.unique(np.column_stack([a[order], b[order]]), return_index=True)  # the first time each row is needed
    cost = np.bincount(met // 2, weights=counts[rows], minlength=len(pairs)) + SHINGLES_A_PAIR
    part = (np.cumsum(cost) // most).astype(np.int64)
    yield from pairs[order].with_columns(part=part).partition_by("part", maintain_order=True, include_key=False)


def _places(pairs: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows in any of the pairs, ascending, and where among them each pair's two are."""
    ends = np.concatenate([pairs.get_column(name).to_numpy() for name in ("row_a", "row_b")])
    rows, places = np.unique(ends.astype(np.int64), return_inverse=True)
    return rows, places[: len(pairs)], places[len(pairs) :]


def _sets(blocks: Blocks, rows: np.ndarray, size: int, workers: int) -> Shingles:
    """The sets of shingles of these rows, one after the other."""
    sizes, hashes = [np.zeros(0, np.int64)], deque([np.zeros(0, np.uint64)])
    for part in mapped(partial(shingle_sets, size=size), gathered(blocks(), rows), workers):
        sizes.append(np.diff(part.offsets))
        hashes.append(part.hashes)
    offsets = to_offsets(np.concatenate(sizes))
    if len(offsets) <= len(rows):
        raise InputError("the blocks of texts have fewer rows when they are read again; `blocks` has to start anew")
    # Each part is let go as soon as it is copied: there are never two copies of all of them.
    joined, at = np.empty(offsets[-1], np.uint64), 0
    while hashes:
        part_hashes = hashes.popleft()
        joined[at : at + len(part_hashes)] = part_hashes
        at += len(part_hashes)
    return Shingles(joined, offsets)


def _matrix(sets: Shingles) -> Any:
    """One row a text, a one in the column of every shingle it has."""
    from scipy.sparse import csr_array

    ones = np.ones(len(sets.hashes), np.int8)
    shape = (len(sets.offsets) - 1, 1 << int(HASH_BITS))
    matrix: Any = csr_array((ones, sets.hashes.view(np.int64), sets.offsets), shape=shape)
    matrix.has_canonical_format = True  # the hashes are in ascending order and each once: scipy need not look
    return matrix


def _shared(matrix: Any, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """How many shingles both rows of each pair have."""
    first, second = pairs
    return np.diff(matrix[first].multiply(matrix[second]).indptr)
