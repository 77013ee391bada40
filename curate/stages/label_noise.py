"""Pairs and signals → the same signals with the confidence of each label; nothing is flipped or dropped here."""

import numpy as np
import polars as pl

from curate.errors import RecipeError
from curate.findings.annotators import NAMES
from curate.findings.label_noise import NOISE, SCORES, Evidence, label_noise
from curate.recipe.load import Recipe
from curate.recipe.scoring import AUTO
from curate.rules import field_text
from curate.rundir.stage import Stage
from curate.rundir.store import Store, fingerprint
from curate.stages.vectors import embedded
from curate.text.messages import text_of

VERSION = 3
RESPONSES = ("chosen", "rejected")
SAMPLE = 1000  # rows with other columns, in which the annotator's is looked for


def with_label_noise(store: Store, recipe: Recipe, pairs: Stage, signals: Stage) -> Stage:
    """
    Write the signals once more, with NOISE measured for all rows that are pairs, and the heads in the stage's info.

    Raises RecipeError for too few pairs to learn from.
    """
    settings = recipe.label_noise
    assert settings is not None  # noqa: S101 - only called with the section
    key = fingerprint("label_noise", VERSION, settings.model_dump(mode="json"), signals.key)
    stage = store.stage("label_noise", key)
    if stage.info is not None:
        return stage
    names = ["pair_id", "flipped_id", "prompt_id", "chosen_model", "rejected_model"]
    sides = [text_of(side).alias(f"{side}_text") for side in RESPONSES]
    usable = pl.col("problem").is_null()
    rows = pairs.scan().select(*names, *sides, "extra", usable=usable).collect(engine="streaming")
    measured = signals.scan().collect(engine="streaming")
    mask = rows.get_column("usable")
    rows, known = rows.filter("usable"), measured.filter(mask)
    texts = rows.get_column("chosen_text"), rows.get_column("rejected_text")
    vectors = _vectors(store, texts, settings.model) if settings.vectors else None
    scores = [name for name in SCORES if name in known.columns]
    evidence = Evidence(
        rows.select(names).with_columns(known.select(scores).get_columns()),
        known, texts, vectors, rows.get_column("prompt_id"),
        annotators(rows.select("extra"), settings.annotator),
    )  # fmt: skip
    found = label_noise(evidence)
    place = pl.Series(np.flatnonzero(mask.to_numpy()), dtype=pl.UInt32)
    whole = found.rows.with_columns(place=place)
    start = 0
    for number in range(len(signals.parts())):
        part = pl.read_parquet(signals.part(number), glob=False)
        places = pl.DataFrame({"place": pl.int_range(start, start + len(part), dtype=pl.UInt32, eager=True)})
        noise = places.join(whole, on="place", how="left", maintain_order="left").select(list(NOISE))
        stage.write(number, part.with_columns(noise.get_columns()))
        start += len(part)
    stage.finish(heads=found.heads, pairs=len(rows), verdicts=dict(_counts(found.rows)))
    return stage


def annotators(rows: pl.DataFrame, field: str | None) -> pl.Series | None:
    """
    Return who gave the label of each row, from a field of the source's other columns; None if nothing says it.

    in : extra; a field (`extra.meta.worker`), "auto" = the first of NAMES that a row has, or None
    Raises RecipeError for a field that no row has.
    """
    if field is None:
        return None
    if field == AUTO:
        some = rows.drop_nulls().head(SAMPLE).select(field_text((name,)).alias(name) for name in NAMES)
        return next((rows.select(field_text((name,))).to_series() for name in NAMES if some[name].count()), None)
    found = rows.select(field_text(tuple(field.removeprefix("extra.").split(".")))).to_series()
    if not found.count():
        raise RecipeError(f"label_noise.annotator: no row has {field}; expected a column of the source: extra.NAME")
    return found


def _counts(rows: pl.DataFrame) -> list[tuple[str, int]]:
    return sorted(rows.get_column("label_verdict").value_counts().iter_rows())


def _vectors(store: Store, texts: tuple[pl.Series, pl.Series], model: str | None) -> tuple[np.ndarray, np.ndarray]:
    count = len(texts[0])
    found = embedded(store, iter(texts), model, 2 * count)
    return found[:count], found[count:]
