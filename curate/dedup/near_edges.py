"""
Near-duplicates among texts: MinHash finds who may be alike, their true similarity decides.

    edges = near_edges(lambda: [texts], threshold=0.8)
    cluster = components(len(texts), edges)

In three steps, so that many machines can share the work: what is kept of a block depends on that block alone
(`sketch`); candidates come from those sketches, without any text (`candidates`); pairs are then compared by reading
their texts again (`similarities`).
"""

import numpy as np
import polars as pl

from curate.dedup.jaccard import batches, similarities
from curate.dedup.lsh import candidates, first_alike
from curate.dedup.minhash import joined, make_plan, sketch
from curate.dedup.tables import EDGES, Blocks
from curate.text.blocks import WORKERS, mapped, text_chunks

SEED = 1
# What the shingles of candidates may take while they are compared: in all, or by the number of texts if that is more.
LEAST_BYTES, BYTES_A_ROW, BYTES_A_SHINGLE = 128 << 20, 256, 18


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
    in : `blocks` gives the texts (str), the same ones in the same order whenever it is called: twice, or more often
         when the candidates' shingles take more than memory_mb
    out: EDGES: row_a < row_b (u64, rows over all blocks), and the Jaccard similarity of their shingles, at least the
         threshold. Sorted by rows.

    Texts of the same words are linked to the first of them, which alone is compared further. Blank and null texts are
    like nothing. About one pair in a hundred that lies just at the threshold is missed; every pair found is verified.
    `bands` is (bands, minima a band), chosen by the threshold when not given; of more than 16 texts that share a band,
    not every pair is compared (see `candidates`). `components` makes clusters of the edges; they depend on the texts
    and the seed alone, not on blocks, threads or order.
    """
    plan = make_plan(threshold, shingle_size, bands, seed)
    sketches = joined(mapped(lambda chunk: sketch(chunk[1], plan), text_chunks(blocks()), workers), plan)
    first = first_alike(sketches)
    rows = np.arange(len(first))
    same = np.flatnonzero(first < rows)
    repeats = pl.DataFrame({"row_a": first[same], "row_b": same, "similarity": np.ones(len(same))}, schema=EDGES)
    pairs = candidates(sketches, rows[(first == rows) & (sketches.counts > 0)], plan)
    allowed = memory_mb << 20 if memory_mb else max(LEAST_BYTES, BYTES_A_ROW * len(rows))
    counts = sketches.counts
    del sketches, first, rows
    parts = batches(pairs, counts, allowed // BYTES_A_SHINGLE)
    compared = [similarities(blocks, part, size=shingle_size, workers=workers) for part in parts]
    return pl.concat([repeats, *compared]).filter(pl.col("similarity") >= threshold).sort("row_a", "row_b")
