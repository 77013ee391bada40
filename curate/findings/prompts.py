"""Findings between pairs: several of one prompt, cycles, leaks between splits, voters that oppose all others."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from curate.findings.bias import SHOWN, wilson
from curate.findings.kinds import BY_NAME
from curate.findings.result import Hits
from curate.findings.rows import of_rows

LEAST_CYCLE, LEAST_VOTES, LEAST_VOTERS = 3, 10, 3
LEAST_PROMPTS, LEAST_SHARE = 10, 0.005  # that one answer must have
# A name of a split in the name of an input: data/train-00000-of-00002.parquet, my_test.jsonl, validation.
SPLIT_NAMES = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test", "eval": "test", "heldout": "test", "holdout": "test",
}  # fmt: skip
# Ids as 64-bit hashes. A response's is that of its texts and calls, with the ends trimmed.
TEXTS = {side: pl.col(side).list.eval(
    pl.concat_str(pl.element().struct.field("content", "tool_calls"), ignore_nulls=True)
).list.join("\n\n").str.strip_chars() for side in ("chosen", "rejected")}  # fmt: skip


def pair_ids(pairs: pl.LazyFrame) -> pl.DataFrame:
    """Return row, feed, prompt, pair, flipped (u64 hashes) of every pair; `pairs` has row, feed and PAIR's ids."""
    ids = {"prompt": "prompt_id", "pair": "pair_id", "flipped": "flipped_id"}
    hashes = [pl.col(column).hash().alias(name) for name, column in ids.items()]
    return pairs.select("row", "feed", "source", *hashes).collect(engine="streaming")


def several(ids: pl.DataFrame, examples: int) -> list[Hits]:
    """Return the pairs whose prompt has other pairs."""
    found = ids.filter(pl.len().over("prompt") > 1)
    prompts = found.get_column("prompt").n_unique()
    return [
        Hits(one.code, one.count, one.rows, one.details, f"{len(found):,} pairs of {prompts:,} prompts")
        for one in of_rows("several_pairs_per_prompt", found.get_column("row"), examples)
    ]


def repeated(pairs: pl.LazyFrame, total: int, examples: int) -> list[Hits]:
    """Return the answers that many different prompts get, on either side; `total` = number of pairs."""
    sides = [
        pairs.select("row", prompt=pl.col("prompt_id").hash(), answer=TEXTS[side].hash(), side=pl.lit(side))
        for side in TEXTS
    ]
    counts = (
        pl.concat(sides)
        .group_by("answer")
        .agg(
            prompts=pl.col("prompt").n_unique(),
            rows=pl.col("row").n_unique(),
            chosen=(pl.col("side") == "chosen").sum(),
            n=pl.len(),
            first=pl.col("row").unique().sort().head(examples),
        )
        .filter(pl.col("prompts") >= max(LEAST_PROMPTS, LEAST_SHARE * total))
        .sort("prompts", "answer", descending=True)
        .head(SHOWN)
        .collect(engine="streaming")
    )
    return [
        Hits(
            BY_NAME["repeated_answer"].code,
            rows,
            tuple(first),
            ("",) * len(first),
            f"one text answers {prompts:,} different prompts, and is chosen in {chosen / n:.0%} of {n:,} pairs",
        )
        for prompts, rows, chosen, n, first in counts.drop("answer").iter_rows()
    ]


def cycles(pairs: pl.LazyFrame, ids: pl.DataFrame, examples: int) -> list[Hits]:
    """Return the pairs that are part of a preference cycle; only texts of prompts with three pairs or more are read."""
    many = ids.filter(pl.len().over("prompt") >= LEAST_CYCLE).select("row")
    if many.is_empty():
        return []
    edges = (
        pairs.join(many.lazy(), on="row", how="semi")
        .select("row", "prompt_id", *(text.alias(side) for side, text in TEXTS.items()))
        .select("row", *(pl.struct("prompt_id", side).hash().alias(side) for side in TEXTS))
        .collect(engine="streaming")
    )
    return of_rows("preference_cycle", cyclic(edges), examples)


