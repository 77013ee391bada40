"""The protocol of a format, and the format detected for one input."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from curate.sources.columns import Field
from curate.sources.raw_block import Columns, RawBlock


class Format(Protocol):
    """
    A format of preference data: a module of this package, or any object with these two functions.

    The docstring documents the columns: `in :` columns and dtypes, `out:` PAIR. Its first paragraph is used as the
    format's line in the README.
    """

    __doc__: str | None

    def fields(self, columns: Columns) -> dict[str, Field] | None:
        """Return the field to read from each column if the columns have this format, else None."""

    def to_pairs(self, frame: pl.DataFrame) -> pl.DataFrame:
        """
        Return the frame with its pairs; a pure function, row for row.

        in : a column per field; source_row, extra, problem, detail
        out: the same frame with prompt, chosen and rejected as messages
        """


@dataclass(frozen=True, slots=True)
class DetectedFormat:
    """How the raw blocks of one input become pairs; the same for all its blocks."""

    name: str
    fields: Mapping[str, Field]
    to_pairs: Callable[[pl.DataFrame], pl.DataFrame]
    prepare: Callable[[RawBlock], RawBlock] = lambda block: block  # applied before the fields are read
