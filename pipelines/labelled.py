"""
Labelled pairs in parts: held-out ones, those for development, and examples.

Similar prompts are never in two parts, nor twice in one: all pairs of a sample are independent of each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from curate.errors import InputError
from curate.recipe.load import Recipe
from curate.rundir.stage import Stage
from curate.rundir.store import Store
from curate.schema import digest
from curate.stages.read import read_pairs
from curate.stages.split import prompt_groups
from curate.stages.vectors import frame_corpus

MORE = 4  # times as many prompts are read where similar ones leave too few


@dataclass(frozen=True, slots=True)
class Labelled:
    """A sample of labelled pairs. `parts`: STAGED by name; the source of all is the part, source_row their place."""

    parts: Mapping[str, pl.DataFrame]
    inputs: Mapping[str, Any]  # by name: fingerprint, rows, format
    rows: int  # read
    left_out: Mapping[str, int]  # rows that label no pair, by their problem


def read_labelled(recipe: Recipe, sizes: Mapping[str, int], *, spare: int = 0) -> Labelled:
    """
    Read the recipe's source and draw parts of these sizes; the last one takes up to `spare` pairs more.

    Pairs are drawn in the order of a hash of their prompts and `split.salt`, whatever the order of the rows. Left out
    are ties and unreadable rows, pairs of two identical answers, and those that are labelled both ways. Raises
    InputError if there are too few.
    """
    needed = sum(sizes.values())
    with TemporaryDirectory(prefix="prefcurate-") as folder:
        store = Store(Path(folder))
        stage = read_pairs(store, recipe)
        rows = _with_problems(stage.scan().select("prompt_id", "pair_id", "flipped_id", "problem").collect())
        drawn = _drawn(store, stage, recipe, rows, needed + spare)
        inputs = (stage.info or {})["inputs"]
    problems = rows.get_column("problem").drop_nulls().value_counts().sort("count", "problem", descending=[True, False])
    left_out = dict(problems.iter_rows())
    if len(drawn) < needed:
        wanted = ", ".join(f"{size:,} {name}" for name, size in sizes.items() if size)
        without = "".join(f", {count:,} {name}" for name, count in left_out.items())
        raise InputError(
            f"{needed:,} labelled pairs with different prompts are needed ({wanted}), and there are {len(drawn):,} "
            f"in {len(rows):,} rows{f' (left out:{without[1:]})' if without else ''}; add pairs, or ask for fewer"
        )
    parts, start = dict[str, pl.DataFrame](), 0
    for name, size in sizes.items():
        last = name == list(sizes)[-1]
        parts[name] = _renumbered(drawn.slice(start, None if last else size), name)
        start += size
    return Labelled(parts, inputs, len(rows), left_out)


def _with_problems(rows: pl.DataFrame) -> pl.DataFrame:
    """Return row numbers beside the ids, and the problem of those that label nothing."""
    both_ways = pl.col("flipped_id").is_in(pl.col("pair_id").drop_nulls().implode())
    problem = (
        pl.when(pl.col("problem").is_not_null())
        .then("problem")
        .when(pl.col("pair_id") == pl.col("flipped_id"))
        .then(pl.lit("identical"))
        .when(both_ways)
        .then(pl.lit("labelled_both_ways"))
    )
    return rows.with_columns(problem=problem).with_row_index("row")


def _drawn(store: Store, stage: Stage, recipe: Recipe, rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """Return up to `most` pairs in the order of the hash, one of each group of similar prompts."""
    place = digest(pl.concat_str(pl.lit(recipe.split.salt), "prompt_id", separator="|"))
    order = rows.filter(pl.col("problem").is_null()).sort(place, "pair_id", "row")
    order = order.unique("prompt_id", keep="first", maintain_order=True).select("row").with_row_index("place")
    size = 2 * most
    while True:
        chosen = order.head(size).lazy()
        found = stage.scan().with_row_index("row").join(chosen, on="row").sort("place").collect()
        ids = found.select("prompt_id", row=pl.int_range(pl.len(), dtype=pl.UInt64))
        groups = prompt_groups(recipe, frame_corpus(store, found), ids)
        different = found.filter(pl.Series(groups).is_first_distinct()).drop("row", "place")
        if len(different) >= most or size >= len(order):
            return different.head(most)
        size *= MORE


def _renumbered(pairs: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return the pairs with a source and row of their own: those of several files, or of one ranking, may be equal."""
    return pairs.with_columns(source=pl.lit(name), source_row=pl.int_range(pl.len(), dtype=pl.UInt64))