def cyclic(edges: pl.DataFrame) -> pl.Series:
    """
    Return the rows of edges within a strongly connected component of three or more nodes.

    in : row, chosen, rejected (u64: nodes). Edges with an opposite one are contradictions, and left out.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, two = pl.min_horizontal("chosen", "rejected"), pl.max_horizontal("chosen", "rejected")
    directed = edges.filter((pl.col("chosen") == one).n_unique().over(one, two) == 1)
    directed = directed.filter(pl.col("chosen") != pl.col("rejected"))
    nodes, ends = np.unique(directed.select("chosen", "rejected").to_numpy().ravel(), return_inverse=True)
    start, end = ends.reshape(-1, 2).T
    if not len(start):
        return edges.get_column("row").clear()
    graph = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(len(nodes), len(nodes)))
    _, label = connected_components(graph, directed=True, connection="strong")
    inside = (label[start] == label[end]) & (np.bincount(label)[label[start]] >= LEAST_CYCLE)
    return directed.filter(pl.Series(inside)).get_column("row")


def split_of(feeds: Sequence[str]) -> list[str | None]:
    """
    Return the split that the name of each input tells; null where it tells none.

    >>> split_of(["data/train-00000-of-00001.parquet", "my_test.jsonl", "contest.jsonl"])
    ['train', 'test', None]
    """
    words = ["".join(c if c.isalpha() else " " for c in name.lower()).split() for name in feeds]
    return [next((SPLIT_NAMES[word] for word in reversed(each) if word in SPLIT_NAMES), None) for each in words]


def leaks(ids: pl.DataFrame, near: pl.DataFrame, examples: int) -> list[Hits]:
    """
    Return pairs of one split that are also in an earlier one: by prompt, word for word, and by near-duplicate prompts.

    in : `ids` with split (str, null = unknown); near: row, other (u32, both of near-duplicate prompts)
    """
    known = ids.drop_nulls("split")
    if known.get_column("split").n_unique() < 2:
        return []
    first = pl.col("split").sort_by("order").first()
    order = {"train": 0, "validation": 1, "test": 2}
    known = known.with_columns(order=pl.col("split").replace_strict(order, default=3, return_dtype=pl.Int8))
    prompts = known.filter(first.over("prompt") != pl.col("split"))
    pairs = known.filter(first.over("pair") != pl.col("split"))
    ends = near.join(known.select("row", "order"), on="row").join(known.select(other="row", before="order"), on="other")
    later = pl.when(pl.col("order") > pl.col("before")).then("row").otherwise("other")
    crossing = ends.filter(pl.col("order") != pl.col("before")).select(row=later)
    return [
        *of_rows("prompt_in_two_splits", prompts.get_column("row"), examples),
        *of_rows("pair_in_two_splits", pairs.get_column("row"), examples),
        *of_rows("near_prompt_in_two_splits", crossing.get_column("row").unique(), examples),
    ]


def opposed(ids: pl.DataFrame, voter: str, name: str, examples: int) -> list[Hits]:
    """
    Return the rows of voters who mostly disagree with the majority of all others, in a kind of that name.

    in : `ids`; `voter`: its column of annotators or sources
    """
    sides = ids.drop_nulls(voter).select(
        "row",
        voter=pl.col(voter),
        comparison=pl.min_horizontal("pair", "flipped"),
        vote=pl.when(pl.col("pair") < pl.col("flipped")).then(1).otherwise(-1),
    )
    if sides.get_column("voter").n_unique() < LEAST_VOTERS:
        return []
    others = pl.col("vote").sum().over("comparison") - pl.col("vote").sum().over("comparison", "voter")
    votes = sides.with_columns(others=others.sign()).filter(pl.col("others") != 0)
    counts = votes.group_by("voter").agg(
        n=pl.len(), agreed=(pl.col("vote") == pl.col("others")).sum(), rows=pl.col("row").sort().head(examples)
    )
    found = []
    for who, n, agreed, rows in counts.filter(pl.col("n") >= LEAST_VOTES).sort("voter").iter_rows():
        if wilson(agreed, n)[1] < 0.5:
            what = f"{who!r} agrees with the majority of all others in {agreed / n:.0%} of {n:,} comparisons"
            found.append(Hits(BY_NAME[name].code, n - agreed, tuple(rows), (str(who),) * len(rows), what, n))
    return found
