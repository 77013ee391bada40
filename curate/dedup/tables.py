"""Schemas of duplicate finding: edges between rows, and matches in another set."""

from collections.abc import Callable, Iterable

import polars as pl

Blocks = Callable[[], Iterable[pl.Series]]  # the texts, block by block; the same ones at every call
# Two rows whose texts are similar, row_a < row_b, each pair once.
EDGES = pl.Schema({"row_a": pl.UInt64(), "row_b": pl.UInt64(), "similarity": pl.Float64()})
# The most similar row of another set, for each row that has one.
MATCHES = pl.Schema({"row": pl.UInt64(), "other_row": pl.UInt64(), "similarity": pl.Float64()})
