"""Clusters of prompts: their sizes, and prompts of each as examples."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from curate.schema.message import shown_turns

if TYPE_CHECKING:
    from curate.report.summary import Summary

EXAMPLES = 3  # prompts of each cluster
SHOWN_CHARS = 160


@dataclass(frozen=True, slots=True)
class Topic:
    """A cluster of prompts; `number` is its place, from 1, the largest first."""

    number: int
    name: str
    pairs: int
    kept: int
    prompts: list[str]


def topics(summary: "Summary") -> list[Topic]:
    """Return every cluster with a few of its prompts, chosen by their hash, those of kept pairs first."""
    if not summary.clusters:
        return []
    ledger = summary.run.ledger.select("pair_id", "kept").with_row_index("place")
    clusters = summary.run.stage("clusters").scan().select(pl.col("row").cast(pl.UInt32).alias("place"), "cluster")
    texts = summary.run.stage("pairs").scan().select("prompt_id", "prompt", "tools").with_row_index("place")
    members = (
        clusters.filter(pl.col("cluster") >= 0)
        .join(ledger, on="place")
        .join(texts.select("place", "prompt_id"), on="place")
        .sort("kept", "pair_id", descending=[True, False])
        .unique(["cluster", "prompt_id"], keep="first", maintain_order=True)
        .select("place", "cluster", rank=pl.int_range(pl.len()).over("cluster"))
        .filter(pl.col("rank") < EXAMPLES)
        .collect()
    )
    wanted = pl.col("place").is_in(members.get_column("place").implode())
    rows = members.join(texts.filter(wanted).collect(), on="place").sort("cluster", "rank").to_dicts()
    prompts: dict[int, list[str]] = {}
    for row in rows:
        prompts.setdefault(row["cluster"], []).append(first_words(shown_turns(row, "prompt")[-1]["content"]))
    names = summary.run.manifest.clusters.names if summary.run.manifest.clusters else []
    sizes = summary.cluster_rows.filter(pl.col("cluster") >= 0).group_by("cluster")
    return [
        Topic(cluster + 1, names[cluster], pairs, kept, prompts.get(cluster, []))
        for cluster, pairs, kept in sizes.agg(pl.len(), pl.col("kept").sum()).sort("cluster").iter_rows()
    ]


def first_words(text: str, most: int = SHOWN_CHARS) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else f"{line[:most]}…"
