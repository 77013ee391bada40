"""What is found, in one table for every way of finding it: which training row holds which eval item, how much of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import polars as pl

from curate.errors import RecipeError, unknown

HITS = pl.Schema({"row": pl.UInt64(), "eval_set": pl.String(), "item": pl.String(), "overlap": pl.Float64()})
# The same while it is made: `at` is the item's place in the index.
FOUND = pl.Schema({"row": pl.Int64(), "at": pl.Int64(), "overlap": pl.Float64()})
FIELDS = ("prompt", "chosen", "rejected")


def row_texts(pairs: pl.DataFrame, fields: Sequence[str] = FIELDS) -> pl.Series:
    """
    in : prompt, chosen, rejected: list[message]; or of those only `fields`
    out: list[str], one row a pair: the content of every message

    All three by default: answers repeat questions, and a preference benchmark has half of its text in the answers.
    """
    for field in fields:
        if field not in FIELDS:
            raise unknown("field to decontaminate", field, FIELDS)
    if not fields:
        raise RecipeError(f"no field to decontaminate is named; known: {', '.join(FIELDS)}")
    nothing = pl.lit([], pl.List(pl.String))
    contents = [pl.col(name).list.eval(pl.element().struct.field("content")).fill_null(nothing) for name in fields]
    return pairs.select(texts=pl.concat_list(nothing, *contents)).to_series()


def in_blocks(blocks: Iterable[pl.Series], find: Callable[[pl.Series], pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """What `find` (`hits`, `exact_hits` or `similar_hits`) says of every block; `row` counts through all of them."""
    before = 0
    for block in blocks:
        yield find(block).with_columns(pl.col("row") + before)
        before += len(block)


def closest(hits: pl.DataFrame) -> pl.DataFrame:
    """HITS, one for every row that has any: its first, which is its closest."""
    return hits.unique("row", keep="first", maintain_order=True)


def by_set(hits: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """
    in : HITS of all rows, every one or not; the items of the index (of EvalVectors)
    out: one row an eval set, in the order of the index:
         eval_set, items, hit: u32 (items that some row holds), rows: u32 (that hold one of its items)
    """
    of_set = hits.group_by("eval_set").agg(hit=pl.col("item").n_unique(), rows=pl.col("row").n_unique())
    sets = items.group_by("eval_set", maintain_order=True).agg(items=pl.len())
    joined = sets.join(of_set, on="eval_set", how="left", maintain_order="left")
    return joined.with_columns(pl.col("items", "hit", "rows").fill_null(0).cast(pl.UInt32))


def to_hits(found: pl.DataFrame, items: pl.DataFrame, *, every: bool) -> pl.DataFrame:
    """FOUND as HITS: by row, a row's closest first, of equally close ones the first of the index."""
    hits = in_order(found) if every else fewest(found, items)
    names = items.select("eval_set", "item")[hits.get_column("at")]
    return hits.hstack(names).select(pl.col(name).cast(dtype) for name, dtype in HITS.items())


def in_order(found: pl.DataFrame) -> pl.DataFrame:
    """The greatest overlap of every row and item, in the order of HITS."""
    ordered = found.sort("row", "overlap", "at", descending=[False, True, False])
    return ordered.unique(["row", "at"], keep="first", maintain_order=True)


def fewest(found: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """
    FOUND without what `by_set` and `closest` do not need, in the order of HITS, and a column more:
    `of_row`: bool, the row's closest item of a set. The others are there for their item, whose closest row this is.
    """
    hits = in_order(found)
    sets = items.get_column("eval_set").rle_id()[hits.get_column("at")]  # items of one set stand together
    greatest = pl.col("row").sort_by("overlap", descending=True, maintain_order=True).first().over("at")
    hits = hits.with_columns(of_row=pl.struct(pl.col("row"), sets).is_first_distinct())
    return hits.filter(pl.col("of_row") | (pl.col("row") == greatest))


def flat(texts: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """All texts one after the other, from one a row or several; and the row of each."""
    if not isinstance(texts.dtype, pl.List):
        return texts.cast(pl.String), np.arange(len(texts))
    rows = np.repeat(np.arange(len(texts)), texts.list.len().fill_null(0).to_numpy())
    return texts.explode(empty_as_null=False, keep_nulls=False).cast(pl.String), rows


def above(threshold: float) -> None:
    """Raise for what is no share of a whole, or all of it: nothing is more than that."""
    if not 0 <= threshold < 1:
        raise RecipeError(f"the threshold is {threshold:g}; expected is 0 or more and less than 1")
