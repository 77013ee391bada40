"""Sources: whatever the user has, as blocks of PAIR. Every row that cannot become a pair stays in, with its problem."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from curate.errors import InputError
from curate.schema import PAIR, STAGED, empty, with_ids
from curate.sources.block import RawBlock
from curate.sources.formats import Format, by_columns, detect
from curate.sources.hub import find_dataset, is_hub
from curate.sources.inputs import find_inputs
from curate.sources.raw import raw_blocks
from curate.sources.values import typed

VERSION = 1  # part of the stage's key: raise it when the same input gives other rows


@dataclass(frozen=True, slots=True)
class Feed:
    """One input: a file, or a split of a Hub dataset."""

    name: str
    fingerprint: str
    blocks: Callable[[], Iterator[RawBlock]]


def open_feeds(
    paths: Sequence[str], *, split: str | None = None, config: str | None = None, revision: str | None = None
) -> list[Feed]:
    """Everything the paths name, in a stable order. Raises InputError where there is nothing to read."""
    remote = [path for path in paths if is_hub(path)]
    local = [path for path in paths if path not in remote]
    files = [
        Feed(file.name, file.fingerprint(), partial(raw_blocks, file))
        for file in (find_inputs(local, split) if local else [])
    ]
    found = [find_dataset(path, split, config, revision) for path in remote]
    hub = [Feed(dataset.name, dataset.fingerprint(), dataset.blocks) for dataset in found]
    return files + hub


def read(
    feed: Feed,
    *,
    format: str | None = None,  # noqa: A002 - the recipe's word
    columns: Mapping[str, str] | None = None,
    winners: Mapping[Any, Sequence[Any]] | None = None,
) -> Iterator[tuple[pl.DataFrame, str]]:
    """The feed's rows as blocks of STAGED, with the name of their format ("unknown" until a row tells)."""
    found: Format | None = None
    for block in feed.blocks():
        if found is None and len(block.source_row):
            with _named(feed.name):
                found = by_columns(block, columns, winners or {}) if columns else detect(block.columns, format)
        with _named(feed.name):
            frame = convert(block, found, feed.name) if found and len(block.source_row) else pl.DataFrame(schema=STAGED)
        if block.broken:
            # By the place in the file: `source_row` of our own tables is that of the file they were made from.
            place = pl.Series("place", [*block.source_row, *(row for row, _ in block.broken)])
            frame = pl.concat([frame, _broken(block, feed.name)]).with_columns(place).sort("place").drop("place")
        if len(frame):
            yield frame, found.name if found else "unknown"


def convert(block: RawBlock, found: Format, name: str) -> pl.DataFrame:
    """One raw block as STAGED, row for row."""
    frame = found.to_pairs(typed(found.prepare(block), found.fields))
    known = pl.col("source") if "source" in frame.columns else pl.lit(None, pl.String)
    frame = frame.with_columns(source=known.fill_null(name))
    missing = [column for column in PAIR if column not in frame.columns]
    frame = frame.with_columns(empty(PAIR, missing))
    usable = pl.col("problem").is_null()
    ids = ("pair_id", "prompt_id", "flipped_id")
    frame = with_ids(frame).with_columns(pl.when(usable).then(column).otherwise(None) for column in ids)
    return frame.select(pl.col(column).cast(dtype) for column, dtype in STAGED.items())


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say in which input it is that something cannot be used."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _broken(block: RawBlock, name: str) -> pl.DataFrame:
    rows, details = zip(*block.broken, strict=True)
    given = {"source_row": pl.Series(rows, dtype=pl.UInt64), "detail": pl.Series(details, dtype=pl.String)}
    frame = pl.DataFrame(given).with_columns(source=pl.lit(name), problem=pl.lit("broken_row"))
    missing = [column for column in STAGED if column not in frame.columns]
    return frame.with_columns(empty(STAGED, missing)).select(list(STAGED))


def title(paths: Sequence[str]) -> str:
    """A short name for what was read, for headings: the first path without folders and endings."""
    last = Path(paths[0].rstrip("/")).name or paths[0]
    return re.sub(r"(\.(jsonl|ndjson|json|csv|parquet|arrow|feather|gz|zst))+$", "", last)
