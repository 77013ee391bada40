"""
Inputs of a run: prompts to answer, pairs to judge again, or candidates generated earlier.

A set of answers is identified by (source, source_row) from here to the ledger, so both are unique in the origin.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from curate import sources
from curate.errors import InputError, ServiceError
from curate.files import remove
from curate.recipe.load import Recipe
from curate.recipe.models import Model, Prompts
from curate.rundir.stage import Stage
from curate.rundir.store import Store, fingerprint
from curate.schema import CANDIDATES, DUPLICATE_PROMPT, SEED, canonical, check, digest, empty, prompt_ids
from curate.sources.formats import detect
from curate.sources.prompts import STAGED_PROMPTS, read_prompts
from curate.stages.read import Read, read_rows
from curate.text.messages import last_user_text
from pipelines.clients.requests import SendRequests
from pipelines.prompts.make import make_prompts
from pipelines.prompts.passages import read_passages

SETS_PER_PART = 500  # prompts whose answers are requested and written together
SET = ("source", "source_row")
CANDIDATE_COLUMNS = {"prompt_id", "prompt", "candidate_id", "response", *SET}  # a table of candidates has all of these
REQUIRED_COLUMNS = ("prompt_id", "prompt", "candidate_id", *SET)  # of these, never null
# Settings of a model that do not affect its replies.
TRANSPORT_SETTINGS = (
    "base_url",
    "api_key_env",
    "concurrency",
    "timeout",
    "retries",
    "patience",
    "max_reply_bytes",
    "input_price",
    "output_price",
)
CANDIDATES_TABLE = sources.DetectedFormat("candidates", {})
LABELS = {"source": pl.String, "source_row": pl.UInt64, "better_id": pl.String, "worse_id": pl.String}
NO_PREFERENCE = ("tie", "no_preference")  # problems of pairs that can be judged nevertheless


def read_origin(store: Store, recipe: Recipe, ask: SendRequests | None) -> Stage:
    """
    Read the inputs: one row per future set of answers, and one per input row that yields none, as PROMPTS or STAGED
    with `problem`. `ask` sends requests to the model of the prompts section.
    """
    if recipe.generate is None:
        return read_rows(store, "origin", recipe.source, pairs_or_candidates(recipe))
    if recipe.prompts is None or ask is None:
        return read_rows(store, "origin", recipe.source, new_prompts(recipe))
    return _with_new_prompts(store, recipe, recipe.prompts, ask)


def reply_settings(model: Model) -> dict[str, Any]:
    """Return the settings of a model that affect its replies."""
    return model.model_dump(mode="json", exclude=set(TRANSPORT_SETTINGS))


def seed_texts(read: pl.DataFrame) -> list[str]:
    """Return the seeds of new prompts: the last user turns of usable PROMPTS."""
    usable = read.filter(pl.col("problem").is_null())
    return usable.select(last_user_text()).to_series().drop_nulls().to_list()


def joined_prompts(section: Prompts, read: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Append new prompts to those that were read, which are marked as seeds if they are not to be answered."""
    if not section.with_seeds:
        usable, about = pl.col("problem").is_null(), "prompts.with_seeds is false"
        read = read.with_columns(
            problem=pl.when(usable).then(pl.lit(SEED)).otherwise("problem"),
            detail=pl.when(usable).then(pl.lit(about)).otherwise("detail"),
        )
    return pl.concat(
        [read, new.with_columns(empty(STAGED_PROMPTS, ("problem", "detail"))).select(list(STAGED_PROMPTS))]
    )


