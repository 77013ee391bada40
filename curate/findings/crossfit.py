"""
Antisymmetric models of pairs, cross-fitted: what they say of a pair was learnt from other prompts.

A pair is described by differences, chosen minus rejected. A model without an intercept, fitted on every difference x
with label 1 and on -x with label 0, says the opposite of a pair whose sides are swapped. What it returns of a pair is
the log-odds that the chosen answer is the better one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from curate.errors import require
from curate.schema import digest

EXTRA = "embed"  # scikit-learn comes with it
FOLDS = 5
ITERATIONS = 500
Fit = Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]]  # rows to fit on -> (rows -> log-odds)


def folds_of(groups: pl.Series, count: int = FOLDS) -> np.ndarray:
    """
    Return the fold of each row, 0 to count - 1: rows of a group are in one fold, whatever the order of the rows.

    in : a group per row (a prompt, or a cluster of prompts), str or int; fewer groups than folds make fewer folds

        >>> import polars as pl
        >>> folds_of(pl.Series(["a", "b", "a", "c"]), 2).tolist()
        [0, 1, 0, 1]
    """
    rows = pl.DataFrame({"group": groups})
    order = rows.unique("group").select("group", place=digest(pl.col("group").cast(pl.String)).rank("ordinal") - 1)
    place = rows.join(order, on="group", how="left", maintain_order="left").get_column("place")
    count = max(1, min(count, len(order)))
    return (place.to_numpy() % count).astype(np.int64)


def crossfitted(fit: Fit, folds: np.ndarray) -> np.ndarray:
    """Return the log-odds of each row by a model that was fitted on the other folds; zeros if there is one fold."""
    found = np.zeros(len(folds))
    count = int(folds.max(initial=-1)) + 1
    for fold in range(count if count > 1 else 0):
        rows = np.flatnonzero(folds == fold)
        found[rows] = fit(np.flatnonzero(folds != fold))(rows)
    return found


def logistic(x: Any, strength: float) -> Fit:
    """
    Return a logistic regression on differences: [rows, features], dense or sparse.

    strength is scikit-learn's C: the lower, the more it is regularised.
    """

    def fit(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        model = require("sklearn.linear_model", EXTRA).LogisticRegression(
            C=strength, fit_intercept=False, max_iter=ITERATIONS
        )
        seen = x[rows]
        both = require("scipy.sparse", EXTRA).vstack([seen, -seen]) if hasattr(x, "tocsr") else np.vstack([seen, -seen])
        model.fit(both, np.repeat([1, 0], len(rows)))
        weights = model.coef_[0]
        return lambda others: np.asarray(x[others] @ weights)

    return fit


def boosted(chosen: np.ndarray, rejected: np.ndarray) -> Fit:
    """Return gradient boosting on both sides: [rows, features]. It is asked twice, the second time swapped."""

    def sides(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.hstack([one - other, one + other])

    def fit(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        model = require("sklearn.ensemble", EXTRA).HistGradientBoostingClassifier(
            learning_rate=0.06, max_iter=150, max_leaf_nodes=15, l2_regularization=5, min_samples_leaf=30,
            early_stopping=False, random_state=0,
        )  # fmt: skip
        ahead, behind = sides(chosen[rows], rejected[rows]), sides(rejected[rows], chosen[rows])
        model.fit(np.vstack([ahead, behind]), np.repeat([1, 0], len(rows)))

        def odds(others: np.ndarray) -> np.ndarray:
            ahead = model.decision_function(sides(chosen[others], rejected[others]))
            behind = model.decision_function(sides(rejected[others], chosen[others]))
            return np.asarray(ahead - behind) / 2

        return odds

    return fit


def one_thread() -> Any:
    """Return a context in which the libraries compute in one thread: the digits may depend on their number."""
    return require("threadpoolctl", EXTRA).threadpool_limits(1)


def scaled(x: np.ndarray) -> np.ndarray:
    """Return differences with a mean square of 1 per feature; a feature that never differs stays 0."""
    size = np.sqrt((x.astype(np.float64) ** 2).mean(axis=0)) if len(x) else np.ones(x.shape[1])
    found: np.ndarray = x / np.where(size > 0, size, 1.0)
    return found


def probability(odds: np.ndarray) -> np.ndarray:
    """Return the probability of log-odds, 0..1."""
    found: np.ndarray = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
    return found
