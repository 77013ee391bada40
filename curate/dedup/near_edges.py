"""
Near-duplicates among texts: MinHash finds candidates, their exact Jaccard similarity decides.

    edges = near_edges([Block(len(texts), lambda: texts)], threshold=0.8)
    cluster = components(len(texts), edges)

Three steps: each block of texts is sketched independently (`sketch`); candidates are found from the sketches alone
(`candidates`); candidates are compared by reading their texts again (`similarities`).
"""

from functools import partial

import numpy as np
import polars as pl

from curate.dedup.jaccard import batches, similarities
from curate.dedup.lsh import candidates, first_equal
from curate.dedup.minhash import Plan, Sketches, joined, make_plan, sketch
from curate.dedup.tables import EDGES, Texts
from curate.engine import THREADS, Block, Engine
from curate.text.blocks import text_chunks

SEED = 1
# Memory for the shingles of the candidates that are compared at once: a constant, or more for very many texts.
LEAST_BYTES, BYTES_PER_ROW, BYTES_PER_SHINGLE = 128 << 20, 256, 18


def near_edges(
    blocks: Texts,
    *,
    threshold: float = 0.8,
    shingle_size: int = 3,
    bands: tuple[int, int] | None = None,
    seed: int = SEED,
    memory_mb: int | None = None,
    engine: Engine = THREADS,
) -> pl.DataFrame:
    """
    Return EDGES, sorted: row_a < row_b (u64, rows over all blocks), with a Jaccard similarity of shingles of at least
    the threshold.

    in : the texts (str), which are read twice, or more often when the shingles of the candidates take more than
         memory_mb

    Texts of the same words have an edge to the first of them, and only that one is compared further. Blank and null
    texts are similar to none. About 1 % of the pairs just at the threshold are missed; every edge is verified.
    `bands` is (bands, minima per band), by default derived from the threshold. Where more than 16 texts share a band,
    not every pair is compared (see `candidates`). `components` turns edges into clusters, which depend on the texts and
    the seed alone, not on blocks, threads or order.
    """
    plan = make_plan(threshold, shingle_size, bands, seed)
    sketches = joined(engine.map(partial(_sketched, plan=plan), blocks), plan)
    first = first_equal(sketches)
    rows = np.arange(len(first))
    same = np.flatnonzero(first < rows)
    repeats = pl.DataFrame({"row_a": first[same], "row_b": same, "similarity": np.ones(len(same))}, schema=EDGES)
    pairs = candidates(sketches, rows[(first == rows) & (sketches.counts > 0)], plan)
    allowed = memory_mb << 20 if memory_mb else max(LEAST_BYTES, BYTES_PER_ROW * len(rows))
    counts = sketches.counts
    del sketches, first, rows
    compared = [
        similarities(blocks, batch, size=shingle_size, engine=engine)
        for batch in batches(pairs, counts, allowed // BYTES_PER_SHINGLE)
    ]
    return pl.concat([repeats, *compared]).filter(pl.col("similarity") >= threshold).sort("row_a", "row_b")


def _sketched(block: Block[pl.Series], plan: Plan) -> Sketches:
    return joined((sketch(chunk, plan) for chunk in text_chunks(block.read())), plan)
