"""
Antisymmetric logistic models of a preference: p(x) = 1 / (1 + exp(-c·x)), without an intercept: p(-x) = 1 - p(x).

x is f(chosen) - f(rejected). Every pair counts once as x with label 1 and once as -x with label 0. Columns are scaled
by their root mean square and not centered, which would break the symmetry.
"""

from dataclasses import dataclass

import numpy as np

from curate.errors import InputError, require

FOLDS = 5
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
        """The calibrated probability that the chosen answer is the better one."""
        return probability(self.slope * self.scores)

    def contributions(self, x: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return what some columns contribute to the scores."""
        found: np.ndarray = np.einsum("ij,ij->i", x[:, columns], self.coefficients[self.fold][:, columns])
        return found


def crossfitted(
    x: np.ndarray, groups: np.ndarray, folds: int = FOLDS, seed: int = 0, weights: np.ndarray | None = None
) -> np.ndarray:
    """
    Return for every pair the probability that its chosen side is the better one, by a model fitted on other groups.

    x: [pairs, features], differences. groups: an integer per pair; pairs of one group are in one fold. A pair in which
    all features are 0 has 0.5. Raises InputError for fewer than two groups.

        >>> crossfitted(np.array([[1.0], [2.0], [1.5], [0.0]]), np.arange(4)).round(1).tolist()
        [0.6, 0.8, 0.7, 0.5]
    """
    return crossfit(x, groups, folds, seed, weights).probabilities


def crossfit(
    x: np.ndarray, groups: np.ndarray, folds: int = FOLDS, seed: int = 0, weights: np.ndarray | None = None
) -> Fit:
    """Return the scores of `crossfitted` with the models; fewer groups than folds make as many folds as groups."""
    if folds < 2:
        raise InputError(f"folds={folds}: expected at least 2")
    fold = folds_of(groups, folds, seed)
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


def folds_of(groups: np.ndarray, folds: int = FOLDS, seed: int = 0) -> np.ndarray:
    """Return the fold of each pair: groups are shuffled and dealt out by their numbers of pairs, the largest first."""
    numbers, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    shuffled = np.random.default_rng(seed).permutation(len(numbers))
    shuffled = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    count = min(folds, len(numbers))
    filled, fold = np.zeros(count, np.int64), np.zeros(len(numbers), np.int64)
    for group in shuffled:
        fold[group] = filled.argmin()
        filled[fold[group]] += sizes[group]
    found: np.ndarray = fold[place]
    return found


def coefficients_of(x: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the coefficients of a model that is fitted on all pairs; 0 for features that are 0 everywhere."""
    found = np.zeros(x.shape[1])
    scale = np.sqrt(np.mean(x**2, axis=0)) if len(x) else found
    used = scale > 0
    if not used.any() or (weights is not None and not weights.any()):
        return found
    scaled = x[:, used] / scale[used]
    half = np.full(len(x), 0.5) if weights is None else weights / (2 * weights.mean())
    labels = np.repeat([1, 0], len(x))
    with require("threadpoolctl", "embed").threadpool_limits(1):  # the digits may depend on the number of threads
        model = require("sklearn.linear_model", "embed").LogisticRegression(
            C=PRIOR, fit_intercept=False, solver="newton-cholesky"
        )
        model.fit(np.vstack([scaled, -scaled]), labels, sample_weight=np.concatenate([half, half]))
    found[used] = model.coef_[0] / scale[used]
    return found


def probability(scores: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-scores)); exactly antisymmetric."""
    found: np.ndarray = (1 + np.tanh(scores / 2)) / 2
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
    """Return the 95 % interval of the AUC: a bootstrap over groups, with the models as they are."""
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
