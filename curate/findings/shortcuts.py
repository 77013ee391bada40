"""
What a model could learn of a preference without reading: how well surface features alone tell chosen from rejected.

A cross-fitted antisymmetric logistic model (`linear`) is asked on all pairs, on parts of the features, and inside pairs
of nearly equal length; win rates by length, model, source, language and topic say where the label can be guessed.
"""

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, replace
from itertools import pairwise

import numpy as np
import polars as pl

from curate.findings.bias import wilson
from curate.findings.features import LENGTH, Features, wording
from curate.findings.linear import Fit, accuracy, auc, auc_interval, coefficients_of, fit_linear

DIGITS = 4
MATCHED = math.log(1.1)  # lengths differ by less than 10 %
LEAST_GROUPS = 2
BOUNDS = (1.0, 1.1, 1.25, 1.5, 2.0, 4.0)  # factors between the lengths of two answers
AUCS = pl.Schema({
    "what": pl.String(), "features": pl.UInt32(), "pairs": pl.UInt32(), "prompts": pl.UInt32(), "auc": pl.Float64(),
    "low": pl.Float64(), "high": pl.Float64(), "accuracy": pl.Float64(),
})  # fmt: skip
FEATURES = pl.Schema({
    "feature": pl.String(), "chosen": pl.String(), "differs": pl.Float64(), "alone": pl.Float64(),
    "coefficient": pl.Float64(), "drop": pl.Float64(),
})  # fmt: skip
WINS = pl.Schema({
    "by": pl.String(), "value": pl.String(), "wins": pl.String(), "pairs": pl.UInt32(), "rate": pl.Float64(),
    "low": pl.Float64(), "high": pl.Float64(), "accuracy": pl.Float64(),
})  # fmt: skip


@dataclass(frozen=True)
class Told:
    """How well a model tells the sides of some pairs apart. auc, low, high: None where it cannot be said."""

    pairs: int
    groups: int
    features: int
    _: KW_ONLY
    auc: float | None = None
    low: float | None = None
    high: float | None = None
    accuracy: float | None = None
    fit: Fit | None = None

    @classmethod
    def of(cls, features: Features, groups: np.ndarray) -> "Told":
        """Fit the model; pairs of one group only have no AUC, and pairs that differ in nothing one of 0.5."""
        counts = len(groups), len(np.unique(groups)), len(features.names)
        if counts[1] < LEAST_GROUPS:
            return cls(*counts)
        fit = fit_linear(features.x, groups)
        return replace(cls.by(fit.scores, groups, counts[2]), fit=fit)

    @classmethod
    def by(cls, scores: np.ndarray, groups: np.ndarray, features: int, weights: np.ndarray | None = None) -> "Told":
        """Return how well scores tell the sides apart."""
        low, high = auc_interval(scores, groups, weights)
        return cls(
            len(groups),
            len(np.unique(groups)),
            features,
            auc=round(auc(scores, weights), DIGITS),
            low=round(low, DIGITS),
            high=round(high, DIGITS),
            accuracy=round(accuracy(scores, weights), DIGITS),
        )

    def row(self, what: str) -> tuple[object, ...]:
        """Return a row of AUCS."""
        numbers = (self.features, self.pairs, self.groups, self.auc, self.low, self.high, self.accuracy)
        return (what, *numbers)


def auc_table(found: Told, pairs: pl.DataFrame, surface: Features, models: Features) -> pl.DataFrame:
    """
    Return AUCS: of all features, of length alone, without it, inside length-matched pairs, and of models' names.

    in : the model of all features, group, chosen_chars and rejected_chars, and features in the order of the pairs
    """
    groups = pairs.get_column("group").to_numpy()
    matched = np.abs(_log_ratio(pairs)) < MATCHED
    unlengthy = surface.without(LENGTH)
    rows = [
        found.row("all features"),
        Told.of(surface.only(LENGTH), groups).row("length alone"),
        Told.of(unlengthy, groups).row("all but length"),
        Told.of(unlengthy.of(matched), groups[matched]).row("all but length, lengths equal"),
    ]
    if models.names:
        rows.append(Told.of(models, groups).row("names of the models"))
        rows.append(Told.of(surface.beside(models), groups).row("all features and names"))
    return pl.DataFrame(rows, schema=AUCS, orient="row")


