"""
Near-duplicates among texts: MinHash finds candidates, their exact Jaccard similarity decides.

    edges = near_edges(lambda: [texts], threshold=0.8)
    cluster = components(len(texts), edges)

Three steps, which could be distributed: each block of texts is sketched independently (`sketch`); candidates are found
from the sketches alone (`candidates`); candidates are compared by reading their texts again (`similarities`).
"""

import numpy as np
import polars as pl

from curate.dedup.jaccard import batches, similarities
from curate.dedup.lsh import candidates, first_equal
from curate.dedup.minhash import joined, make_plan, sketch
from curate.dedup.tables import EDGES, Blocks
from curate.text.blocks import WORKERS, mapped, text_chunks

SEED = 1
# Memory for the shingles of the candidates that are compared at once: a constant, or more for very many texts.
LEAST_BYTES, BYTES_PER_ROW, BYTES_PER_SHINGLE = 128 << 20, 256, 18


def near_edges(
    blocks: Blocks,
    *,
    threshold: float = 0.8,
    shingle_size: int = 3,
    bands: tuple[int, int] | None = None,
    seed: int = SEED,
    memory_mb: int | None = None,
    workers: int = WORKERS,
) -> pl.DataFrame:
    """
    Return EDGES, sorted: row_a < row_b (u64, rows over all blocks), with a Jaccard similarity of shingles of at least
    the threshold.

    in : `blocks` returns the texts (str), the same ones in the same order at every call: two calls, or more when the
         shingles of the candidates take more than memory_mb

    Texts of the same words have an edge to the first of them, and only that one is compared further. Blank and null
    texts are similar to none. About 1 % of the pairs just at the threshold are missed; every edge is verified.
    `bands` is (bands, minima per band), by default derived from the threshold. Where more than 16 texts share a band,
    not every pair is compared (see `candidates`). `components` turns edges into clusters, which depend on the texts and
    the seed alone, not on blocks, threads or order.
    """
    plan = make_plan(threshold, shingle_size, bands, seed)
    sketches = joined(mapped(lambda chunk: sketch(chunk[1], plan), text_chunks(blocks()), workers), plan)
    first = first_equal(sketches)
    rows = np.arange(len(first))
    same = np.flatnonzero(first < rows)
    repeats = pl.DataFrame({"row_a": first[same], "row_b": same, "similarity": np.ones(len(same))}, schema=EDGES)
    pairs = candidates(sketches, rows[(first == rows) & (sketches.counts > 0)], plan)
    allowed = memory_mb << 20 if memory_mb else max(LEAST_BYTES, BYTES_PER_ROW * len(rows))
    counts = sketches.counts
    del sketches, first, rows
    compared = [
        similarities(blocks, batch, size=shingle_size, workers=workers)
        for batch in batches(pairs, counts, allowed // BYTES_PER_SHINGLE)
    ]
    return pl.concat([repeats, *compared]).filter(pl.col("similarity") >= threshold).sort("row_a", "row_b")
