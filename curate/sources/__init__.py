"""Sources: user data as blocks of PAIR. A row that cannot become a pair is kept, with its problem."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from curate.pairing import Settings
from curate.schema import PAIR, STAGED, empty, with_ids
from curate.sources.answers import paired
from curate.sources.columns import typed
from curate.sources.formats import by_columns, detect
from curate.sources.formats.base import UNKNOWN, DetectedFormat
from curate.sources.groups import Groups
from curate.sources.input import Feed, open_feeds, staged_blocks
from curate.sources.paths import title
from curate.sources.prompts import STAGED_PROMPTS, read_prompts
from curate.sources.raw_block import Bounds, RawBlock
from curate.text.end_tokens import without_end_tokens

__all__ = [
    "STAGED_PROMPTS",
    "UNKNOWN",
    "VERSION",
    "Bounds",
    "DetectedFormat",
    "Feed",
    "Settings",
    "convert",
    "open_feeds",
    "read",
    "read_prompts",
    "title",
]

SIDES = ("prompt", "chosen", "rejected")
VERSION = 2  # part of the stage's key: raise it when the same input yields different rows


def read(
    feed: Feed,
    *,
    format: str | None = None,  # noqa: A002 - named as in the recipe
    columns: Mapping[str, str] | None = None,
    winners: Mapping[Any, Sequence[Any]] | None = None,
    pair: Settings | None = None,
) -> Iterator[tuple[pl.DataFrame, DetectedFormat]]:
    """
    Yield the feed's rows as blocks of STAGED, with their format; UNKNOWN before the first row.

    `pair` says which of several answers form pairs.
    """
    settings = pair or Settings()

    def find(block: RawBlock) -> DetectedFormat:
        return by_columns(block, columns, winners or {}) if columns else detect(block.columns, format)

    with Groups() as groups:
        gathered: DetectedFormat | None = None

        def staged(block: RawBlock, found: DetectedFormat, name: str) -> pl.DataFrame:
            nonlocal gathered
            if found.answers is None:
                return convert(block, found, name)
            rows = found.answers.to_rows(typed(found.prepare(block), found.fields))
            if "key" not in rows.columns:
                return paired(rows, found.answers, name, settings)
            gathered = found
            groups.add(rows.drop("key"), rows.get_column("key"))
            return pl.DataFrame(schema=STAGED)

        yield from staged_blocks(feed, STAGED, find, staged)
        if gathered and gathered.answers:
            for rows in groups:
                yield paired(rows, gathered.answers, feed.name, settings), gathered


def convert(block: RawBlock, found: DetectedFormat, name: str) -> pl.DataFrame:
    """Return one raw block of pairs as STAGED, row for row."""
    frame = found.to_pairs(typed(found.prepare(block), found.fields))
    known = pl.col("source") if "source" in frame.columns else pl.lit(None, pl.String)
    frame = frame.with_columns(source=known.fill_null(name))
    missing = [column for column in PAIR if column not in frame.columns]
    frame = frame.with_columns(empty(PAIR, missing))
    frame = without_end_tokens(frame, SIDES)
    usable = pl.col("problem").is_null()
    ids = ("pair_id", "prompt_id", "flipped_id")
    frame = with_ids(frame).with_columns(pl.when(usable).then(column).otherwise(None) for column in ids)
    return frame.select(pl.col(column).cast(dtype) for column, dtype in STAGED.items())


def __dir__() -> list[str]:
    return sorted(__all__)
