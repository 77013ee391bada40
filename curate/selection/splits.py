"""Splits by cluster: similar pairs are in the same split, sizes are as requested, and a hash makes the assignment."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import polars as pl

from curate.schema import digest

HEX_DIGITS = 13  # 52 bits, which a float represents exactly


def split(pairs: pl.DataFrame, shares: Mapping[str, float], *, salt: str) -> pl.Series:
    """
    Assign a split to every row: a key of `shares`, else "train".

    in : prompt_id (str); cluster (u64; rows of one cluster stay together, and all rows of a prompt must be in one);
         optionally `stratum` (str, null is a stratum of its own), in each of which the shares are met
    out: `split` (str), one per row. It depends on these columns, the shares and the salt alone, not on the row order.

    A share (0 to 1) is of the rows. It is met exactly while there are clusters small enough, if necessary in other
    strata: a cluster larger than the number of rows still missing stays in train. A cluster's stratum is that of most
    of its rows. Clusters are assigned in the order of a hash, so that added rows move few others.
    """
    clusters = _clusters(pairs, salt)
    sizes = clusters.get_column("size").to_numpy()
    splits = np.full(len(clusters), "train", dtype=object)

    def take(first: int, stop: int, name: str, wanted: int) -> None:
        free = np.arange(first, stop)[splits[first:stop] == "train"]
        splits[free[_filled(sizes[free], wanted)]] = name

    ends = np.append(0, np.cumsum(sizes))
    starts = np.flatnonzero(clusters.get_column("stratum").rle_id().diff().fill_null(1).to_numpy())
    for first, stop in pairwise([*starts, len(clusters)]):
        for name, share in shares.items():
            # Rounded at both ends, so that the numbers of many small strata add up to the total.
            take(first, stop, name, round(share * ends[stop]) - round(share * ends[first]))
    for name, share in shares.items():  # rows for which no cluster of a stratum was small enough
        take(0, len(clusters), name, round(share * len(pairs)) - int(sizes[splits == name].sum()))
    by_cluster = clusters.select("cluster", split=pl.Series(splits, dtype=pl.String))
    return pairs.join(by_cluster, on="cluster", how="left", maintain_order="left").get_column("split")


def _clusters(pairs: pl.DataFrame, salt: str) -> pl.DataFrame:
    """Return cluster, size, stratum, sorted by stratum, then by a hash of the cluster's first prompt_id."""
    stratum = pl.col("stratum").mode().sort().first() if "stratum" in pairs.columns else pl.lit(None, pl.String)
    clusters = pairs.group_by("cluster").agg(size=pl.len(), prompt_id=pl.col("prompt_id").min(), stratum=stratum)
    place = digest(pl.concat_str(pl.lit(salt), pl.lit("|"), "prompt_id")).str.head(HEX_DIGITS).str.to_integer(base=16)
    return clusters.sort("stratum", place, "prompt_id")


def _filled(sizes: np.ndarray, wanted: int) -> np.ndarray:
    """Return the indices of clusters, taken in their order unless too large, whose sizes add up to `wanted`."""
    taken = np.zeros(len(sizes), bool)
    remaining = np.arange(len(sizes))
    while wanted > 0:
        remaining = remaining[sizes[remaining] <= wanted]
        fit = np.cumsum(sizes[remaining]) <= wanted
        if not fit.any():
            break
        taken[remaining[fit]] = True
        wanted -= int(sizes[remaining[fit]].sum())
        remaining = remaining[~fit]
    return np.flatnonzero(taken)
