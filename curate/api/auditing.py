"""Audit: what a model could learn from a preference dataset without reading the answers, and what to do about it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curate.api.frames import measure
from curate.dedup.corpus import BlockCorpus
from curate.errors import InputError, RecipeError
from curate.files import write_json
from curate.findings.features import model_features, surface_features
from curate.findings.remedies import models_balanced, remedy_table, weights_of
from curate.findings.shortcuts import LEAST_GROUPS, Told, auc_table, feature_table, win_rates
from curate.recipe.load import make_recipe
from curate.report.audit import AUDIT, audit_key
from curate.report.html import add_audit
from curate.rundir.manifest import Manifest
from curate.rundir.result import Run, open_run
from curate.rundir.store import MANIFEST, RECIPE, SPLITS, Store, locked
from curate.schema.result import html_table
from curate.signals import RESPONSES, SIGNALS
from curate.sources.frames import as_pairs, read
from curate.stages.remaining import Remaining
from curate.stages.split import prompt_groups
from curate.stages.vectors import run_corpus
from curate.terminal import busy, say

# What is measured of both answers without a model.
SURFACE = [s for s in SIGNALS.values() if s.kind in ("text", "texts", "calls") and set(RESPONSES) <= set(s.sides)]
ABOUT = ["pair_id", "prompt_id", "source", "source_row", "chosen_model", "rejected_model"]
MEASURED = ["prompt_language", "margin", *(f"{side}_{signal.name}" for signal in SURFACE for side in RESPONSES)]
DROPPING = ("dedup", "decontaminate", "select")  # stages that drop rows after the rules


@dataclass(frozen=True, eq=False, repr=False)
class Audit:
    """
    How well surface features alone tell chosen from rejected, and what remedies cost.

    auc: one row per set of features. features: what each tells alone and in the model. win_rates: by length, model,
    source, language and topic. remedies: rows lost and the AUC after each. pairs: pair_id, source, source_row,
    probability (of the label, by a model that did not see its prompt), weight (1 / probability, of mean 1) and
    models_balanced (whether that remedy keeps it).
    """

    auc: pl.DataFrame
    features: pl.DataFrame
    win_rates: pl.DataFrame
    remedies: pl.DataFrame
    pairs: pl.DataFrame

    def __repr__(self) -> str:
        first = self.auc.row(0, named=True)
        auc, low, high = (f"{first[name]:.2f}" for name in ("auc", "low", "high"))
        return f"Audit({first['pairs']:,} pairs · surface AUC {auc} [{low}, {high}])"

    def _repr_html_(self) -> str:
        names = ("remedy", "kept", "lost", "auc")
        return html_table(repr(self), names, self.remedies.select(names).rows())

    def to_dict(self) -> dict[str, Any]:
        """Return the tables as plain data; the pairs are not in it."""
        tables: Mapping[str, pl.DataFrame] = {name: getattr(self, name) for name in TABLES}
        return {name: table.to_dicts() for name, table in tables.items()}


TABLES = ("auc", "features", "win_rates", "remedies")


def audit(source: Any, **source_options: Any) -> Audit:
    """
    Audit a preference dataset: what could a model learn from it without reading, and what do remedies cost?

    Parameters
    ----------
    source
        A `Run`, its folder, or anything that `curate.read` takes. Of a run, the pairs that it kept are audited by its
        stored signals; the tables are also written to `audit.json` in its folder, and its report shows them.
    **source_options
        As for `curate.read`, of a source that is no run: format, columns, winners, split, config, revision, limit.

    Returns
    -------
    `Audit`, with the frames auc, features, win_rates, remedies and pairs. The model is logistic and antisymmetric
    (swapping the sides gives 1 - p), on differences of the built-in signals of both answers; similar prompts are in one
    fold. An AUC is the probability that a pair as labelled scores above another one with its sides swapped: 0.5, or
    less, says that the surface tells nothing. Intervals (95 %) are a bootstrap over prompts. The order of the rows
    changes nothing.

    Raises
    ------
    InputError for a source without pairs, with pairs of fewer than two different prompts, or a damaged run;
    MissingExtra without scikit-learn (extra: embed); RecipeError for options of a run.

    Examples
    --------
    >>> import curate
    >>> rows = [{"prompt": f"Tea {n}?", "chosen": "Green tea. " * (n + 1), "rejected": "No."} for n in range(20)]
    >>> found = curate.audit(rows)
    >>> found
    Audit(20 pairs · surface AUC 1.00 [1.00, 1.00])
    >>> found.features.select("feature", "chosen", "alone").row(0)
    ('chars', 'longer', 1.0)
    >>> found.remedies.select("remedy", "kept").rows()[:2]
    [('none', 20), ('lengths balanced', 0)]
    """
    run = _run_of(source)
    if run is not None and source_options:
        raise RecipeError(f"{run.folder} is a run; {', '.join(source_options)} can be given for sources only")
    with busy("audit"):
        if run is not None and not run.manifest.pulled:
            pairs = _pairs_of_run(run)
        else:
            frame = (
                _read(source, source_options) if run is None else pl.concat([run.split(n) for n in SPLITS]).collect()
            )
            pairs = _pairs_of_frame(frame)
        name = str(run.folder) if run is not None else "the source"
        found = _audited(pairs, name)
    if run is not None:
        _keep(run, found)
    return found


def _keep(run: Run, found: Audit) -> None:
    """Write the tables into the run's folder, and into its report."""
    try:
        with locked(run.folder):
            if Manifest.read(run.folder / MANIFEST).seal != run.manifest.seal:
                say(f"{run.folder} was changed while it was audited; {AUDIT} is not written")
                return
            write_json(run.folder / AUDIT, {"run": audit_key(run), **found.to_dict()})
            if not run.manifest.pulled:
                add_audit(run)
    except OSError as error:
        say(f"{run.folder / AUDIT} could not be written: {error.strerror}")
    except RecipeError as error:
        say(f"{AUDIT} is not written: {error}")


