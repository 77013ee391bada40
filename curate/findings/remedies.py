"""
What can be done about shortcuts, tried on the pairs: what each remedy costs in rows, and what is left to learn by it.

Remedies that a recipe can hold are the recipe's own steps, so that their line gives the same pairs. The lines of the
others are Python: `audit` is the result of `curate.audit(pairs)`, whose pairs are joined by pair_id.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.findings.crossfit import folds_of, probability
from curate.findings.features import Features
from curate.findings.linear import coefficients_of, fit_linear
from curate.findings.shortcuts import LEAST_GROUPS, Told, length_share
from curate.selection.choices import Material, choose
from curate.selection.sections import Step

CERTAIN = 0.95  # probability of either side from which a pair is dropped
MOST_WEIGHT = 20.0  # 1 / the lowest probability by which a pair is weighted
LEAST_MODELS = 2
REMEDIES = pl.Schema({
    "remedy": pl.String(), "kept": pl.UInt32(), "lost": pl.UInt32(), "effective": pl.UInt32(), "auc": pl.Float64(),
    "low": pl.Float64(), "high": pl.Float64(), "model_auc": pl.Float64(), "longer": pl.Float64(), "how": pl.String(),
})  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """A remedy: the pairs that it keeps, whether it weighs them, and the line that does it."""

    name: str
    keep: np.ndarray
    how: str
    is_weighted: bool = False


def weights_of(probabilities: np.ndarray) -> np.ndarray:
    """
    Return weights under which the surface tells nothing: 1 / the probability of the label, at most 20, of mean 1.

        >>> weights_of(np.array([0.5, 0.25, 0.001])).round(2).tolist()
        [0.23, 0.46, 2.31]
    """
    raw = 1 / np.maximum(probabilities, 1 / MOST_WEIGHT)
    found: np.ndarray = raw / raw.mean() if len(raw) else raw
    return found


def models_balanced(pairs: pl.DataFrame) -> pl.Series:
    """
    Return which pairs to keep so that of any two models each is chosen over the other equally often.

    Pairs of one model, or of an unknown one, are all kept; of the others the first ones in the order of the frame.

        >>> frame = pl.DataFrame({"chosen_model": ["a", "a", "b", "c"], "rejected_model": ["b", "b", "a", "a"]})
        >>> models_balanced(frame).to_list()
        [True, False, True, False]
    """
    one, other = pl.col("chosen_model"), pl.col("rejected_model")
    both = [pl.min_horizontal(one, other), pl.max_horizontal(one, other)]
    wins = (one < other).sum().over(both)
    least = pl.min_horizontal(wins, pl.len().over(both) - wins)
    place = pl.int_range(pl.len()).over([one, other])
    keep = (one == other).fill_null(value=True) | (place < least)
    return pairs.select(models_balanced=keep).to_series()


def remedy_table(found: Told, pairs: pl.DataFrame, surface: Features, models: Features) -> pl.DataFrame:
    """
    Return REMEDIES, the first row without any: each applied to the pairs, and the model fitted again on what is left.

    effective: the number of rows of equal weight that would be worth as much. model_auc: of the models' names alone.
    longer: the share in which chosen is longer, of the pairs of unequal length.

    in : the model of all features, group and the columns of the steps, features in the order of the pairs
    """
    rows = []
    for tried in _tried(found, pairs):
        part = pairs.filter(tried.keep)
        groups = part.get_column("group").to_numpy()
        left, names = surface.of(tried.keep), models.of(tried.keep)
        told = found if tried.name == "none" else weighted(left, groups) if tried.is_weighted else Told.of(left, groups)
        by_name = Told.of(names, groups).auc if names.names and not tried.is_weighted else None
        weights = weights_of(found.fit.probabilities) if found.fit is not None and tried.is_weighted else None
        sizes = (len(part), len(pairs) - len(part), _effective(part, weights))
        rows.append(
            (tried.name, *sizes, told.auc, told.low, told.high, by_name, length_share(part, weights), tried.how)
        )
    return pl.DataFrame(rows, schema=REMEDIES, orient="row")


def weighted(features: Features, groups: np.ndarray) -> Told:
    """
    Return how well a model that is fitted on weighted pairs tells the sides of other weighted pairs apart.

    The weights of the pairs that it is fitted on come from these alone: weights that balance all pairs at once would
    tell it the labels of the others.
    """
    fold, counts = folds_of(pl.Series(groups)), (len(groups), len(np.unique(groups)), len(features.names))
    if counts[1] <= LEAST_GROUPS:
        return Told(*counts)
    scores, weights = np.zeros(len(groups)), np.ones(len(groups))
    for number in range(int(fold.max()) + 1):
        inside, outside = fold != number, fold == number
        x, others = features.x[inside], features.x[outside]
        fit = fit_linear(x, groups[inside])
        weights[outside] = weights_of(probability(fit.slope * (others @ coefficients_of(x))))
        scores[outside] = others @ coefficients_of(x, weights_of(fit.probabilities))
    return Told.by(scores, groups, counts[2], weights)


def _tried(found: Told, pairs: pl.DataFrame) -> Iterator[Tried]:
    everything = np.ones(len(pairs), bool)
    yield Tried("none", everything, "")
    balanced = Step.model_validate({"length_balanced": {}})
    yield Tried("lengths balanced", _kept(balanced, pairs), "--set 'select.length_balanced={}'")
    counts = pairs.drop_nulls("chosen_model").group_by("chosen_model").len().get_column("len")
    if len(counts) >= LEAST_MODELS:
        most = int(counts.quantile(0.5, "lower") or 1)
        capped = Step.model_validate({"cap": {"per": "chosen_model", "n": most}})
        line = f"--set 'select.cap={{per: chosen_model, n: {most}}}'"
        yield Tried(f"models capped at {most:,}", _kept(capped, pairs), line)
        yield Tried("models balanced", models_balanced(pairs).to_numpy(), 'audit.pairs.filter("models_balanced")')
    if found.fit is not None:
        certain = np.abs(found.fit.probabilities - 0.5) > CERTAIN - 0.5
        line = f'audit.pairs.filter(pl.col("probability").is_between({1 - CERTAIN:.2g}, {CERTAIN:g}))'
        yield Tried("certain ones dropped", ~certain, line)
        yield Tried("weighted by 1/p", everything, 'audit.pairs["weight"]', is_weighted=True)


def _kept(step: Step, pairs: pl.DataFrame) -> np.ndarray:
    """Return which pairs a step keeps that needs neither vectors nor clusters."""
    none = np.full(len(pairs), -1)
    material = Material(lambda: none, lambda: (none, ()), lambda _: none)
    keep: np.ndarray = choose(step, pairs, material, 0).get_column("keep").to_numpy()
    return keep


def _effective(part: pl.DataFrame, weights: np.ndarray | None) -> int:
    """Return the effective sample size by Kish: the square of the sum of the weights by the sum of their squares."""
    if weights is None or not len(part):
        return len(part)
    return round(float(weights.sum() ** 2 / np.sum(weights**2)))
