"""Where sets of answers come from: prompts to be answered, pairs to be judged again, or candidates made before."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import polars as pl

from curate import sources, stages
from curate.errors import InputError
from curate.messages import last_user_text
from curate.recipe import Recipe, fingerprint
from curate.schema import CANDIDATES, DUPLICATE_PROMPT, SEED, canonical, check, digest, empty, prompt_ids
from curate.sections import Prompts
from curate.sources.prompts import STAGED_PROMPTS, read_prompts
from curate.store import Stage, Store
from pipelines.prompts import make_prompts
from pipelines.requests import Ask

SETS_A_PART = 500  # prompts whose answers are under way together, and are written together
SET = ("source", "source_row")
OF_CANDIDATES = {"prompt_id", "prompt", "candidate_id", "response", *SET}  # columns that tell a table of candidates
LABELS = {"source": pl.String, "source_row": pl.UInt64, "better_id": pl.String, "worse_id": pl.String}
NO_PREFERENCE = ("tie", "no_preference")  # of pairs that can be judged all the same


def read_origin(store: Store, recipe: Recipe, ask: Ask | None) -> Stage:
    """
    One row for each set of answers there will be, and for each input row that yields none: PROMPTS or STAGED, with
    `problem`. `ask` is the model of the prompts section.
    """
    if recipe.generate is None:
        return stages.read_rows(store, "origin", recipe.source, partial(pairs_or_candidates, recipe))
    if recipe.prompts is None or ask is None:
        return stages.read_rows(store, "origin", recipe.source, new_prompts(recipe))
    return _made(store, recipe, recipe.prompts, ask)


def _made(store: Store, recipe: Recipe, section: Prompts, ask: Ask) -> Stage:
    """The seeds, then the prompts that a model made from them."""
    seeds = stages.read_rows(store, "seeds", recipe.source, new_prompts(recipe)) if recipe.source.paths else None
    settings = section.model_dump(mode="json", exclude={"model"}) | {"model": section.model.model}
    stage = store.stage("origin", fingerprint("made", settings, seeds.key if seeds else None))
    if stage.info is not None:
        return stage
    read = pl.concat([pl.DataFrame(schema=STAGED_PROMPTS), *map(pl.read_parquet, seeds.parts() if seeds else ())])
    usable = read.filter(pl.col("problem").is_null())
    made = make_prompts(section, _last_user_texts(usable), ask)
    if not section.with_seeds:
        left = pl.when(pl.col("problem").is_null()).then(pl.lit(SEED)).otherwise("problem")
        read = read.with_columns(left.alias("problem"))
    new = made.prompts.with_columns(empty(STAGED_PROMPTS, ("problem", "detail"))).select(list(STAGED_PROMPTS))
    rows = pl.concat([read, new])
    if rows.is_empty():
        raise InputError(f"prompts: {section.model.model} made none that could be used: {made.summary}")
    for part, block in enumerate(rows.iter_slices(SETS_A_PART)):
        stage.write(part, block)
    known: dict[str, Any] = (seeds.info or {}) if seeds else {"inputs": {}, "broken": 0}
    name = f"prompts:{section.method}"
    inputs = known["inputs"] | {name: {"fingerprint": stage.key, "rows": len(new), "format": "made"}}
    stage.finish(inputs=inputs, rows=len(rows), broken=known["broken"], made=dict(made.summary))
    return stage


def answers_of(block: pl.DataFrame) -> pl.DataFrame:
    """
    The answers that origin rows bring with them, CANDIDATES: both sides of every pair (chosen first) that has two,
    also where the source calls it a tie. Scores are not taken over: the judges' are on another scale.
    """
    if "answers" in block.columns:
        return block.select(pl.col("answers").explode(empty_as_null=False, keep_nulls=False)).unnest("answers")
    pairs = block.filter(pl.col("problem").is_null() | pl.col("problem").is_in(NO_PREFERENCE))
    sides = [
        pairs.select(
            "prompt",
            *SET,
            prompt_id=prompt_ids(),
            response=side,
            model=f"{side}_model",
        )
        for side in ("chosen", "rejected")
    ]
    rows = pl.concat(sides).with_columns(candidate_id=digest(pl.concat_str("prompt_id", canonical("response"))))
    rows = rows.with_columns(empty(CANDIDATES, [name for name in CANDIDATES if name not in rows.columns]))
    order = pl.concat([pl.int_range(len(pairs), eager=True)] * 2).alias("place")
    return rows.with_columns(order).sort("place", maintain_order=True).select(list(CANDIDATES))


def labels_of(block: pl.DataFrame) -> pl.DataFrame:
    """What the source prefers: source, source_row, better_id, worse_id, of the pairs that have a preference."""
    if "chosen" not in block.columns:
        return pl.DataFrame(schema=LABELS)
    answers = answers_of(block.filter(pl.col("problem").is_null()))
    sets = answers.group_by("source", "source_row", maintain_order=True)
    return sets.agg(better_id=pl.col("candidate_id").first(), worse_id=pl.col("candidate_id").last())


def new_prompts(recipe: Recipe) -> stages.Read:
    """Prompts in parts of a size that models can be asked about; the second of two equal ones is marked."""
    source, seen = recipe.source, set[str]()

    def read(feed: sources.Feed) -> Iterator[tuple[pl.DataFrame, str]]:
        for block, shape in read_prompts(feed, format=source.format, columns=source.columns):
            ids = block.get_column("prompt_id")
            again = []
            for prompt_id in ids:
                again.append(prompt_id is not None and prompt_id in seen)
                seen.add(prompt_id)
            marked = block.with_columns(
                problem=pl.when(pl.Series(again, dtype=pl.Boolean)).then(pl.lit(DUPLICATE_PROMPT)).otherwise("problem")
            )
            for part in marked.iter_slices(SETS_A_PART):
                yield part, shape

    return read


def pairs_or_candidates(recipe: Recipe, feed: sources.Feed) -> Iterator[tuple[pl.DataFrame, str]]:
    """Pairs (STAGED), or sets of CANDIDATES with their answers in `answers`, in parts of a size to be judged."""
    source = recipe.source
    head = next(iter(feed.blocks()), None)
    if head is not None and set(head.columns) >= OF_CANDIDATES:
        yield from ((part, "candidates") for block in _sets(feed) for part in block.iter_slices(SETS_A_PART))
        return
    read = sources.read(feed, format=source.format, columns=source.columns, winners=source.winners)
    for block, shape in read:
        for part in block.iter_slices(SETS_A_PART):
            yield part, shape


def _sets(feed: sources.Feed) -> Iterator[pl.DataFrame]:
    """CANDIDATES of a file as one row a set, its answers in `answers`. The answers of a set stand together there."""
    open_set = pl.DataFrame(schema=CANDIDATES)  # it may go on in the next block
    for block in feed.blocks():
        if block.broken:
            raise InputError(f"{feed.name}: row {block.broken[0][0]}: {block.broken[0][1]}")
        rows = pl.concat([open_set, _candidates(block.columns, feed.name)])
        last = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).last()) for name in SET)
        yield _grouped(rows.filter(~last))
        open_set = rows.filter(last)
    yield _grouped(open_set)


def _candidates(columns: Mapping[str, Any], name: str) -> pl.DataFrame:
    try:
        known = {key: dtype for key, dtype in CANDIDATES.items() if key in columns}
        given = {key: pl.Series(key, columns[key], dtype) for key, dtype in known.items()}
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise InputError(f"{name} does not hold candidates: {str(error).splitlines()[0]}") from error
    frame = pl.DataFrame(given)
    absent = empty(CANDIDATES, [key for key in CANDIDATES if key not in given])
    return check(frame.with_columns(absent), CANDIDATES, name)


def _grouped(rows: pl.DataFrame) -> pl.DataFrame:
    answers = pl.struct(list(CANDIDATES)).alias("answers")
    sets = rows.group_by(SET, maintain_order=True).agg(pl.col("prompt_id", "prompt").first(), answers)
    return sets.with_columns(empty(STAGED_PROMPTS, ("extra", "problem", "detail"))).select(*STAGED_PROMPTS, "answers")


def _last_user_texts(prompts: pl.DataFrame) -> list[str]:
    return prompts.select(last_user_text()).to_series().drop_nulls().to_list()
