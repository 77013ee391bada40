"""Remaining pairs → named prompt clusters with map positions, and the pairs that are not selected."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import polars as pl

from curate.recipe.data import Select
from curate.recipe.load import Recipe
from curate.rundir.stage import Stage
from curate.rundir.store import Store, fingerprint
from curate.schema import digest
from curate.selection import cap, map_2d, prompt_clusters
from curate.selection import select as choose
from curate.stages.remaining import DROPS, Remaining, best_of
from curate.stages.vectors import run_corpus

VERSION = 2
# One row per remaining pair: the cluster of its prompt (-1: none), and its position on the map, null if not shown.
CLUSTERS = pl.Schema({"row": pl.UInt64(), "cluster": pl.Int64(), "x": pl.Float64(), "y": pl.Float64()})


def has_diversity(recipe: Recipe) -> bool:
    """Whether the recipe needs vectors of prompts anyway; then the report shows prompt clusters."""
    asks = recipe.dedup.semantic, recipe.split.clusters == "semantic", recipe.split.stratify == "cluster"
    return recipe.select is not None or any(asks)


def vector_model(recipe: Recipe) -> str | None:
    """Return the embedding model of the recipe: the first named one, used wherever none is named; None = default."""
    sections = (recipe.select, recipe.dedup.semantic)
    return next((section.model for section in sections if section and section.model), None)


def cluster(store: Store, recipe: Recipe, remaining: Remaining) -> Stage:
    """Write CLUSTERS in one part, and the clusters' names in the stage's info."""
    model, count = vector_model(recipe), recipe.select.clusters if recipe.select else None
    stage = store.stage("clusters", fingerprint("clusters", VERSION, model, count, remaining.key))
    if stage.info is None:
        rows = remaining.rows
        vectors = run_corpus(store, remaining).vectors("prompt", model)[rows]
        texts = pl.concat(list(remaining.texts("prompt")()))[rows]
        labels, names = prompt_clusters(vectors, texts, count)
        places = map_2d(vectors)
        frame = pl.DataFrame({"row": rows, "cluster": labels, "at": np.arange(len(rows))}).cast({"at": pl.UInt64})
        frame = frame.join(places.rename({"row": "at"}), on="at", how="left", maintain_order="left")
        stage.write(0, frame.select(list(CLUSTERS)).cast(CLUSTERS))
        stage.finish(names=names)
    return stage


def select(store: Store, recipe: Recipe, remaining: Remaining, clusters: Stage) -> Stage:
    """Write the rows that are not selected as DROPS; `value` is the rank by `select.by`, 1 for the best."""
    settings = recipe.select
    assert settings is not None  # noqa: S101 - only called with the section
    key = fingerprint("select", VERSION, settings.model_dump(mode="json"), clusters.key, remaining.key)
    stage = store.stage("select", key)
    if stage.info is None:
        by = best_of(settings.by)
        pairs = remaining.frame("pair_id", *([by] if by else []))
        labels = clusters.scan().select("cluster").collect().to_series().to_numpy()
        corpus = run_corpus(store, remaining)
        drops = not_selected(
            settings, pairs, labels, lambda: corpus.vectors("prompt", vector_model(recipe))[remaining.rows]
        )
        stage.write(0, drops.with_columns(matched=pl.lit(None, pl.String)).select(list(DROPS)).cast(DROPS))
        stage.finish(dropped=len(drops))
    return stage


def not_selected(
    settings: Select, pairs: pl.DataFrame, labels: np.ndarray, vectors: Callable[[], np.ndarray]
) -> pl.DataFrame:
    """
    Return the rows that are not selected.

    in : row, pair_id and the column of `settings.by`; for the same rows the cluster (-1: none) and, if needed, the unit
         vectors of the prompts
    out: row, rule (cluster_cap or not_selected), value: the rank by `settings.by`, of the rows that are not selected
    """
    scores = _scores(pairs, best_of(settings.by))
    rows = np.arange(len(pairs))
    rules = np.full(len(pairs), "not_selected", dtype=object)
    if settings.max_per_cluster is not None:
        within = cap(labels, scores, settings.max_per_cluster)
        rules[np.setdiff1d(rows, within)] = "cluster_cap"
        rows = within
    if settings.n is not None and settings.n < len(rows):
        rows = rows[_chosen(settings, settings.n, pairs[rows], scores[rows], lambda: vectors()[rows])]
    dropped = np.setdiff1d(np.arange(len(pairs)), rows)
    rank = pl.Series(-scores).rank("ordinal").cast(pl.Float64)
    return pairs[dropped].select("row", rule=pl.Series(rules[dropped], dtype=pl.String), value=rank[dropped])


def _scores(pairs: pl.DataFrame, by: str | None) -> np.ndarray:
    """Return the values of `by` as floats, higher is better; -inf where not measured, zeros without `by`."""
    if by is None:
        return np.zeros(len(pairs))
    scores = pairs.get_column(by).cast(pl.Float64).fill_nan(None).fill_null(float("-inf"))
    return scores.to_numpy()


def _chosen(
    settings: Select, n: int, pairs: pl.DataFrame, scores: np.ndarray, vectors: Callable[[], np.ndarray]
) -> np.ndarray:
    """Return the positions of the n selected pairs."""
    if settings.method in ("best", "random"):
        seed = pl.concat_str(pl.lit(f"{settings.seed}|"), "pair_id")
        order = pairs.select(score=pl.Series(scores), by_hash=digest(seed))
        keys = ["by_hash"] if settings.method == "random" else ["score", "by_hash"]
        best = [False] if settings.method == "random" else [True, False]
        return order.select(pl.arg_sort_by(keys, descending=best)).to_series().to_numpy()[:n]
    known = None if not np.isfinite(scores).any() else scores
    method: Literal["farthest", "mmr"] = "farthest" if settings.method == "farthest" else "mmr"
    return choose(vectors(), known, n, method=method, lambda_=settings.relevance, seed=settings.seed)
