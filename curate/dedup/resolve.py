"""
Who goes, and in favour of whom, when pairs are alike. Duplicates are found among prompts and responses; what happens is
decided by the pair: which one is best, which side it prefers, how many of its kind are there.
"""

from collections.abc import Mapping
from typing import Literal

import polars as pl

# `duplicate_of` is the row that is kept instead, or the one it contradicts; value: see `resolve_duplicates`.
DUPLICATES = pl.Schema({"row": pl.UInt64(), "rule": pl.String(), "value": pl.Float64(), "duplicate_of": pl.UInt64()})
Contradictions = Literal["drop", "vote", "keep"]


def resolve_duplicates(
    pairs: pl.DataFrame,
    *,
    exact: bool = True,
    contradictions: Contradictions = "drop",
    best: str | None = None,
    clusters: Mapping[str, tuple[str, int]] | None = None,
    max_pairs_per_prompt: int | None = None,
) -> pl.DataFrame:
    """
    in : row (u64, unique), pair_id, flipped_id, prompt_id, and the column `best` if one is named.
         Where responses were compared: `group` (rows with one prompt, or prompts that are alike), `chosen_cluster` and
         `rejected_cluster` (u64): responses of a group that are alike have the same number.
         For each of `clusters` its column (u64, null = alone), with what it is a cluster of and how many of these it
         keeps: {"near": ("prompt_id", 1)} keeps one prompt with all its pairs, {"near": ("row", 1)} one pair.
    out: CLAIMS, one row a dropped pair, sorted by row

    In this order: equal pairs; contradictions; of a group the pairs whose responses are alike (`duplicate_responses`,
    or `near_contradiction` where they prefer the other side); what is too much of a cluster (NAME_duplicate); what is
    beyond max_pairs_per_prompt. Who stays is the first, or the one with the highest `best` (null is lowest, ties go to
    the first). Of contradictions both sides go, or with "vote" the side of fewer pairs (both, where it is even).
    `value` is the number of pairs of the prompt for max_pairs_per_prompt, else null.
    """
    order = [pl.col(best).cast(pl.Float64).fill_nan(None)] if best else []
    ranked = pairs.sort(*order, "row", descending=[*[True] * len(order), False], nulls_last=True)
    votes = pl.len().over("pair_id") if exact else pl.lit(1, pl.UInt32)  # of those that stand for their equals
    remaining, duplicates = ranked.with_columns(votes=votes), [pl.DataFrame(schema=DUPLICATES)]

    def drop(found: pl.DataFrame) -> None:
        nonlocal remaining
        duplicates.append(found)
        remaining = remaining.join(found, on="row", how="anti", maintain_order="left")

    if exact:
        drop(_repeated(remaining, ["pair_id"], "duplicate_pair"))
    if contradictions != "keep":
        sides = remaining.with_columns(
            one=pl.min_horizontal("pair_id", "flipped_id"), two=pl.max_horizontal("pair_id", "flipped_id")
        )
        drop(_opposed(sides, [], pl.col("pair_id") == pl.col("one"), contradictions, "contradiction"))
    if "chosen_cluster" in remaining.columns:
        both = ["chosen_cluster", "rejected_cluster"]
        one, two, key = pl.min_horizontal(both), pl.max_horizontal(both), ["group", *both]
        remaining = remaining.with_columns(one=one, two=two, votes=pl.col("votes").sum().over(key))
        drop(_repeated(remaining, key, "duplicate_responses"))
        if contradictions != "keep":
            forward = pl.col("chosen_cluster") == pl.col("one")
            drop(_opposed(remaining, ["group"], forward, contradictions, "near_contradiction"))
    for cluster, (unit, most) in (clusters or {}).items():
        drop(_crowded(remaining, cluster, unit, most))
    if max_pairs_per_prompt is not None:
        drop(_over_cap(remaining, max_pairs_per_prompt))
    return pl.concat(duplicates).sort("row")


def _repeated(remaining: pl.DataFrame, key: list[str], rule: str) -> pl.DataFrame:
    """All but the first of a key."""
    firsts = remaining.select("row", duplicate_of=pl.col("row").first().over(key))
    return _duplicates(firsts.filter(pl.col("row") != pl.col("duplicate_of")), rule)


def _opposed(remaining: pl.DataFrame, key: list[str], forward: pl.Expr, how: str, rule: str) -> pl.DataFrame:
    """
    in : `one` and `two`, what is preferred to each other; `forward` says of a pair that it prefers one to two
    out: those of a key and one and two that go because others of them prefer the other side
    """
    # A pair of two equal responses is its own opposite: nothing contradicts it.
    sides = remaining.filter(pl.col("one") != pl.col("two")).with_columns(forward=forward)
    key = [*key, "one", "two"]
    told = sides.select(
        "row",
        "forward",
        ahead=pl.col("votes").filter(pl.col("forward")).sum().over(key),
        behind=pl.col("votes").filter(~pl.col("forward")).sum().over(key),
        first=pl.col("row").filter(pl.col("forward")).first().over(key),
        first_behind=pl.col("row").filter(~pl.col("forward")).first().over(key),
    )
    own, others = (pl.when("forward").then(a).otherwise(b) for a, b in (("ahead", "behind"), ("behind", "ahead")))
    loses = others > 0 if how == "drop" else (others > 0) & (own <= others)
    duplicate_of = pl.when("forward").then("first_behind").otherwise("first")
    return _duplicates(told.filter(loses).select("row", duplicate_of=duplicate_of), rule)


def _crowded(remaining: pl.DataFrame, cluster: str, unit: str, most: int) -> pl.DataFrame:
    """Pairs of the units that come after the first `most` of a cluster."""
    inside = remaining.filter(pl.col(cluster).is_not_null())
    units = inside.unique([cluster, unit], keep="first", maintain_order=True).select(
        cluster, unit, place=pl.int_range(pl.len()).over(cluster), duplicate_of=pl.col("row").first().over(cluster)
    )
    over = inside.join(units.filter(pl.col("place") >= most), on=[cluster, unit])
    return _duplicates(over, f"{cluster}_duplicate")


def _over_cap(remaining: pl.DataFrame, most: int) -> pl.DataFrame:
    of_prompt = remaining.select(
        "row",
        place=pl.int_range(pl.len()).over("prompt_id"),
        duplicate_of=pl.col("row").first().over("prompt_id"),
        pairs=pl.len().over("prompt_id"),
    )
    over = of_prompt.filter(pl.col("place") >= most)
    return _duplicates(over, "max_pairs_per_prompt", pl.col("pairs"))


def _duplicates(rows: pl.DataFrame, rule: str, value: pl.Expr | None = None) -> pl.DataFrame:
    measured = pl.lit(None, pl.Float64) if value is None else value
    duplicates = rows.select(pl.col("row"), rule=pl.lit(rule), value=measured, duplicate_of="duplicate_of")
    return duplicates.cast(DUPLICATES).match_to_schema(DUPLICATES)
