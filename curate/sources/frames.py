"""Sources as frames, for a notebook: rows in, PAIR out, and what could not become a pair."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import polars as pl

from curate.errors import InputError
from curate.schema import PAIR
from curate.sources import read as read_feed
from curate.sources.input import open_feeds
from curate.sources.memory import readable_paths

PROBLEMS = ("source", "source_row", "problem", "detail")
Errors = Literal["warn", "raise", "return"]


@overload
def read(
    source: Any,
    *,
    format: str | None = ...,
    columns: Mapping[str, str] | None = ...,
    winners: Mapping[Any, Sequence[Any]] | None = ...,
    split: str | None = ...,
    config: str | None = ...,
    revision: str | None = ...,
    limit: int | None = ...,
    errors: Literal["warn", "raise"] = ...,
) -> pl.DataFrame: ...
@overload
def read(
    source: Any,
    *,
    format: str | None = ...,
    columns: Mapping[str, str] | None = ...,
    winners: Mapping[Any, Sequence[Any]] | None = ...,
    split: str | None = ...,
    config: str | None = ...,
    revision: str | None = ...,
    limit: int | None = ...,
    errors: Literal["return"],
) -> tuple[pl.DataFrame, pl.DataFrame]: ...
def read(  # noqa: PLR0913 - the options of a source
    source: Any,
    *,
    format: str | None = None,  # noqa: A002 - the recipe's word
    columns: Mapping[str, str] | None = None,
    winners: Mapping[Any, Sequence[Any]] | None = None,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    limit: int | None = None,
    errors: Errors = "warn",
) -> pl.DataFrame | tuple[pl.DataFrame, pl.DataFrame]:
    """
    Read preference data of any known shape as a frame of PAIR, one row per pair.

    Parameters
    ----------
    source
        A file, folder, glob or Hub id (`OWNER/NAME`), several of them, or a table in memory: a polars or pandas frame,
        an Arrow table, a `datasets.Dataset` (or a dict of splits), a list of dicts.
    format
        A name of `curate.sources.formats.FORMATS`; None = detect it from the columns.
    columns
        Which columns to read, for any other shape: `{"prompt": "q", "chosen": "good", "rejected": "bad"}`.
    winners
        What a `winner` column says for a and for b: `{"a": [1], "b": [2]}`.
    split, config, revision
        Of a Hub dataset, or a split of a `save_to_disk` folder.
    limit
        Read this many rows at most.
    errors
        What to do about rows that cannot become pairs (ties, missing answers, broken lines): "warn" leaves them out and
        says how many and why, "raise" raises, "return" returns them beside the pairs.

    Returns
    -------
    PAIR (see `curate.PAIR`); scores, strength and models are null where the source does not say. With
    `errors="return"` a tuple of it and a frame with source (str), source_row (u64), problem (str), detail (str).

    Raises
    ------
    InputError for what is not there, has no rows or no known shape; MissingExtra for a Hub id without the extra `hub`.

    Examples
    --------
    >>> import curate
    >>> rows = [
    ...     {"prompt": "Tea?", "chosen": "Green tea, brewed cool.", "rejected": "Tea is a drink."},
    ...     {"prompt": "Milk?", "chosen": "A splash, added last.", "rejected": None},
    ... ]
    >>> pairs, problems = curate.read(rows, errors="return")
    >>> pairs.height, problems.select("source_row", "problem").rows()
    (1, [(1, 'missing_rejected')])
    """
    with readable_paths(source) as paths:
        feeds = open_feeds(paths, split=split, config=config, revision=revision)
        blocks: list[pl.DataFrame] = []
        rows = 0
        for feed in feeds:
            for block, _ in read_feed(feed, format=format, columns=columns, winners=winners):
                blocks.append(block.head(limit - rows) if limit else block)
                rows += len(blocks[-1])
                if limit and rows >= limit:
                    break
    if not rows:
        raise InputError(f"{', '.join(paths)}: no rows to read")
    staged = pl.concat(blocks)
    pairs = staged.filter(pl.col("problem").is_null()).select(list(PAIR))
    problems = staged.filter(pl.col("problem").is_not_null()).select(PROBLEMS)
    if errors == "return":
        return pairs, problems
    if len(problems):
        counts = problems.get_column("problem").value_counts().sort("count", "problem", descending=[True, False])
        why = ", ".join(f"{name} {count:,}" for name, count in counts.iter_rows())
        message = f"{len(problems):,} of {rows:,} rows are no pairs ({why})"
        if errors == "raise":
            raise InputError(f'{message}; errors="return" gives them, errors="warn" leaves them out')
        warnings.warn(f'{message}; errors="return" gives them', stacklevel=2)
    return pairs


def as_pairs(pairs: Any) -> pl.DataFrame:
    """Return a frame that has the columns of PAIR as it is (signals beside them stay), and read anything else."""
    if isinstance(pairs, pl.LazyFrame):
        pairs = pairs.collect(engine="streaming")
    if isinstance(pairs, pl.DataFrame) and all(pairs.schema.get(name) == dtype for name, dtype in PAIR.items()):
        return pairs
    return read(pairs)
