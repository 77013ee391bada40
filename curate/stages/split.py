"""Pairs that are left → the split of each; prompts that are alike are never on two sides."""

from collections.abc import Iterator

import polars as pl

from curate.dedup import components, near, semantic
from curate.recipe import Near, Semantic
from curate.recipe.load import Recipe, fingerprint
from curate.rundir.store import DATA, SPLITS, Stage, Store
from curate.splits import split
from curate.stages.dedup import near_links
from curate.stages.remaining import Left
from curate.stages.select import vector_model
from curate.stages.vectors import embedded, vectors_of
from curate.text.messages import text_of

VERSION = 1
STRATA = {"source": "source", "language": "prompt_language"}  # a column each; a cluster's is its number
TOLERANCE = 0.005  # of the rows by which a split may miss its size before someone is told


def divide(store: Store, recipe: Recipe, left: Left, clusters: Stage | None) -> Stage:
    """row, split in one part, for the rows that are left; info `short`: rows that splits lack."""
    settings = recipe.split
    shares = {"test": settings.test, "validation": settings.validation}
    how = [settings.model_dump(mode="json"), _near(recipe).model_dump(), _threshold(recipe), vector_model(recipe)]
    key = fingerprint("split", VERSION, how, clusters.key if clusters else None, left.key)
    stage = store.stage("split", key)
    if stage.info is None:
        pairs = left.frame("prompt_id", *([STRATA[settings.stratify]] if settings.stratify in STRATA else []))
        pairs = pairs.with_columns(
            cluster=_sides(store, recipe, left, pairs) if any(shares.values()) else pl.col("row")
        )
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
    How many prompts of the written data are alike (as split.clusters says) to one in another split: 0, or prefcurate
    has a defect. Read from the files, after all is done.
    """
    files = [(path, name) for name in SPLITS for path in sorted((store.folder / DATA).glob(f"{name}-*.parquet"))]
    if len({name for _, name in files}) < 2:
        return 0
    scans = [pl.scan_parquet(path).with_columns(split=pl.lit(name)) for path, name in files]
    rows = pl.concat(scans).select("prompt_id", "split").with_row_index("row").collect(engine="streaming")

    def texts() -> Iterator[pl.Series]:
        return (scan.select(text=text_of("prompt")).collect().to_series() for scan in scans)

    links = [_same_prompt(rows)]
    if recipe.split.clusters != "exact":
        section = _near(recipe)
        found = near(texts, threshold=section.threshold, shingle_size=section.shingle_size, bands=section.bands)
        links.append(found.select("row_a", "row_b"))
    if recipe.split.clusters == "semantic":
        vectors = embedded(store, texts(), vector_model(recipe), len(rows))
        links.append(semantic(vectors, threshold=_threshold(recipe)).select("row_a", "row_b"))
    sides = rows.get_column("split")
    linked = pl.concat(links)
    return int((sides[linked.get_column("row_a")] != sides[linked.get_column("row_b")]).sum())


def _sides(store: Store, recipe: Recipe, left: Left, pairs: pl.DataFrame) -> pl.Series:
    """The number of what must stay together, for every row that is left."""
    links = [_same_prompt(pairs)]
    if recipe.split.clusters != "exact":
        links.append(near_links(left, _near(recipe)).select("row_a", "row_b"))
    if recipe.split.clusters == "semantic":
        vectors = vectors_of(store, left, vector_model(recipe))
        links.append(semantic(vectors, threshold=_threshold(recipe)).select("row_a", "row_b"))
    return pl.Series("cluster", components(len(left.mask), pl.concat(links))[left.rows])


def _same_prompt(rows: pl.DataFrame) -> pl.DataFrame:
    """Every row linked to the first of its prompt."""
    return rows.select(row_a=pl.col("row").min().over("prompt_id"), row_b="row").cast(pl.UInt64)


def _near(recipe: Recipe) -> Near:
    """How prompts are compared: as for duplicates, where those are judged on prompts."""
    own = recipe.dedup.near
    return own if own and own.compare == "prompt" else Near()


def _threshold(recipe: Recipe) -> float:
    own = recipe.dedup.semantic
    return own.threshold if own and own.compare == "prompt" else Semantic().threshold