def _read(source: Any, options: dict[str, Any]) -> pl.DataFrame:
    return read(source, **options) if options else as_pairs(source)


def _run_of(source: Any) -> Run | None:
    if isinstance(source, Run):
        return source
    if isinstance(source, str | Path) and any(os.path.isfile(Path(source) / name) for name in (MANIFEST, RECIPE)):
        return open_run(source)
    return None


def _pairs_of_run(run: Run) -> pl.DataFrame:
    """Return what is audited of the kept pairs: ABOUT, MEASURED, group, and topic if the run has clusters."""
    names = [name for name in DROPPING if name in run.manifest.stages]
    drops = {name: run.stage(name) for name in names}
    remaining = Remaining(run.stage("pairs"), run.stage("signals"), run.stage("rules"), drops)
    pairs = remaining.frame(*ABOUT, *MEASURED)
    groups = prompt_groups(run.recipe, run_corpus(Store(run.folder), remaining), pairs)
    pairs = pairs.with_columns(group=pl.Series(groups[pairs.get_column("row").to_numpy()]))
    if "clusters" in run.manifest.stages:
        clusters = run.stage("clusters")
        names = (clusters.info or {})["names"]
        topics = clusters.scan().filter(pl.col("cluster") >= 0).select("row", topic="cluster").collect()
        topics = topics.with_columns(topic=pl.Series(names, dtype=pl.String).gather(topics.get_column("topic")))
        pairs = pairs.join(topics, on="row", how="left", maintain_order="left")
    return pairs.drop("row")


def _pairs_of_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the same of pairs whose signals are measured here."""
    measured = measure(frame, MEASURED).select(*ABOUT, *MEASURED)
    recipe = make_recipe({"source": {"paths": ["-"]}})
    rows = frame.select("prompt_id").with_row_index("row").with_columns(pl.col("row").cast(pl.UInt64))
    return measured.with_columns(group=pl.Series(prompt_groups(recipe, BlockCorpus.of(frame), rows)))


def _audited(pairs: pl.DataFrame, name: str) -> Audit:
    if pairs.is_empty():
        raise InputError(f"{name} has no pairs to audit")
    # Sorted and grouped by ids, so that neither the order of the rows nor others that were dropped change anything.
    pairs = pairs.sort("pair_id", "source", "source_row")
    pairs = pairs.with_columns(group=pl.col("prompt_id").min().over("group"))
    if pairs.get_column("group").n_unique() < LEAST_GROUPS:
        raise InputError(f"{name} has pairs of one prompt (or similar ones) only; an audit needs at least two")
    surface, models = surface_features(pairs), model_features(pairs)
    groups = pairs.get_column("group").to_numpy()
    found = Told.of(surface, groups)
    probabilities = found.fit.probabilities if found.fit is not None else np.full(len(pairs), 0.5)
    return Audit(
        auc_table(found, pairs, surface, models),
        feature_table(found, surface),
        win_rates(found, pairs),
        remedy_table(found, pairs, surface, models),
        pairs.select(
            "pair_id",
            "source",
            "source_row",
            probability=pl.Series(probabilities),
            weight=pl.Series(weights_of(probabilities)),
            models_balanced=models_balanced(pairs),
        ),
    )
