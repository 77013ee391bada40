"""Sources as frames, for notebooks: rows in; PAIR and the rows that cannot become pairs out."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import polars as pl

from curate.errors import InputError
from curate.schema import PAIR, widened
from curate.sources import read as read_feed
from curate.sources.input import open_feeds
from curate.sources.memory import readable_paths
from curate.sources.problems import PART_OF_PAIRS

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
    format: str | None = None,  # noqa: A002 - named as in the recipe
    columns: Mapping[str, str] | None = None,
    winners: Mapping[Any, Sequence[Any]] | None = None,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    limit: int | None = None,
    errors: Errors = "warn",
) -> pl.DataFrame | tuple[pl.DataFrame, pl.DataFrame]:
    """
    Read preference data of any known format as a frame of PAIR, one row per pair.

    Parameters
    ----------
    source
        A file, folder, glob or Hub id (`OWNER/NAME`), several of them, or a table in memory: a polars or pandas frame,
        an Arrow table, a `datasets.Dataset` (or a dict of splits), a list of dicts.
    format
        A name of `curate.sources.formats.FORMATS`; None = detect it from the columns.
    columns
        Which columns to read, for any other format: `{"prompt": "q", "chosen": "good", "rejected": "bad"}`.
    winners
        Values of a `winner` column that mean a and b: `{"a": [1], "b": [2]}`.
    split, config, revision
        Split, configuration and revision of a Hub dataset, or the split of a `save_to_disk` folder.
    limit
        Read at most this many rows.
    errors
        What to do with rows that cannot become pairs (ties, missing answers, broken lines): "warn" skips them and warns
        how many there are and why, "raise" raises InputError, "return" returns them along with the pairs.

    Returns
    -------
    PAIR (see `curate.PAIR`); scores, strength and models are null where the source has none. With `errors="return"` a
    tuple of PAIR and a frame with source (str), source_row (u64), problem (str), detail (str).

    Raises
    ------
    InputError if the source does not exist, has no rows or no known format; MissingExtra for a Hub id without the
    extra `hub`.

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
    problems = problems.filter(~pl.col("problem").is_in(list(PART_OF_PAIRS)))
    if len(problems):
        counts = problems.get_column("problem").value_counts().sort("count", "problem", descending=[True, False])
        why = ", ".join(f"{name} {count:,}" for name, count in counts.iter_rows())
        message = f"{len(problems):,} of {rows:,} rows cannot become pairs ({why})"
        if errors == "raise":
            raise InputError(f'{message}; errors="return" returns them, errors="warn" skips them')
        warnings.warn(f'{message}; errors="return" returns them', stacklevel=2)
    return pairs


def as_pairs(pairs: Any) -> pl.DataFrame:
    """
    Return a frame with the columns of PAIR unchanged (including any signals in it); read anything else.

    The optional fields of messages, and `tools`, may be absent: they are null in what is returned.
    """
    if isinstance(pairs, pl.LazyFrame):
        pairs = pairs.collect(engine="streaming")
    if isinstance(pairs, pl.DataFrame):
        whole = widened(pairs)
        if all(whole.schema.get(name) == dtype for name, dtype in PAIR.items()):
            return whole
    return read(pairs)
