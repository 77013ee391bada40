"""Schemas of duplicate finding: edges between rows, and matches in another set."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from curate.engine import Block

Frames = Sequence[Block[pl.DataFrame]]
Read = Callable[[tuple[str, ...]], Frames]  # columns -> blocks of the same rows at every call
Texts = Sequence[Block[pl.Series]]  # str; each block may be read several times
# Two rows whose texts are similar, row_a < row_b, each pair once.
EDGES = pl.Schema({"row_a": pl.UInt64(), "row_b": pl.UInt64(), "similarity": pl.Float64()})
# The most similar row of another set, for each row that has one.
MATCHES = pl.Schema({"row": pl.UInt64(), "other_row": pl.UInt64(), "similarity": pl.Float64()})


def in_one_context(pairs: pl.DataFrame, contexts: np.ndarray, one: str, other: str) -> pl.Series:
    """Return whether the rows (columns u64) of each pair have the same context, and are compared by what they ask."""
    a, b = contexts[pairs.get_column(one).to_numpy()], contexts[pairs.get_column(other).to_numpy()]
    return pl.Series((a == b) & (a > 0), dtype=pl.Boolean)


def joined_edges(asked: pl.DataFrame, whole: pl.DataFrame, contexts: np.ndarray) -> pl.DataFrame:
    """Return EDGES by what prompts ask between rows of one context, and by whole texts between all others."""
    same, other = (in_one_context(edges, contexts, "row_a", "row_b") for edges in (asked, whole))
    return pl.concat([asked.filter(same), whole.filter(~other)]).sort("row_a", "row_b")
