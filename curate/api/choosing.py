"""Steps that choose among pairs: which are selected, and which split each goes to."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import polars as pl

from curate.api.frames import measure
from curate.dedup.corpus import BlockCorpus
from curate.errors import unknown
from curate.recipe.load import make_recipe
from curate.schema.result import Result
from curate.schema.section import checked
from curate.selection.choices import Material
from curate.selection.diversity import prompt_clusters
from curate.selection.sections import Select
from curate.selection.splits import split as assign
from curate.selection.steps import MODEL_COLUMNS, columns_of_steps, take_steps
from curate.signals import COLUMNS, signal_of
from curate.sources.frames import as_pairs
from curate.stages.relevance import relevance_of
from curate.stages.split import STRATA, prompt_groups
from curate.text.messages import text_of

Source = Any  # what `curate.read` takes


def select(  # noqa: PLR0913 - the recipe's section
    pairs: Source,
    steps: Any = (),
    *,
    budget: int | None = None,
    fill: Literal["mmr", "farthest", "top", "random"] = "mmr",
    by: str = "margin",
    relevance: float = 0.5,
    mix: Mapping[str, float] | None = None,
    rows: Mapping[str, int] | None = None,
    clusters: int | None = None,
    model: str | None = None,
    seed: int = 0,
) -> Result:
    """
    Select some of the pairs: by steps in order, then by a budget.

    Parameters
    ----------
    pairs
        PAIR, or anything that `curate.read` takes. Columns that a step needs and the frame lacks are measured.
    steps
        One step or several: a name ("rip"), or {name: settings} ({"like": {"texts": "cooking", "share": 0.1}}). like,
        unlike, topics; rip, bees, selective, implicit_gap, chosen_first (each after a paper); top, random,
        length_balanced, cap, mmr, farthest. `curate recipe --schema` describes their settings.
    budget
        How many are kept in the end; None = all.
    fill
        How the budget is filled: "mmr": good and unlike those selected; "farthest": far from those selected; "top": the
        highest `by`; "random": by a hash of pair_id and seed. mmr and farthest need extra: embed.
    by
        What is better: a numeric signal, "chosen_score", or "longest" (chosen). It is ranked within each source. A null
        is lowest.
    relevance
        For mmr, the weight of `by`, 0..1; the rest is for being different.
    mix, rows
        Weight, or number of pairs, of each source; every source has to be named.
    clusters
        Number of prompt clusters for cap and topics; None = by the number of prompts, 50 at most.
    model
        A sentence-transformers model; None = all-MiniLM-L6-v2.
    seed
        Another seed gives another random choice.

    Returns
    -------
    Result, both parts in the order of the input; `dropped` has rule (the step, or "budget") and value (f64: what
    decided, such as the relevance, or a quantile within the source).

    Raises
    ------
    RecipeError for a step that needs what was not measured, and for one that keeps no pair: it says what would.

    Examples
    --------
    >>> import curate
    >>> rows = [{"prompt": f"Tea {n}?", "chosen": "Green. " * (n + 1), "rejected": "No."} for n in range(3)]
    >>> curate.select(rows, budget=2, fill="top", by="longest").kept["source_row"].to_list()
    [1, 2]
    >>> curate.select(rows, {"top": {"by": "longest", "n": 1}})
    Result(1 of 3 kept · dropped: top 2)
    """
    frame = as_pairs(pairs)
    steps = [steps] if isinstance(steps, str | Mapping) else list(steps)
    options = {"by": by, "relevance": relevance, "clusters": clusters, "model": model, "seed": seed}
    settings = checked(Select, steps=steps, budget=budget, fill=fill, mix=mix or {}, rows=rows or {}, **options)
    found = take_steps(_with_columns(frame, columns_of_steps(settings)), settings, _material(frame, settings))
    numbered = frame.with_row_index("at").with_columns(pl.col("at").cast(pl.Int64))
    dropped = numbered.join(found.drops, on="at", maintain_order="left").drop("at")
    return Result.of(numbered.join(found.drops, on="at", how="anti", maintain_order="left").drop("at"), dropped)


def _with_columns(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return the columns of these names; those that are signals are measured."""
    missing = [name for name in names if name not in frame.columns]
    for name in missing:
        if name not in (*COLUMNS, *MODEL_COLUMNS):
            raise unknown("column", name, [*frame.columns, *COLUMNS])
    measured = measure(frame, [signal_of(name) for name in missing if name in COLUMNS]) if missing else frame
    return measured.select([name for name in names if name in measured.columns])


def _material(frame: pl.DataFrame, settings: Select) -> Material:
    corpus = BlockCorpus.of(frame)
    vectors = cache(lambda: corpus.vectors("prompt", settings.model))
    texts = cache(lambda: frame.select(text_of("prompt")).to_series())
    return Material(
        vectors,
        cache(lambda: prompt_clusters(vectors(), texts(), settings.clusters)),
        lambda like: relevance_of(like, corpus, settings.model),
    )


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
