"""A block of raw rows, before anyone knows what its columns mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

# Text per block. Large enough that polars' fixed cost per expression vanishes, small enough that a few
# blocks with all their signals stay below some hundred megabytes.
BLOCK_BYTES = 16 << 20
MAX_BLOCK_ROWS = 50_000
Columns = Mapping[str, Sequence[Any] | pl.Series]  # raw columns by name, of equal length


@dataclass(frozen=True, slots=True)
class RawBlock:
    """Columns of equal length, the row numbers they stand for, and the rows that could not be read at all."""

    columns: Columns
    source_row: Sequence[int]
    broken: Sequence[tuple[int, str]] = ()  # source_row and what is wrong with it