def feature_table(found: Told, surface: Features) -> pl.DataFrame:
    """
    Return FEATURES, those first that tell the sides apart best alone.

    chosen: what it has more often. differs: the share of the pairs in which the sides differ. alone: the AUC of this
    feature, never below 0.5. coefficient: of the model on all pairs, per standard deviation. drop: by how much the
    model's AUC is lower without what the feature contributes to its score.
    """
    rows = []
    if found.fit is not None:
        coefficients = coefficients_of(surface.x) * np.sqrt(np.mean(surface.x**2, axis=0))
        for column, name in enumerate(surface.names):
            x = surface.x[:, column]
            alone = auc(x)
            rest = auc(found.fit.scores - found.fit.contributions(surface.x, column))
            shares = (float(np.mean(x != 0)), max(alone, 1 - alone), coefficients[column], auc(found.fit.scores) - rest)
            # + 0.0: a zero has no sign
            rows.append((name, wording(name, more=alone >= 0.5), *(round(float(s), DIGITS) + 0.0 for s in shares)))
    table = pl.DataFrame(rows, schema=FEATURES, orient="row").with_row_index("place")
    return table.sort("alone", "place", descending=[True, False]).drop("place")


def win_rates(found: Told, pairs: pl.DataFrame) -> pl.DataFrame:
    """
    Return WINS: by length, model, source, language and topic, how often the longer answer, or the model, is chosen.

    wins: what is counted. accuracy: the share of the pairs that the model of all features tells right.

    in : chosen_chars, rejected_chars, chosen_model, rejected_model, source, prompt_language, and topic if known
    """
    ratio = _log_ratio(pairs)
    right = np.full(len(pairs), 0.5) if found.fit is None else (np.sign(found.fit.scores) + 1) / 2
    frame = pairs.with_columns(
        longer=pl.Series(np.sign(ratio), dtype=pl.Int8), right=pl.Series(right), length=pl.Series(_length_bins(ratio))
    )
    unequal = frame.filter(pl.col("longer") != 0)
    rows = list(_rows(unequal, "length", order=[label for _, label in _bins()]))
    rows += _model_rows(frame)
    for by, column in (("source", "source"), ("language", "prompt_language"), ("topic", "topic")):
        if column in frame.columns:
            rows += _rows(unequal.with_columns(pl.col(column).alias(by)), by)
    return pl.DataFrame(rows, schema=WINS, orient="row")


def _rows(frame: pl.DataFrame, by: str, order: list[str] | None = None) -> Iterator[tuple[object, ...]]:
    """Yield a row per value, the most frequent first, of how often the longer answer is chosen."""
    counted = frame.drop_nulls(by).group_by(by).agg(n=pl.len(), k=(pl.col("longer") > 0).sum(), right=pl.mean("right"))
    counted = counted.sort("n", by, descending=[True, False])
    values = {row[0]: row for row in counted.iter_rows()}
    for value in values if order is None else [label for label in order if label in values]:
        _, n, k, right = values[value]
        yield _win(by, value, "the longer", n, k, right)


def _model_rows(frame: pl.DataFrame) -> Iterator[tuple[object, ...]]:
    """Yield a row per model of how often it is chosen over another one."""
    known = frame.filter(pl.col("chosen_model") != pl.col("rejected_model"))
    sides = known.select("chosen_model", "rejected_model", "right").unpivot(
        ["chosen_model", "rejected_model"], index="right", variable_name="side", value_name="model"
    )
    counts = sides.group_by("model").agg(n=pl.len(), k=(pl.col("side") == "chosen_model").sum(), right=pl.mean("right"))
    for model, n, k, right in counts.sort("n", "model", descending=[True, False]).iter_rows():
        yield _win("model", model, "its own", n, k, right)


def _win(by: str, value: str, wins: str, n: int, k: int, right: float) -> tuple[object, ...]:
    shares = (k / n, *wilson(k, n), right)
    return (by, value, wins, n, *(round(share, DIGITS) for share in shares))


def _log_ratio(pairs: pl.DataFrame) -> np.ndarray:
    """Return log((chosen_chars + 1) / (rejected_chars + 1)); 0 where one was not measured."""
    ends = [pl.col(f"{side}_chars").cast(pl.Float64).log1p() for side in ("chosen", "rejected")]
    return pairs.select(r=(ends[0] - ends[1]).fill_null(0.0)).to_series().to_numpy()


def _bins() -> list[tuple[float, str]]:
    """Return the bins of the factor between two lengths: lower bound and label."""
    spans = [f"{low:g}–{high:g} times as long" for low, high in pairwise(BOUNDS)]
    return list(zip(BOUNDS, [*spans, f"over {BOUNDS[-1]:g} times as long"], strict=True))


def _length_bins(ratio: np.ndarray) -> list[str]:
    labels = [label for _, label in _bins()]
    places = np.searchsorted(np.log(BOUNDS), np.abs(ratio), "right") - 1
    return [labels[place] for place in places]


def length_share(pairs: pl.DataFrame, weights: np.ndarray | None = None) -> float | None:
    """Return the share of the pairs of unequal length in which chosen is longer; None if there are none."""
    ratio = _log_ratio(pairs)
    unequal = ratio != 0
    if not unequal.any():
        return None
    part = None if weights is None else weights[unequal]
    return round(float(np.average(ratio[unequal] > 0, weights=part)), DIGITS)
