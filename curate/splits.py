"""Splits by cluster: what is alike stays on one side, the sizes are those asked for, and a hash says who goes where."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import polars as pl

from curate.schema import digest

HEX = 13  # 52 bits: every such number is exact as a float


def split(pairs: pl.DataFrame, shares: Mapping[str, float], *, salt: str) -> pl.Series:
    """
    in : prompt_id (str), cluster (u64: rows of one number stay together; those of one prompt must have one), and where
         each share is to be met in every `stratum`, that column (str, null is one of its own)
    out: `split` (str), one a row: a key of `shares`, else "train". A function of these columns, the shares and the
         salt alone, whatever the order of rows.

    A share (0..1) is of the rows, and met to the row as long as there are clusters small enough (in other strata, if
    not in each): a cluster larger than what is still missing stays in train. A cluster's stratum is that of most of its
    rows. Clusters are taken in the order of a hash, so that rows that are added move few others.
    """
    clusters = _clusters(pairs, salt)
    sizes = clusters.get_column("size").to_numpy()
    side = np.full(len(clusters), "train", dtype=object)

    def take(first: int, stop: int, name: str, wanted: int) -> None:
        free = np.arange(first, stop)[side[first:stop] == "train"]
        side[free[_filled(sizes[free], wanted)]] = name

    ends = np.append(0, np.cumsum(sizes))
    starts = np.flatnonzero(clusters.get_column("stratum").rle_id().diff().fill_null(1).to_numpy())
    for first, stop in pairwise([*starts, len(clusters)]):
        for name, share in shares.items():
            # Rounded at both ends, so that what many small strata get adds up.
            take(first, stop, name, round(share * ends[stop]) - round(share * ends[first]))
    for name, share in shares.items():  # what no cluster of a stratum was small enough for
        take(0, len(clusters), name, round(share * len(pairs)) - int(sizes[side == name].sum()))
    sides = clusters.select("cluster", split=pl.Series(side, dtype=pl.String))
    return pairs.join(sides, on="cluster", how="left", maintain_order="left").get_column("split")


def _clusters(pairs: pl.DataFrame, salt: str) -> pl.DataFrame:
    """cluster, size, stratum: stratum by stratum, in the order of a hash of the first of a cluster's prompts."""
    stratum = pl.col("stratum").mode().sort().first() if "stratum" in pairs.columns else pl.lit(None, pl.String)
    clusters = pairs.group_by("cluster").agg(size=pl.len(), prompt_id=pl.col("prompt_id").min(), stratum=stratum)
    place = digest(pl.concat_str(pl.lit(salt), pl.lit("|"), "prompt_id")).str.head(HEX).str.to_integer(base=16)
    return clusters.sort("stratum", place, "prompt_id")


def _filled(sizes: np.ndarray, wanted: int) -> np.ndarray:
    """Places of clusters, in their order and without those that are too large, whose sizes make up what is wanted."""
    taken = np.zeros(len(sizes), bool)
    left = np.arange(len(sizes))
    while wanted > 0:
        left = left[sizes[left] <= wanted]
        fit = np.cumsum(sizes[left]) <= wanted
        if not fit.any():
            break
        taken[left[fit]] = True
        wanted -= int(sizes[left[fit]].sum())
        left = left[~fit]
    return np.flatnonzero(taken)
