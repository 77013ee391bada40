"""What a format is, and how one input is read by it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from curate.sources.columns import Field
from curate.sources.raw_block import Columns, RawBlock


class Format(Protocol):
    """
    One shape of preference data: a module of this package, or any object with these two functions.

    The docstring draws the shape: `in :` columns and dtypes, `out:` PAIR; its first paragraph is the format's line in
    the documentation.
    """

    __doc__: str | None

    def fields(self, columns: Columns) -> dict[str, Field] | None:
        """Return what to read from which column if the columns are of this shape, else None."""

    def to_pairs(self, frame: pl.DataFrame) -> pl.DataFrame:
        """
        in : a column per field; source_row, extra, problem, detail
        out: the same frame with prompt, chosen and rejected as messages; pure, row for row
        """


@dataclass(frozen=True, slots=True)
class DetectedFormat:
    """How the raw blocks of one input become pairs: the same for all its blocks."""

    name: str
    fields: Mapping[str, Field]
    to_pairs: Callable[[pl.DataFrame], pl.DataFrame]
    prepare: Callable[[RawBlock], RawBlock] = lambda block: block  # before the fields are read
