"""
Antisymmetric logistic models of a preference that show what they learnt, and how well they tell the sides apart.

As in `crossfit`, x is f(chosen) - f(rejected), and p(x) = 1 / (1 + exp(-c·x)), so that p(-x) = 1 - p(x). Here pairs can
be weighted, the coefficients are kept, and the scores of small sets are calibrated.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.errors import InputError, require
from curate.findings.crossfit import EXTRA, FOLDS, folds_of, one_thread, probability, scaled

DRAWS = 500  # of the bootstrap
PRIOR = 1.0  # inverse strength of the L2 penalty


@dataclass(frozen=True)
class Fit:
    """Scores of all pairs by models that did not see their groups, and these models: a row of coefficients per fold."""

    scores: np.ndarray  # c·x; above 0 where the chosen answer is preferred
    coefficients: np.ndarray  # [folds, features], of x as it is
    fold: np.ndarray  # of each pair
    slope: float  # calibrates the scores, since small sets make models too sure; never below 0

    @property
    def probabilities(self) -> np.ndarray:
        """The calibrated probability that the chosen answer is the better one; 0.5 where all features are 0."""
        return probability(self.slope * self.scores)

    def contributions(self, x: np.ndarray, column: int) -> np.ndarray:
        """Return what one feature contributes to the scores."""
        found: np.ndarray = x[:, column] * self.coefficients[self.fold, column]
        return found


def fit_linear(x: np.ndarray, groups: np.ndarray, weights: np.ndarray | None = None, *, folds: int = FOLDS) -> Fit:
    """
    Fit a model for each fold on the other folds. Fewer groups than folds make as many folds as groups.

    in : [pairs, features], differences; a number or text per pair: pairs of one group are in one fold
    Raises InputError for fewer than two groups.

        >>> fit_linear(np.array([[1.0], [2.0], [1.5], [0.0]]), np.arange(4)).probabilities.round(1).tolist()
        [0.6, 0.8, 0.7, 0.5]
    """
    fold = folds_of(pl.Series(groups), folds)
    count = int(fold.max(initial=-1)) + 1
    if count < 2:
        raise InputError(f"cross-validation needs pairs of at least 2 groups of prompts, found {count}")
    coefficients = np.zeros((count, x.shape[1]))
    for number in range(count):
        inside = fold != number
        coefficients[number] = coefficients_of(x[inside], None if weights is None else weights[inside])
    # Column by column, so that a score does not depend on which rows are computed together.
    scores = np.zeros(len(x))
    for column in range(x.shape[1]):
        scores += x[:, column] * coefficients[fold, column]
    slope = max(0.0, float(coefficients_of(scores[:, None], weights)[0]))
    return Fit(scores, coefficients, fold, slope)


def coefficients_of(x: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the coefficients of a model that is fitted on all pairs; 0 for features that are 0 everywhere."""
    found = np.zeros(x.shape[1])
    used = np.any(x != 0, axis=0)
    if not used.any() or (weights is not None and not weights.any()):
        return found
    even = scaled(x[:, used])
    half = np.full(len(x), 0.5) if weights is None else weights / (2 * weights.mean())
    model = require("sklearn.linear_model", EXTRA).LogisticRegression(
        C=PRIOR, fit_intercept=False, solver="newton-cholesky"
    )
    with one_thread():
        model.fit(np.vstack([even, -even]), np.repeat([1, 0], len(x)), sample_weight=np.concatenate([half, half]))
    found[used] = model.coef_[0] / np.sqrt(np.mean(x[:, used] ** 2, axis=0))
    return found


def auc(scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """
    Return the AUC over both orientations of all pairs: the share of the pairs i and j, i ≠ j, with s_i > -s_j.

    That is the probability that some pair as it is labelled scores higher than another one with its sides swapped; ties
    count half. 0.5 for fewer than two pairs.

        >>> auc(np.array([1.0, 2.0, -1.0]))
        0.8333333333333334
    """
    return _Ranking(scores).auc(np.ones(len(scores)) if weights is None else weights)


def accuracy(scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the share of the pairs with a score above 0; ties count half."""
    right = np.where(scores == 0, 0.5, scores > 0)
    return float(np.average(right, weights=weights)) if len(right) else 0.5


def auc_interval(
    scores: np.ndarray, groups: np.ndarray, weights: np.ndarray | None = None, *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """
    Return the 95 % interval of the AUC: a bootstrap over groups, with the models as they are.

    How the fit varies is not in it, so it is too narrow where there is little to learn: of pure noise (400 to 2,000
    pairs, 3 to 20 features) 7 % of the intervals are above 0.5, and 8 % below, instead of 2.5 % each.
    """
    ranking, base = _Ranking(scores), np.ones(len(scores)) if weights is None else weights
    _, place = np.unique(groups, return_inverse=True)
    count, random = int(place.max(initial=-1)) + 1, np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        times = np.bincount(random.integers(count, size=count), minlength=count)
        found.append(ranking.auc(base * times[place]))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


class _Ranking:
    """The order of all s and -s, so that an AUC with other weights needs no sorting."""

    def __init__(self, scores: np.ndarray) -> None:
        self._order = np.argsort(-scores, kind="stable")
        swapped = -scores[self._order]
        self._below = np.searchsorted(swapped, scores, "left")  # how many of -s are lower
        self._up_to = np.searchsorted(swapped, scores, "right")
        self._own = np.where(scores == 0, 0.5, scores > 0)

    def auc(self, weights: np.ndarray) -> float:
        sums = np.concatenate([[0.0], np.cumsum(weights[self._order])])
        with_itself = float(np.sum(weights**2))
        above = np.sum(weights * (sums[self._below] + sums[self._up_to])) / 2 - np.sum(weights**2 * self._own)
        among = float(np.sum(weights)) ** 2 - with_itself
        return float(above / among) if among > 0 else 0.5