def _with_new_prompts(store: Store, recipe: Recipe, section: Prompts, ask: SendRequests) -> Stage:
    """Read the seeds, and append the prompts that a model generates from them."""
    seeds = read_rows(store, "seeds", recipe.source, new_prompts(recipe)) if recipe.source.paths else None
    settings = section.model_dump(mode="json", exclude={"model"}) | {"model": reply_settings(section.model)}
    documents = [(part.document, part.text) for part in read_passages(section.documents)] if section.documents else []
    stage = store.stage("origin", fingerprint("generated", settings, documents, seeds.key if seeds else None))
    info = stage.info or {}
    # Where too few were generated and requests failed, these are sent again.
    if info and not (info["generated"]["failed"] and info["generated"]["kept"] < section.n):
        return stage
    remove(stage.folder / "stage.json")
    read = pl.concat(
        [
            pl.DataFrame(schema=STAGED_PROMPTS),
            *(pl.read_parquet(part, glob=False) for part in (seeds.parts() if seeds else ())),
        ]
    )
    generated = make_prompts(section, seed_texts(read), ask)
    _check_generated(section, generated.summary)
    rows = joined_prompts(section, read, generated.prompts)
    for part in stage.parts():
        part.unlink()
    for number, block in enumerate(rows.iter_slices(SETS_PER_PART)):
        stage.write(number, block)
    known: dict[str, Any] = (seeds.info or {}) if seeds else {"inputs": {}, "broken": 0}
    name = f"prompts:{section.method}"
    inputs = known["inputs"] | {name: {"fingerprint": stage.key, "rows": len(generated.prompts), "format": "generated"}}
    finish(
        stage, {"inputs": inputs, "rows": len(rows), "broken": known["broken"], "generated": dict(generated.summary)}
    )
    return stage


def finish(stage: Stage, info: Mapping[str, Any]) -> None:
    """Mark the stage complete, with a hash of its content, on which the keys of later stages depend."""
    content = hashlib.sha256()
    for part in stage.parts():
        content.update(part.read_bytes())
    stage.finish(**info, content=content.hexdigest()[:32])


def _check_generated(section: Prompts, summary: Mapping[str, Any]) -> None:
    if summary["kept"]:
        return
    name, counts = section.model.name, ("bad_replies", "unusable", "other_language", "duplicates")
    if summary["failed"] == summary["asked"]:
        raise ServiceError(f"prompts: none of {summary['asked']} requests to {name} was answered; try again later")
    why = ", ".join(f"{summary[count]} {count.replace('_', ' ')}" for count in counts if summary[count])
    raise InputError(f"prompts: {name} returned no usable prompt ({why}) in {summary['asked']} requests")


