"""Steps that choose among pairs: which are selected, and which split each goes to."""

from typing import Any, Literal

import polars as pl

from curate.api.frames import measure
from curate.dedup.corpus import BlockCorpus
from curate.recipe.data import Select
from curate.recipe.load import make_recipe
from curate.schema.result import Result
from curate.schema.section import checked
from curate.selection import prompt_clusters
from curate.signals import signal_of
from curate.sources.frames import as_pairs
from curate.splits import split as assign
from curate.stages.select import not_selected
from curate.stages.split import STRATA, prompt_groups
from curate.text.messages import text_of

Source = Any  # what `curate.read` takes


def select(  # noqa: PLR0913 - the recipe's section
    pairs: Source,
    n: int | None = None,
    *,
    method: Literal["mmr", "farthest", "best", "random"] = "mmr",
    by: str = "margin",
    relevance: float = 0.5,
    max_per_cluster: int | None = None,
    clusters: int | None = None,
    model: str | None = None,
    seed: int = 0,
) -> Result:
    """
    Select some of the pairs: varied ones, good ones, or both (extra: embed, except for best and random).

    Parameters
    ----------
    pairs
        PAIR, or anything that `curate.read` takes.
    n
        How many to select; None = all that `max_per_cluster` allows.
    method
        "mmr": good and unlike those selected; "farthest": far from those selected; "best": the highest `by`; "random":
        by a hash of pair_id and seed.
    by
        What is better: a numeric signal, "chosen_score", or "longest" (chosen). A null is lowest.
    relevance
        For mmr, the weight of `by`, 0..1; the rest is for being different.
    max_per_cluster, clusters
        Pairs per prompt cluster at most, and how many clusters there are; None = by the number of prompts, 50 at most.
    model
        A sentence-transformers model; None = all-MiniLM-L6-v2.
    seed
        Another seed gives another random choice.

    Returns
    -------
    Result, both parts in the order of the input; `dropped` has rule ("not_selected" or "cluster_cap") and value (f64,
    the rank of the pair by `by`, 1 for the best).

    Examples
    --------
    >>> import curate
    >>> rows = [{"prompt": f"Tea {n}?", "chosen": "Green. " * (n + 1), "rejected": "No."} for n in range(3)]
    >>> curate.select(rows, 2, method="best", by="longest").kept["source_row"].to_list()
    [1, 2]
    """
    frame = as_pairs(pairs)
    options = {"by": by, "relevance": relevance, "max_per_cluster": max_per_cluster, "clusters": clusters}
    settings = checked(Select, n=n, method=method, model=model, seed=seed, **options)
    rows = frame.select("pair_id").with_row_index("row")
    column = {"longest": "chosen_chars"}.get(by, by)
    values = frame if column in frame.columns else measure(frame, [signal_of(column)])
    rows = rows.with_columns(values.get_column(column))
    corpus = BlockCorpus.of(frame)
    labels = pl.zeros(len(frame), pl.Int64, eager=True).to_numpy()
    if max_per_cluster is not None:
        texts = frame.select(text_of("prompt")).to_series()
        labels, _ = prompt_clusters(corpus.vectors("prompt", model), texts, clusters)
    found = not_selected(settings, rows, labels, lambda: corpus.vectors("prompt", model))
    numbered = frame.with_row_index("row")
    found = found.with_columns(pl.col("row").cast(pl.UInt32))
    dropped = numbered.join(found, on="row", maintain_order="left").drop("row")
    return Result.of(numbered.join(found, on="row", how="anti", maintain_order="left").drop("row"), dropped)


def split(
    pairs: Source,
    *,
    test: float = 0.1,
    validation: float = 0.0,
    clusters: Literal["exact", "near", "semantic"] = "near",
    stratify: Literal["source", "language", "cluster"] | None = None,
    salt: str = "prefcurate",
) -> dict[str, pl.DataFrame]:
    """
    Divide pairs into splits so that no prompt, nor one similar to it, is in two of them.

    Parameters
    ----------
    pairs
        PAIR, or anything that `curate.read` takes.
    test, validation
        Shares of the rows, 0 to less than 1, met to the row as far as clusters are small enough.
    clusters
        What stays together: equal prompts ("exact"), near-duplicate prompts, or prompts of one meaning, too (extra:
        embed).
    stratify
        The same shares of every source, language of the prompt, or prompt cluster (extra: embed).
    salt
        Another salt gives another division. The same pairs and salt give the same one, whatever their order.

    Returns
    -------
    A dict of frames with the columns of `pairs`: train, and validation and test where their share is above 0.

    Raises
    ------
    RecipeError for shares that leave nothing to train on.

    Examples
    --------
    >>> import curate
    >>> prompts = ["Why is tea hot?", "Who pays?", "Where is Rome?", "When is noon?"]
    >>> rows = [{"prompt": p, "chosen": "Ask again.", "rejected": "No."} for p in prompts]
    >>> {name: frame.height for name, frame in curate.split(rows, test=0.25).items()}
    {'train': 3, 'test': 1}
    """
    frame = as_pairs(pairs)
    section = {"test": test, "validation": validation, "clusters": clusters, "stratify": stratify, "salt": salt}
    recipe = make_recipe({"source": {"paths": ["-"]}, "split": section})
    corpus = BlockCorpus.of(frame)
    rows = frame.select("prompt_id").with_row_index("row").with_columns(pl.col("row").cast(pl.UInt64))
    rows = rows.with_columns(pl.Series("cluster", prompt_groups(recipe, corpus, rows)))
    if stratify == "cluster":
        texts = frame.select(text_of("prompt")).to_series()
        labels, _ = prompt_clusters(corpus.vectors("prompt", None), texts, None)
        rows = rows.with_columns(stratum=pl.Series(labels).cast(pl.String))
    elif stratify is not None:
        column = STRATA[stratify]
        values = frame if column in frame.columns else measure(frame, [signal_of(column)])
        rows = rows.with_columns(stratum=values.get_column(column))
    shares = {name: share for name, share in (("validation", validation), ("test", test)) if share}
    sides = assign(rows, {name: shares[name] for name in ("test", "validation") if name in shares}, salt=salt)
    return {name: frame.filter(sides == name) for name in ("train", *shares)}
