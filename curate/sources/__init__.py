"""Sources: user data as blocks of PAIR. A row that cannot become a pair is kept, with its problem."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from curate.schema import PAIR, STAGED, empty, with_ids
from curate.sources.columns import typed
from curate.sources.formats import by_columns, detect
from curate.sources.formats.base import DetectedFormat
from curate.sources.input import Feed, open_feeds, staged_blocks
from curate.sources.paths import title
from curate.sources.prompts import STAGED_PROMPTS, read_prompts
from curate.sources.raw_block import Bounds, RawBlock

__all__ = ["STAGED_PROMPTS", "VERSION", "Bounds", "Feed", "convert", "open_feeds", "read", "read_prompts", "title"]

VERSION = 2  # part of the stage's key: raise it when the same input yields different rows


def read(
    feed: Feed,
    *,
    format: str | None = None,  # noqa: A002 - named as in the recipe
    columns: Mapping[str, str] | None = None,
    winners: Mapping[Any, Sequence[Any]] | None = None,
) -> Iterator[tuple[pl.DataFrame, str]]:
    """Yield the feed's rows as blocks of STAGED with the name of their format ("unknown" before the first row)."""

    def find(block: RawBlock) -> DetectedFormat:
        return by_columns(block, columns, winners or {}) if columns else detect(block.columns, format)

    return staged_blocks(feed, STAGED, find, convert)


def convert(block: RawBlock, found: DetectedFormat, name: str) -> pl.DataFrame:
    """Return one raw block as STAGED, row for row."""
    frame = found.to_pairs(typed(found.prepare(block), found.fields))
    known = pl.col("source") if "source" in frame.columns else pl.lit(None, pl.String)
    frame = frame.with_columns(source=known.fill_null(name))
    missing = [column for column in PAIR if column not in frame.columns]
    frame = frame.with_columns(empty(PAIR, missing))
    usable = pl.col("problem").is_null()
    ids = ("pair_id", "prompt_id", "flipped_id")
    frame = with_ids(frame).with_columns(pl.when(usable).then(column).otherwise(None) for column in ids)
    return frame.select(pl.col(column).cast(dtype) for column, dtype in STAGED.items())


def __dir__() -> list[str]:
    return sorted(__all__)
