"""Tables in memory as inputs: polars and pandas frames, Arrow tables, Hugging Face datasets, lists of dicts."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from curate.errors import InputError
from curate.sources.decoded import cuts
from curate.sources.input import OFFERED, Feed
from curate.sources.raw_block import BLOCK_BYTES, RawBlock
from curate.sources.tables import blocks_of

ROWS = 2_000  # read from a table per batch; blocks are split by size afterwards
ACCEPTED = "a path, several paths, a polars or pandas frame, an Arrow table, a datasets.Dataset, or a list of dicts"


@contextmanager
def readable_paths(source: Any) -> Iterator[list[str]]:
    """
    Yield the recipe paths of any source. For a table in memory this is `memory:NAME`, which can be read within the
    `with` block. Raise InputError for an object that cannot be read.
    """
    if (paths := paths_of(source)) is not None:
        yield paths
        return
    feeds = table_feeds(source)
    path = f"memory:{feeds[0].name}"
    OFFERED[path] = feeds
    try:
        yield [path]
    finally:
        OFFERED.pop(path, None)


def paths_of(source: Any) -> list[str] | None:
    """Return the paths if the source is a path or several; None for a table in memory."""
    if isinstance(source, str | Path):
        return [str(source)]
    if isinstance(source, Sequence) and source and all(isinstance(each, str | Path) for each in source):
        return [str(each) for each in source]
    return None


def table_feeds(source: Any) -> list[Feed]:
    """Return a table in memory as feeds, one per split; the fingerprint is a hash of the content."""
    home = type(source).__module__.partition(".")[0]
    if isinstance(source, pl.LazyFrame):
        source = source.collect(engine="streaming")
    if isinstance(source, pl.DataFrame):
        return [_of_tables("frame", lambda: [source.to_arrow(compat_level=pl.CompatLevel.oldest())])]
    if isinstance(source, pa.Table):
        return [_of_tables("table", lambda: [source])]
    if home == "pandas" and hasattr(source, "columns"):
        return [_of_tables("frame", lambda: [pa.Table.from_pandas(source, preserve_index=False)])]
    if home == "datasets":
        splits = source if isinstance(source, Mapping) else {"dataset": source}
        return [_of_tables(str(name), _batches(split)) for name, split in splits.items()]
    if isinstance(source, Sequence) and not isinstance(source, str | bytes):
        return [_of_rows(source)]
    raise InputError(f"{type(source).__module__}.{type(source).__qualname__} cannot be read; expected {ACCEPTED}")


def _batches(split: Any) -> Callable[[], Iterable[pa.Table]]:
    return lambda: split.with_format("arrow").iter(ROWS)


def _of_tables(name: str, tables: Callable[[], Iterable[pa.Table]]) -> Feed:
    """Return a feed of Arrow tables."""

    def blocks() -> Iterator[RawBlock]:
        return blocks_of(batch for table in tables() for batch in table.to_batches(max_chunksize=ROWS))

    found = hashlib.sha256()
    for table in tables():
        for batch in table.combine_chunks().to_batches(max_chunksize=ROWS):
            found.update(str(batch.schema.remove_metadata()).encode())
            found.update(memoryview(batch.serialize()))
    return Feed(name, found.hexdigest()[:32], blocks)


def _of_rows(rows: Sequence[Any]) -> Feed:
    """Return a feed of a list of dicts with values of any kind."""
    if wrong := [(number, row) for number, row in enumerate(rows) if not isinstance(row, Mapping)]:
        number, row = wrong[0]
        raise InputError(f"row {number} is {type(row).__name__}; expected {ACCEPTED}")

    encode = msgspec.json.Encoder(enc_hook=str, order="deterministic").encode
    found = hashlib.sha256()
    sizes = np.zeros(len(rows), np.int64)
    for number, row in enumerate(rows):
        try:
            line = encode(row)
        except RecursionError as error:
            raise InputError(f"row {number} is nested too deeply") from error
        found.update(line)
        sizes[number] = len(line)

    def blocks() -> Iterator[RawBlock]:
        for part in cuts(sizes, BLOCK_BYTES, ROWS):
            chunk = rows[part]
            names = dict.fromkeys(str(name) for row in chunk for name in row)
            yield RawBlock({name: [row.get(name) for row in chunk] for name in names}, range(part.start, part.stop))

    return Feed("rows", found.hexdigest()[:32], blocks)
