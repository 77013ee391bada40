"""Remaining pairs → those that contain items of eval sets, part by part: memory does not grow with the rows."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl

from curate.contamination.embedding import EvalVectors, similar_hits
from curate.contamination.eval_set import EvalSet
from curate.contamination.eval_sets import load_eval
from curate.contamination.hits import HITS, by_set, closest, row_texts
from curate.contamination.index import EvalIndex
from curate.contamination.ngram import exact_hits, hits
from curate.embeddings.encoder import load_encoder
from curate.errors import RecipeError
from curate.recipe.data import Decontaminate
from curate.recipe.data import EvalSet as Named
from curate.recipe.load import Recipe
from curate.rundir.stage import Stage
from curate.rundir.store import Store, fingerprint
from curate.stages.remaining import DROPS, Remaining, each_part

VERSION = 1
THRESHOLDS = {"ngram": 0.5, "embedding": 0.9}
RULE = "eval_item"
Find = Callable[[pl.Series], pl.DataFrame]


def decontaminate(store: Store, recipe: Recipe, remaining: Remaining) -> Stage:
    """
    Write the contaminated rows as DROPS: `value` is the share of the item's words that the pair contains (for
    embedding, the cosine), `matched` is SET/ITEM. Info `sets`: for each set its items, the items found, and the rows
    that contain one.
    """
    settings = recipe.decontaminate
    assert settings is not None  # noqa: S101 - only called with the section
    items, find, content = finder_of(settings)
    key = fingerprint("decontaminate", VERSION, settings.model_dump(mode="json"), content, remaining.key)
    stage = store.stage("decontaminate", key)
    if stage.info is not None:
        return stage
    found = Stage(stage.folder / "hits", key)  # every hit, for the counts
    if found.damaged():  # the rows that go with them would not be made again alone
        for path in [*found.parts(), *stage.parts()]:
            path.unlink()

    def drops(number: int) -> list[pl.DataFrame]:
        start, stop = remaining.spans[number]
        wanted = remaining.mask.slice(start, stop - start).arg_true()
        sides = pl.read_parquet(remaining.pairs.part(number), columns=list(settings.fields), glob=False)[wanted]
        rows = wanted.cast(pl.UInt64) + start
        numbers = dict(enumerate(rows.to_list()))
        hit = find(row_texts(sides, settings.fields)).with_columns(pl.col("row").replace_strict(numbers))
        hit = hit.cast(HITS)
        matched = pl.concat_str("eval_set", pl.lit("/"), "item")
        best = closest(hit).select("row", rule=pl.lit(RULE), value="overlap", matched=matched)
        return [best.match_to_schema(DROPS), hit]

    def sets() -> dict[str, dict[str, int]]:
        counts = by_set(found.scan().collect(), items).to_dicts()
        return {str(one.pop("eval_set")): one for one in counts}

    each_part("decontaminate", remaining.pairs, [stage, found], drops, store.engine, sets=sets)
    return stage


def finder_of(settings: Decontaminate) -> tuple[pl.DataFrame, Find, str]:
    """Return the items of all sets, the function that finds them in texts, and a hash of their content."""
    method, threshold = settings.method, settings.threshold
    threshold = THRESHOLDS.get(method, 0.0) if threshold is None else threshold
    if method == "embedding":
        encoder = load_encoder(settings.model)
        vectors = EvalVectors.build(_sets(settings.against), encoder)
        find = partial(similar_hits, evals=vectors, encoder=encoder, threshold=threshold, every=False)
        return vectors.items, find, fingerprint(vectors.items.to_dicts())
    index = _index(settings)
    if method == "exact":
        return index.items, partial(exact_hits, index=index, every=False), index.digest
    return index.items, partial(hits, index=index, threshold=threshold, every=False), index.digest


def _index(settings: Decontaminate) -> EvalIndex:
    """Return one index: the saved indexes joined with an index of all other sets."""
    saved = [EvalIndex.load(Path(one.path)) for one in settings.against if is_index(one)]
    others = [one for one in settings.against if not is_index(one)]
    built = [EvalIndex.build(_sets(others), ngram=settings.ngram)] if others else []
    return EvalIndex.joined([*saved, *built])


def is_index(one: Named) -> bool:
    """Whether the set is an index saved by `curate evals … -o`."""
    return EvalIndex.is_saved(Path(one.path))


def _sets(against: tuple[Named, ...] | list[Named]) -> list[EvalSet]:
    if index := next((one.path for one in against if is_index(one)), None):
        raise RecipeError(
            f"decontaminate.against: {index} contains hashes; method embedding needs the texts themselves"
        )
    return [load(one) for one in against]


def load(one: Named) -> EvalSet:
    """Load the eval set of an entry in the recipe."""
    return load_eval(
        one.path,
        columns=one.columns,
        id_column=one.id,
        split=one.split,
        config=one.config,
        revision=one.revision,
        name=one.name,
    )
