"""Hits: which training row contains which eval item, and how much of it. One table for all ways of finding them."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import polars as pl

from curate.errors import RecipeError, unknown

HITS = pl.Schema({"row": pl.UInt64(), "eval_set": pl.String(), "item": pl.String(), "overlap": pl.Float64()})
# Intermediate hits: `at` is the item's position in the index.
FOUND = pl.Schema({"row": pl.Int64(), "at": pl.Int64(), "overlap": pl.Float64()})
FIELDS = ("prompt", "chosen", "rejected")


def row_texts(pairs: pl.DataFrame, fields: Sequence[str] = FIELDS) -> pl.Series:
    """
    Return the content of every message: list[str], one row per pair.

    in : prompt, chosen, rejected: list[message], or only those of them in `fields`

    All three are used by default: answers repeat questions, and half the text of a preference benchmark is answers.
    Raises RecipeError for unknown fields, and for none.
    """
    for field in fields:
        if field not in FIELDS:
            raise unknown("field to decontaminate", field, FIELDS)
    if not fields:
        raise RecipeError(f"no field to decontaminate is given; known: {', '.join(FIELDS)}")
    nothing = pl.lit([], pl.List(pl.String))
    contents = [pl.col(name).list.eval(pl.element().struct.field("content")).fill_null(nothing) for name in fields]
    return pairs.select(texts=pl.concat_list(nothing, *contents)).to_series()


def in_blocks(blocks: Iterable[pl.Series], find: Callable[[pl.Series], pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield the result of `find` (`hits`, `exact_hits`, `similar_hits`) per block; `row` counts over all blocks."""
    before = 0
    for block in blocks:
        yield find(block).with_columns(pl.col("row") + before)
        before += len(block)


def closest(hits: pl.DataFrame) -> pl.DataFrame:
    """Return the first hit, which is the closest, of every row that has any."""
    return hits.unique("row", keep="first", maintain_order=True)


def by_set(hits: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """
    Count hits per eval set.

    in : HITS of all rows, with `every` or without; the items of the index or of EvalVectors
    out: one row per eval set, in the order of the index:
         eval_set, items, hit: u32 (items found in any row), rows: u32 (rows that contain any of its items)
    """
    of_set = hits.group_by("eval_set").agg(hit=pl.col("item").n_unique(), rows=pl.col("row").n_unique())
    sets = items.group_by("eval_set", maintain_order=True).agg(items=pl.len())
    joined = sets.join(of_set, on="eval_set", how="left", maintain_order="left")
    return joined.with_columns(pl.col("items", "hit", "rows").fill_null(0).cast(pl.UInt32))


def to_hits(found: pl.DataFrame, items: pl.DataFrame, *, every: bool) -> pl.DataFrame:
    """Convert FOUND to HITS, sorted by row, then closest first; equally close items in the order of the index."""
    hits = greatest_overlaps(found) if every else needed_for_counts(found, items)
    names = items.select("eval_set", "item")[hits.get_column("at")]
    return hits.hstack(names).select(pl.col(name).cast(dtype) for name, dtype in HITS.items())


def greatest_overlaps(found: pl.DataFrame) -> pl.DataFrame:
    """Return the greatest overlap of every row and item, in the order of HITS."""
    ordered = found.sort("row", "overlap", "at", descending=[False, True, False])
    return ordered.unique(["row", "at"], keep="first", maintain_order=True)


def needed_for_counts(found: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """
    Return the FOUND rows that `by_set` and `closest` need, in the order of HITS, with one more column.

    `of_row` (bool) marks a row's closest item of each set. The other rows are each item's closest row.
    """
    hits = greatest_overlaps(found)
    sets = items.get_column("eval_set").rle_id()[hits.get_column("at")]  # items of one set are adjacent
    greatest = pl.col("row").sort_by("overlap", descending=True, maintain_order=True).first().over("at")
    hits = hits.with_columns(of_row=pl.struct(pl.col("row"), sets).is_first_distinct())
    return hits.filter(pl.col("of_row") | (pl.col("row") == greatest))


def flattened(texts: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """Return all texts of str or list[str] rows one after the other, and the row of each."""
    if not isinstance(texts.dtype, pl.List):
        return texts.cast(pl.String), np.arange(len(texts))
    rows = np.repeat(np.arange(len(texts)), texts.list.len().fill_null(0).to_numpy())
    return texts.explode(empty_as_null=False, keep_nulls=False).cast(pl.String), rows


def check_threshold(threshold: float) -> None:
    """Raise RecipeError unless 0 <= threshold < 1; no overlap is greater than 1."""
    if not 0 <= threshold < 1:
        raise RecipeError(f"threshold is {threshold:g}, expected 0 or more and less than 1")
