"""Pairs → signals that models measure: rewards, likelihood, relevance. The stage `signals` takes them over."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curate.dedup.corpus import Embed, embed_by
from curate.embeddings.local_models import dtype_here, fingerprint_of
from curate.embeddings.number_cache import NumberCache
from curate.errors import InputError, ServiceError
from curate.findings.label_noise import NOISE
from curate.recipe.load import Recipe
from curate.recipe.scoring import ModelSignals
from curate.rundir.stage import Stage
from curate.rundir.store import STAGES, Store, fingerprint
from curate.signals import columns_of
from curate.signals.scored import SCORED, likelihood_columns, relevance_columns, reward_columns
from curate.stages.scorers import LikelihoodScorer, Numbers, RewardScorer, Scorer, numbers_of
from curate.stages.vectors import embedded
from curate.terminal import tell
from curate.text.messages import last_user_text, text_of

VERSION = 1
READ = ("prompt", "chosen", "rejected", "tools")
COLUMNS = pl.Schema({name: pl.Float64() for name in columns_of(SCORED) if name not in NOISE})
Blocks = Callable[[], Iterable[pl.DataFrame]]  # blocks of READ and `usable`, the same ones at every call
Cache = Callable[[str, str], Path | None]  # (what is measured, the model's fingerprint) -> file


def score(store: Store, recipe: Recipe, pairs: Stage) -> Stage:
    """Write the signals of models of all pairs, part by part, null for rows that are no pairs."""
    settings = recipe.models
    assert settings is not None  # noqa: S101 - only called with the section
    asked = fingerprint("models", VERSION, settings.model_dump(mode="json", exclude={"batch_tokens"}), pairs.key)
    prints = _prints(store, settings, asked)
    stage = store.stage("models", fingerprint(asked, prints))
    if stage.info is not None:
        return stage

    def blocks() -> Iterator[pl.DataFrame]:
        for part in pairs.parts():
            frame = pl.read_parquet(part, columns=[*READ, "problem"], glob=False)
            yield frame.select(*READ, usable=pl.col("problem").is_null())

    def cache(what: str, model: str) -> Path:
        return store.folder / STAGES / "scores" / f"{fingerprint(what, model, dtype_here())[:16]}.bin"

    found, missing = scored(settings, blocks, cache, partial(embedded, store), prints)
    heights = (pl.scan_parquet(part, glob=False).select(pl.len()).collect().item() for part in pairs.parts())
    for number, (start, stop) in enumerate(pairwise(accumulate(heights, initial=0))):
        stage.write(number, found[start:stop])
    stage.finish(not_measured=missing, asked=asked, prints=prints)
    return stage


def _prints(store: Store, settings: ModelSignals, asked: str) -> dict[str, str]:
    """Return the models' fingerprints; where they are out of reach, those of the numbers that the run has already."""
    try:
        return {name: fingerprint_of(name) for name in models_of(settings)}
    except (InputError, ServiceError):
        before = Stage(store.folder / STAGES / "models", "").info or {}
        if before.get("asked") != asked:
            raise
        return dict(before["prints"])


def score_frame(pairs: pl.DataFrame, settings: ModelSignals) -> pl.DataFrame:
    """Return COLUMNS of a frame of PAIR, one row per pair; nothing is cached."""
    frame = pairs.select(*READ, usable=pl.lit(value=True))
    found, _ = scored(settings, lambda: [frame], lambda *_: None, embed_by)
    return found


def models_of(settings: ModelSignals) -> list[str]:
    """Return the names of the models that a section uses, apart from the default encoder."""
    return [name for name in (*settings.reward, settings.policy, settings.reference, settings.encoder) if name]


def scored(
    settings: ModelSignals, blocks: Blocks, cache: Cache, embed: Embed, prints: dict[str, str] | None = None
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """
    Measure the signals of a section. Models are loaded one after the other.

    Returns COLUMNS, one row per pair, and by model how many answers were not measured and why.
    """
    prints = prints or {}
    total = sum(len(block) for block in blocks())
    missing: dict[str, dict[str, int]] = {}

    def numbers(key: str, what: str, scorer: Scorer) -> Numbers:
        with NumberCache(cache(what, prints.get(scorer.name, ""))) as known:
            found = numbers_of(key, scorer, blocks(), known, settings.batch_tokens, total)
        if found.missing:
            missing[f"{key} {scorer.name}"] = found.missing
            _say_missing(key, scorer, found)
        return found

    columns: list[pl.DataFrame] = []
    if settings.reward:
        scores = [
            numbers("models.reward", "reward", RewardScorer(name, settings.max_tokens)).values
            for name in settings.reward
        ]
        columns.append(reward_columns(scores))
    if settings.policy:
        policy = LikelihoodScorer(settings.policy, settings.max_tokens)
        tokenizer, ours = policy.tokenizer, numbers("models.policy", "logp", policy)
        del policy  # so that one model is in memory at a time
        reference = None
        if settings.reference:
            other = LikelihoodScorer(settings.reference, settings.max_tokens, tokenizer)
            reference = numbers("models.reference", "logp", other).values
        columns.append(likelihood_columns(ours.values, ours.tokens, reference, settings.beta))
    if settings.relevance:
        columns.append(_relevance(settings, blocks, embed, total))
    found = pl.concat(columns, how="horizontal")
    absent = [pl.lit(None, pl.Float64).alias(name) for name in COLUMNS if name not in found.columns]
    return found.with_columns(absent).select(list(COLUMNS)), missing


def _say_missing(key: str, scorer: Scorer, found: Numbers) -> None:
    why = {
        "too_long": f"are longer than {scorer.limit:,} tokens",
        "refused": "are refused by its chat template",
        "failed": "got no number",
    }
    listed = ", ".join(f"{count:,} {why[name]}" for name, count in found.missing.items())
    tell(f"{key}: {scorer.name}: of {found.values.size:,} answers {listed}; they are not measured")


def _relevance(settings: ModelSignals, blocks: Blocks, embed: Embed, total: int) -> pl.DataFrame:
    def texts() -> Iterator[pl.Series]:
        for block in blocks():
            sides = block.select(asked=last_user_text("prompt"), chosen=text_of("chosen"), rejected=text_of("rejected"))
            masked = sides.select(pl.when(block.get_column("usable")).then(pl.all()))
            yield from masked.iter_columns()

    vectors = embed(texts(), settings.encoder, 3 * total)
    sides: list[list[np.ndarray]] = [[], [], []]
    start = 0
    for height in (len(block) for block in blocks()):
        for side in sides:
            side.append(vectors[start : start + height])
            start += height
    none = np.empty((0, vectors.shape[1]))
    return relevance_columns(*(np.concatenate([none, *side]) for side in sides))
