"""A block of raw rows, before its format is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

# Bytes of text per block. Large enough that polars' fixed cost per expression is negligible, small enough that a few
# blocks with all their signals take no more than a few hundred megabytes.
BLOCK_BYTES = 16 << 20
MAX_BLOCK_ROWS = 50_000
Columns = Mapping[str, Sequence[Any] | pl.Series]  # raw columns by name, of equal length


@dataclass(frozen=True, slots=True)
class RawBlock:
    """Columns of equal length, their row numbers, and the rows that could not be read."""

    columns: Columns
    source_row: Sequence[int]
    broken: Sequence[tuple[int, str]] = ()  # source_row and what is wrong with it