def answers_of(block: pl.DataFrame) -> pl.DataFrame:
    """
    Return the answers that origin rows contain, as CANDIDATES: both sides of every complete pair (chosen first), ties
    included. Scores are not copied, because the judges' scores are on another scale.
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
    """Return the preferences of the source: source, source_row, better_id, worse_id of every pair that has one."""
    if "chosen" not in block.columns:
        return pl.DataFrame(schema=LABELS)
    answers = answers_of(block.filter(pl.col("problem").is_null()))
    sets = answers.group_by("source", "source_row", maintain_order=True)
    return sets.agg(better_id=pl.col("candidate_id").first(), worse_id=pl.col("candidate_id").last())


def new_prompts(recipe: Recipe) -> Read:
    """Return a reader of prompts in parts of SETS_PER_PART, which marks all but the first of equal prompts."""
    source, sets, first = recipe.source, _Sets(), dict[str, str]()

    def read(feed: sources.Feed) -> Iterator[tuple[pl.DataFrame, sources.DetectedFormat]]:
        for block, shape in read_prompts(feed, format=source.format, columns=source.columns):
            again: list[str | None] = []
            for prompt_id, name, row in block.select("prompt_id", *SET).iter_rows():
                again.append(first.get(prompt_id))
                if prompt_id is not None:
                    first.setdefault(prompt_id, f"{name} row {row}")
            known = pl.Series(again, dtype=pl.String)
            marked = block.with_columns(
                problem=pl.when(known.is_not_null()).then(pl.lit(DUPLICATE_PROMPT)).otherwise("problem"),
                detail=pl.when(known.is_not_null()).then(known).otherwise("detail"),
            )
            for part in sets.made_distinct(marked).iter_slices(SETS_PER_PART):
                yield part, shape

    return read


def has_scored_answers(recipe: Recipe) -> bool:
    """Whether a recipe that asks no model forms pairs of answers that its source has scored, in any format but ours."""
    source = recipe.source
    if recipe.prompts or recipe.generate or recipe.judge or not source.paths or source.columns:
        return False
    feed = sources.open_feeds(source.paths, split=source.split, config=source.config, revision=source.revision)[0]
    head = next(iter(feed.blocks()), None)
    if head is None or set(head.columns) >= CANDIDATE_COLUMNS:
        return False
    return detect(head.columns, source.format).answers is not None


def pairs_or_candidates(recipe: Recipe) -> Read:
    """Return a reader, in parts of SETS_PER_PART, of pairs (STAGED) or of sets of candidates in column `answers`."""
    source, sets = recipe.source, _Sets()

    def read(feed: sources.Feed) -> Iterator[tuple[pl.DataFrame, sources.DetectedFormat]]:
        head = next(iter(feed.blocks()), None)
        found: Iterator[tuple[pl.DataFrame, sources.DetectedFormat]]
        if head is not None and set(head.columns) >= CANDIDATE_COLUMNS:
            found = ((sets.checked(block, feed.name), CANDIDATES_TABLE) for block in _grouped_sets(feed))
        else:
            named = sources.read(feed, format=source.format, columns=source.columns, winners=source.winners)
            found = ((sets.made_distinct(block), shape) for block, shape in named)
        for block, shape in found:
            for part in block.iter_slices(SETS_PER_PART):
                yield part, shape

    return read


class _Sets:
    """The sets read so far. Tables written by prefcurate carry source and row, which may then occur twice."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, int]] = Counter()

    def made_distinct(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rename the source of repeated rows: the second one of the same source and number becomes `name #2`."""
        names = []
        for name, row in rows.select(SET).iter_rows():
            self._seen[name, row] += 1
            count = self._seen[name, row]
            names.append(name if count == 1 else f"{name} #{count}")
        return rows.with_columns(source=pl.Series(names, dtype=pl.String))

    def checked(self, sets: pl.DataFrame, file: str) -> pl.DataFrame:
        """Raise InputError for a set that is not contiguous, which would be taken for two sets of the same name."""
        for name, row in sets.select(SET).iter_rows():
            self._seen[name, row] += 1
            if self._seen[name, row] > 1:
                raise InputError(
                    f"{file}: the answers to {name} row {row} are not contiguous, or are also in another file; "
                    f"sort them by source and source_row, in one file"
                )
        return sets


def _grouped_sets(feed: sources.Feed) -> Iterator[pl.DataFrame]:
    """Yield the CANDIDATES of a file with one row per set, its answers in `answers`."""
    open_set = pl.DataFrame(schema=CANDIDATES)  # may continue in the next block
    for block in feed.blocks():
        if block.broken:
            raise InputError(f"{feed.name}: {block.broken[0][1]}")
        rows = pl.concat([open_set, _candidates(block.columns, feed.name)])
        last = pl.all_horizontal(pl.col(name) == pl.col(name).last() for name in SET)
        yield _grouped(rows.filter(~last))
        open_set = rows.filter(last)
    yield _grouped(open_set)


def _candidates(columns: Mapping[str, Any], name: str) -> pl.DataFrame:
    try:
        known = {key: dtype for key, dtype in CANDIDATES.items() if key in columns}
        given = {key: pl.Series(key, columns[key], dtype) for key, dtype in known.items()}
    except (pl.exceptions.PolarsError, TypeError, OverflowError) as error:
        raise InputError(f"{name} does not contain candidates: {str(error).splitlines()[0]}") from error
    frame = pl.DataFrame(given)
    if missing := [key for key in REQUIRED_COLUMNS if frame.get_column(key).null_count()]:
        raise InputError(f"{name} does not contain candidates: {', '.join(missing)} must not be null")
    absent = empty(CANDIDATES, [key for key in CANDIDATES if key not in given])
    return check(frame.with_columns(absent), CANDIDATES, name)


def _grouped(rows: pl.DataFrame) -> pl.DataFrame:
    doubled = canonical("response").n_unique().over(*SET, "candidate_id") > 1
    for what, wrong in (("prompts", pl.col("prompt_id").n_unique().over(SET) > 1), ("answers of one id", doubled)):
        if found := rows.filter(wrong).select(SET).head(1).rows():
            name, row = found[0]
            raise InputError(f"{name} row {row} has different {what}; the answers to one prompt share source_row")
    answers = pl.struct(list(CANDIDATES)).alias("answers")
    sets = rows.group_by(SET, maintain_order=True).agg(pl.col("prompt_id", "prompt").first(), answers)
    return sets.with_columns(empty(STAGED_PROMPTS, ("extra", "problem", "detail"))).select(*STAGED_PROMPTS, "answers")
