"""
Duplicate resolution: which of several similar pairs are dropped, and which one is kept instead. Duplicates are found
among prompts and responses; the decision is made per pair, by its score, the side it prefers, and the cluster's size.
"""

from collections.abc import Mapping
from typing import Literal

import polars as pl

# `duplicate_of` is the row that is kept instead, or the row it contradicts; value: see `resolve_duplicates`.
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
    Return DUPLICATES, one row per dropped pair, sorted by row.

    in : row (u64, unique), pair_id, flipped_id, prompt_id, and the column `best` if one is named.
         Where responses were compared: `group` (rows with equal or similar prompts), `chosen_cluster` and
         `rejected_cluster` (u64; similar responses of a group have the same number).
         For each of `clusters` its column (u64, null = alone), with the unit it counts and how many units it keeps:
         {"near": ("prompt_id", 1)} keeps one prompt with all its pairs, {"near": ("row", 1)} one pair.

    Rules apply in this order: equal pairs; contradictions; within a group, pairs of similar responses
    (`duplicate_responses`, or `near_contradiction` where they prefer the other side); units over the limit of a cluster
    (NAME_duplicate); pairs over max_pairs_per_prompt. The pair that is kept is the one with the highest `best` (null is
    lowest), of ties the first. Contradictions drop both sides, or with "vote" the side with fewer pairs (both, if
    equal). `value` is the number of pairs of the prompt for max_pairs_per_prompt, else null.
    """
    order = [pl.col(best).cast(pl.Float64).fill_nan(None)] if best else []
    ranked = pairs.sort(*order, "row", descending=[*[True] * len(order), False], nulls_last=True)
    votes = pl.len().over("pair_id") if exact else pl.lit(1, pl.UInt32)  # a kept pair counts its duplicates
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
    for cluster, (unit, limit) in (clusters or {}).items():
        drop(_over_cluster_limit(remaining, cluster, unit, limit))
    if max_pairs_per_prompt is not None:
        drop(_over_prompt_limit(remaining, max_pairs_per_prompt))
    return pl.concat(duplicates).sort("row")


def _repeated(remaining: pl.DataFrame, key: list[str], rule: str) -> pl.DataFrame:
    """Return all rows but the first of each key."""
    firsts = remaining.select("row", duplicate_of=pl.col("row").first().over(key))
    return _duplicates(firsts.filter(pl.col("row") != pl.col("duplicate_of")), rule)


def _opposed(remaining: pl.DataFrame, key: list[str], forward: pl.Expr, how: str, rule: str) -> pl.DataFrame:
    """
    Return the pairs that are dropped because pairs of the same key and responses prefer the other side.

    in : `one` and `two`, the two responses; `forward`: whether a pair prefers one to two
    """
    # A pair of two equal responses is its own opposite, so nothing contradicts it.
    sides = remaining.filter(pl.col("one") != pl.col("two")).with_columns(forward=forward)
    key = [*key, "one", "two"]
    votes = sides.select(
        "row",
        "forward",
        ahead=pl.col("votes").filter(pl.col("forward")).sum().over(key),
        behind=pl.col("votes").filter(~pl.col("forward")).sum().over(key),
        first=pl.col("row").filter(pl.col("forward")).first().over(key),
        first_behind=pl.col("row").filter(~pl.col("forward")).first().over(key),
    )
    own, others = (pl.when("forward").then(a).otherwise(b) for a, b in (("ahead", "behind"), ("behind", "ahead")))
    loses = others > 0 if how == "drop" else own <= others
    duplicate_of = pl.when("forward").then("first_behind").otherwise("first")
    return _duplicates(votes.filter(loses).select("row", duplicate_of=duplicate_of), rule)


def _over_cluster_limit(remaining: pl.DataFrame, cluster: str, unit: str, limit: int) -> pl.DataFrame:
    """Return the pairs of all units after the first `limit` of a cluster."""
    inside = remaining.filter(pl.col(cluster).is_not_null())
    units = inside.unique([cluster, unit], keep="first", maintain_order=True).select(
        cluster, unit, place=pl.int_range(pl.len()).over(cluster), duplicate_of=pl.col("row").first().over(cluster)
    )
    over = inside.join(units.filter(pl.col("place") >= limit), on=[cluster, unit])
    return _duplicates(over, f"{cluster}_duplicate")


def _over_prompt_limit(remaining: pl.DataFrame, limit: int) -> pl.DataFrame:
    of_prompt = remaining.select(
        "row",
        place=pl.int_range(pl.len()).over("prompt_id"),
        duplicate_of=pl.col("row").first().over("prompt_id"),
        pairs=pl.len().over("prompt_id"),
    )
    over = of_prompt.filter(pl.col("place") >= limit)
    return _duplicates(over, "max_pairs_per_prompt", pl.col("pairs"))


def _duplicates(rows: pl.DataFrame, rule: str, value: pl.Expr | None = None) -> pl.DataFrame:
    measured = pl.lit(None, pl.Float64) if value is None else value
    duplicates = rows.select(pl.col("row"), rule=pl.lit(rule), value=measured, duplicate_of="duplicate_of")
    return duplicates.cast(DUPLICATES).match_to_schema(DUPLICATES)
