"""Remaining pairs → named prompt clusters with map positions, and the pairs that are not selected."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import polars as pl

from curate.dedup.corpus import BlockCorpus
from curate.recipe.load import Recipe
from curate.rundir.stage import Stage
from curate.rundir.store import Store, fingerprint
from curate.selection.choices import Material
from curate.selection.diversity import map_2d, prompt_clusters
from curate.selection.sections import Select
from curate.selection.step_sections import Like
from curate.selection.steps import columns_of_steps, needs_vectors, take_steps
from curate.stages.relevance import example_feeds, relevance_of
from curate.stages.remaining import DROPS, Remaining
from curate.stages.vectors import run_corpus, vector_model

VERSION = 3
# One row per remaining pair: the cluster of its prompt (-1: none), and its position on the map, null if not shown.
CLUSTERS = pl.Schema({"row": pl.UInt64(), "cluster": pl.Int64(), "x": pl.Float64(), "y": pl.Float64()})


def has_diversity(recipe: Recipe) -> bool:
    """Whether the recipe needs vectors of prompts anyway; then the report shows prompt clusters."""
    asks = recipe.dedup.semantic, recipe.split.clusters == "semantic", recipe.split.stratify == "cluster"
    return any(asks) or (recipe.select is not None and needs_vectors(recipe.select))


def cluster(store: Store, recipe: Recipe, remaining: Remaining) -> Stage:
    """Write CLUSTERS in one part, and the clusters' names in the stage's info."""
    model, count = vector_model(recipe), recipe.select.clusters if recipe.select else None
    stage = store.stage("clusters", fingerprint("clusters", VERSION, model, count, remaining.key))
    if stage.info is None:
        rows = remaining.rows
        vectors = run_corpus(store, remaining).vectors("prompt", model)[rows]
        texts = pl.concat([block.read() for block in remaining.texts("prompt")])[rows]
        labels, names = prompt_clusters(vectors, texts, count)
        places = map_2d(vectors)
        frame = pl.DataFrame({"row": rows, "cluster": labels, "at": np.arange(len(rows))}).cast({"at": pl.UInt64})
        frame = frame.join(places.rename({"row": "at"}), on="at", how="left", maintain_order="left")
        stage.write(0, frame.select(list(CLUSTERS)).cast(CLUSTERS))
        stage.finish(names=names)
    return stage


def select(store: Store, recipe: Recipe, remaining: Remaining, clusters: Stage | None) -> Stage:
    """Write the rows that are not selected as DROPS, and what each step changed in the stage's info."""
    settings = recipe.select
    assert settings is not None  # noqa: S101 - only called with the section
    examples = [feed.fingerprint for like in _likes(settings) for feed in example_feeds(like)]
    from_clusters = clusters.key if clusters else None
    key = fingerprint("select", VERSION, settings.model_dump(mode="json"), examples, from_clusters, remaining.key)
    stage = store.stage("select", key)
    if stage.info is None:
        pairs = remaining.frame(*columns_of_steps(settings))
        material = _material(recipe, remaining.rows, run_corpus(store, remaining), clusters)
        found = take_steps(pairs, settings, material)
        rows = pairs.get_column("row")[found.drops.get_column("at")]
        drops = found.drops.select(row=rows, rule="rule", value="value", matched=pl.lit(None, pl.String))
        stage.write(0, drops.sort("row").cast(DROPS))
        stage.finish(dropped=len(drops), steps=found.steps)
    return stage


def _material(recipe: Recipe, rows: np.ndarray, corpus: BlockCorpus, clusters: Stage | None) -> Material:
    model = vector_model(recipe)

    def labelled() -> tuple[np.ndarray, Sequence[str]]:
        assert clusters is not None  # noqa: S101 - made for every selection that needs it
        labels = clusters.scan().select("cluster").collect().to_series().to_numpy()
        return labels, (clusters.info or {})["names"]

    return Material(
        cache(lambda: corpus.vectors("prompt", model)[rows]),
        cache(labelled),
        lambda like: relevance_of(like, corpus, model)[rows],
    )


def _likes(settings: Select) -> list[Like]:
    return [step.settings for step in settings.steps if isinstance(step.settings, Like)]
