"""The protocols of a format, and the format detected for one input."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import polars as pl

from curate.schema import MESSAGES
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


@runtime_checkable
class AnswerFormat(Protocol):
    """A format of answers to prompts, scored or ranked, of which `pairing` makes pairs; see `Format`."""

    __doc__: str | None

    def fields(self, columns: Columns) -> dict[str, Field] | None:
        """Return the field to read from each column if the columns have this format, else None."""

    def to_rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """
        Return the frame with its prompts as messages; a pure function, row for row.

        in : a column per field; source_row, extra, problem, detail
        out: the same frame, with `key`: str if rows with equal keys belong together, wherever they are in the input:
             the answers to one prompt, the messages of a tree. A row whose key is null stands alone.
        """

    def to_answers(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """
        Return the answers, and the rows that they are from, with a problem in those that cannot be used.

        in : rows as returned by `to_rows`; those that belong together are all there, with `group`: u32 in place of key
        out: ANSWERS, one row per answer, in any order; the same frame
        """


# One row per answer. The answers of one set are compared with each other.
ANSWERS = pl.Schema(
    {
        "set": pl.UInt64(),  # number of the set; only equality counts
        "source_row": pl.UInt64(),  # the row that holds the answer
        "prompt": MESSAGES,
        "response": MESSAGES,  # null = none
        "model": pl.String(),  # null = unknown
        "score": pl.Float64(),  # higher is better; null = not judged
        "reason": pl.String(),  # why it has the score; null = unknown
    }
)


@dataclass(frozen=True, slots=True)
class DetectedFormat:
    """How the raw blocks of one input become pairs; the same for all its blocks."""

    name: str
    fields: Mapping[str, Field]
    to_pairs: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame  # row for row; not if there are `answers`
    prepare: Callable[[RawBlock], RawBlock] = lambda block: block  # applied before the fields are read
    answers: AnswerFormat | None = None  # set if the rows hold answers, not pairs
    unused: Mapping[str, str] = field(default_factory=dict)  # other columns, see `accounting.unused`


UNKNOWN = DetectedFormat("unknown", {})  # before the first row
