"""The tables that finding duplicates passes on: edges among rows, and matches in another set."""

from collections.abc import Callable, Iterable

import polars as pl

Blocks = Callable[[], Iterable[pl.Series]]  # the texts, block by block; the same ones whenever it is called
# Two rows whose texts are similar, row_a < row_b, each pair once.
EDGES = pl.Schema({"row_a": pl.UInt64(), "row_b": pl.UInt64(), "similarity": pl.Float64()})
# For a row the most similar one of another set; one row per row that has any.
MATCHES = pl.Schema({"row": pl.UInt64(), "other_row": pl.UInt64(), "similarity": pl.Float64()})
