"""Inputs as feeds of raw blocks, and the loop over a feed that reading pairs and reading prompts share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl

from curate.engine import ahead
from curate.errors import InputError
from curate.schema import empty
from curate.sources.accounting import unused
from curate.sources.formats.base import UNKNOWN, DetectedFormat
from curate.sources.hub import find_dataset, is_hub
from curate.sources.paths import find_inputs
from curate.sources.raw_block import Bounds, RawBlock
from curate.sources.sniff import raw_blocks

MEMORY = "memory:"  # prefix of the path of a table in memory


@dataclass(frozen=True, slots=True)
class Feed:
    """One input: a file, or a split of a Hub dataset."""

    name: str
    fingerprint: str
    blocks: Callable[[], Iterator[RawBlock]]
    path: Path | None = None  # None if the input is not a local file


# Tables in memory that are being read by a call from Python, by path; see `sources.memory.readable_paths`.
OFFERED: dict[str, list[Feed]] = {}


def open_feeds(
    paths: Sequence[str],
    *,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    bounds: Bounds | None = None,
) -> list[Feed]:
    """
    Return a feed for each input under the paths, in a stable order; by default within the bounds of `curate.limits`.

    Raise InputError if there is nothing to read.
    """
    bounds = bounds or Bounds()
    if memory := [path for path in paths if path.startswith(MEMORY)]:
        if gone := [path for path in memory if path not in OFFERED]:
            raise InputError(f"{gone[0]} was a table in memory and cannot be read again; pass it from Python")
        return [feed for path in memory for feed in OFFERED[path]]
    remote = [path for path in paths if is_hub(path)]
    local = [path for path in paths if path not in remote]
    files = [
        Feed(file.name, file.fingerprint(), partial(raw_blocks, file, bounds), file.path)
        for file in (find_inputs(local, split) if local else [])
    ]
    found = [find_dataset(path, split, config, revision) for path in remote]
    hub = [Feed(dataset.name, dataset.fingerprint(), partial(dataset.blocks, bounds)) for dataset in found]
    return files + hub


def staged_blocks(
    feed: Feed,
    schema: pl.Schema,
    find: Callable[[RawBlock], DetectedFormat],
    convert: Callable[[RawBlock, DetectedFormat, str], pl.DataFrame],
) -> Iterator[tuple[pl.DataFrame, DetectedFormat]]:
    """Yield the feed's rows as blocks of the schema, with their format; UNKNOWN before the first row."""
    found, seen = UNKNOWN, set[str]()
    for block in ahead(feed.blocks()):
        with _named(feed.name):
            if len(block.source_row) and block.columns.keys() - seen:
                found = _with_new_columns(found, block, find)
                seen |= block.columns.keys()
            frame = convert(block, found, feed.name) if len(block.source_row) else pl.DataFrame(schema=schema)
        if block.broken:
            # Sorted by position in the file: in our own tables `source_row` refers to the file they were made from.
            place = pl.Series("place", [*block.source_row, *(row for row, _ in block.broken)])
            broken = _broken(block, schema, feed.name)
            frame = pl.concat([frame, broken]).with_columns(place).sort("place").drop("place")
        if len(frame):
            yield frame, found


def _with_new_columns(
    found: DetectedFormat, block: RawBlock, find: Callable[[RawBlock], DetectedFormat]
) -> DetectedFormat:
    """Return the format of a block that has columns which no block before had: the same one, with their fields."""
    if found is UNKNOWN:
        found = find(block)
        return replace(found, unused=unused(found.prepare(block).columns, found.fields))
    try:
        later = find(block)
    except InputError:
        later = found
    fields = {**later.fields, **found.fields} if later.name == found.name else found.fields
    used = {field.column for field in fields.values()}
    before = {name: holds for name, holds in found.unused.items() if name not in used}
    return replace(found, fields=fields, unused=unused(found.prepare(block).columns, fields) | before)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Add the name of the input to an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}: {error.message}", error.hint) from error


def _broken(block: RawBlock, schema: pl.Schema, name: str) -> pl.DataFrame:
    rows, details = zip(*block.broken, strict=True)
    given = {"source_row": pl.Series(rows, dtype=pl.UInt64), "detail": pl.Series(details, dtype=pl.String)}
    frame = pl.DataFrame(given).with_columns(source=pl.lit(name), problem=pl.lit("broken_row"))
    missing = [column for column in schema if column not in frame.columns]
    return frame.with_columns(empty(schema, missing)).select(list(schema))
