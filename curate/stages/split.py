"""Remaining pairs → the split of each; similar prompts are never in two splits."""

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from curate.dedup.clusters import components
from curate.dedup.corpus import BlockCorpus
from curate.dedup.finder import FinderSection
from curate.dedup.finders import FINDERS
from curate.dedup.tables import Frames
from curate.engine import Block
from curate.recipe.load import Recipe
from curate.rundir.column_sizes import group_bytes, together
from curate.rundir.stage import Stage
from curate.rundir.store import DATA, SPLITS, Store, fingerprint
from curate.selection.splits import split
from curate.stages.remaining import Remaining
from curate.stages.vectors import run_corpus, stored_corpus, vector_model

VERSION = 2
STRATA = {"source": "source", "language": "prompt_language"}  # columns; for `cluster` it is the cluster number
TOLERANCE = 0.005  # share of all rows by which a split may miss its size without being reported
COMPARED_BY = {"exact": (), "near": ("near",), "semantic": ("near", "semantic")}  # finders, besides equal prompts


def assign_splits(store: Store, recipe: Recipe, remaining: Remaining, clusters: Stage | None) -> Stage:
    """Write row and split of the remaining rows in one part; info `short`: how many rows each split lacks."""
    settings = recipe.split
    shares = {"test": settings.test, "validation": settings.validation}
    compared = {name: _section(recipe, name).model_dump(mode="json") for name in COMPARED_BY[settings.clusters]}
    how = [settings.model_dump(mode="json"), compared, clusters.key if clusters else None]
    stage = store.stage("split", fingerprint("split", VERSION, how, remaining.key))
    if stage.info is None:
        stratum = [STRATA[settings.stratify]] if settings.stratify in STRATA else []
        pairs = remaining.frame("prompt_id", *stratum)
        corpus = run_corpus(store, remaining)
        cluster = pl.col("row")
        if any(shares.values()):  # by cluster, which must stay within one split
            found = prompt_groups(recipe, corpus, pairs)
            cluster = pl.lit(pl.Series(found[pairs.get_column("row").to_numpy()]))
        pairs = pairs.with_columns(cluster=cluster)
        if settings.stratify is not None:
            by = STRATA.get(settings.stratify, "topic")
            if clusters is not None:
                topics = clusters.scan().select("row", topic="cluster").collect()
                pairs = pairs.join(topics, on="row", how="left", maintain_order="left")
            pairs = pairs.with_columns(stratum=pl.col(by).cast(pl.String))
        sides = split(pairs, {name: share for name, share in shares.items() if share}, salt=settings.salt)
        short = {name: round(share * len(pairs)) - int((sides == name).sum()) for name, share in shares.items()}
        stage.write(0, pairs.select("row", split=sides))
        stage.finish(short={name: rows for name, rows in short.items() if rows > TOLERANCE * len(pairs)})
    return stage


def leaks(store: Store, recipe: Recipe) -> int:
    """
    Count the prompts of the written data that are similar (by split.clusters) to one in another split. Anything other
    than 0 is a bug in prefcurate. Reads the written files.
    """
    files = [(path, name) for name in SPLITS for path in sorted((store.folder / DATA).glob(f"{name}-*.parquet"))]
    if len({name for _, name in files}) < 2:
        return 0
    scans = [pl.scan_parquet(path, glob=False).with_columns(split=pl.lit(name)) for path, name in files]
    rows = pl.concat(scans).select("prompt_id", "split").with_row_index("row").collect(engine="streaming")

    def read(columns: tuple[str, ...]) -> Frames:
        return [block for path, _ in files for block in _row_groups(path, columns)]

    edges = prompt_edges(recipe, stored_corpus(store, read, len(rows)), rows)
    sides = rows.get_column("split")
    return int((sides[edges.get_column("row_a")] != sides[edges.get_column("row_b")]).sum())


def _row_groups(path: Path, columns: tuple[str, ...]) -> Frames:
    """Return the row groups of a parquet file as blocks, several in one where they are small."""
    found = pq.read_metadata(path)
    rows = [found.row_group(number).num_rows for number in range(found.num_row_groups)]
    return [
        Block(sum(rows[run.start : run.stop]), partial(_read_groups, path, columns, run))
        for run in together(group_bytes(found, columns))
    ]


def _read_groups(path: Path, columns: tuple[str, ...], groups: range) -> pl.DataFrame:
    return pl.DataFrame(pq.ParquetFile(path).read_row_groups(list(groups), columns=list(columns)))


def prompt_groups(recipe: Recipe, corpus: BlockCorpus, rows: pl.DataFrame) -> np.ndarray:
    """Return a number per row of the corpus, the same for rows whose prompts are equal or similar (split.clusters)."""
    return components(corpus.rows, prompt_edges(recipe, corpus, rows))


def prompt_edges(recipe: Recipe, corpus: BlockCorpus, rows: pl.DataFrame) -> pl.DataFrame:
    """Return row_a, row_b: rows whose prompts are equal or similar, by split.clusters."""
    same_prompt = rows.select(row_a=pl.col("row").min().over("prompt_id"), row_b="row").cast(pl.UInt64)
    # One prompt often has many pairs, and only the first of its rows is compared word by word. Vectors are cached.
    firsts = rows.filter(pl.col("prompt_id").is_first_distinct()).get_column("row").to_numpy()
    by_words = {"near": corpus.only(firsts)}
    compared_by = COMPARED_BY[recipe.split.clusters]
    finders = [FINDERS[name](_section(recipe, name), by_words.get(name, corpus)) for name in compared_by]
    found = [finder.edges().select("row_a", "row_b") for finder in finders]
    return pl.concat([same_prompt, *found])


def _section(recipe: Recipe, name: str) -> FinderSection:
    """Return how prompts are compared: as for duplicates if those are compared by prompt, else by the defaults."""
    own = recipe.dedup.finders.get(name)
    section: FinderSection = own if own and own.compare == "prompt" else FINDERS[name].section()
    return section.model_copy(update={"model": vector_model(recipe)}) if name == "semantic" else section
