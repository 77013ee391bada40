"""Means with 95 % intervals clustered by prompt: pairs of the same prompt are correlated, not independent."""

from dataclasses import asdict, dataclass, is_dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl

Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval, over `n` values of `clusters` prompts."""

    mean: float
    low: float
    high: float
    n: int
    clusters: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def proportion(values: pl.Series, clusters: pl.Series) -> Estimate | None:
    """
    Return the mean of values in 0..1 (1 = right, 0.5 = tie) with a Wilson interval (1927).

    The interval uses the effective sample size by Kish's design effect (1965). Nulls are ignored; None without values.
    """
    n, numbers, groups = _known(values, clusters)
    if not n:
        return None
    mean, variance = float(numbers.mean()), float(numbers.var(ddof=1)) if n > 1 else 0.0
    size = n / max(_cluster_variance(numbers, groups) / (variance / n), 1.0) if variance else len(np.unique(groups))
    size = max(size, 1.0)
    center = (mean + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z / (1 + Z**2 / size) * np.sqrt(mean * (1 - mean) / size + Z**2 / (4 * size**2))
    return Estimate(mean, max(float(center - half), 0.0), min(float(center + half), 1.0), n, len(np.unique(groups)))


def mean(values: pl.Series, clusters: pl.Series) -> Estimate | None:
    """
    Return the mean of any values with a normal interval from the clusters' sums.

    Nulls are ignored; None without values.
    """
    n, numbers, groups = _known(values, clusters)
    if not n:
        return None
    center, half = float(numbers.mean()), Z * float(np.sqrt(_cluster_variance(numbers, groups)))
    return Estimate(center, center - half, center + half, n, len(np.unique(groups)))


def difference(one: Estimate, two: Estimate) -> tuple[float, float, float]:
    """Return one - two and its 95 % interval (low, high) for independent estimates: Newcombe (1998), method 10."""
    gap = one.mean - two.mean
    low = np.hypot(one.mean - one.low, two.high - two.mean)
    high = np.hypot(one.high - one.mean, two.mean - two.low)
    return gap, gap - float(low), gap + float(high)


def length_controlled(wins: pl.Series, longer: pl.Series, clusters: pl.Series, *, draws: int = 400) -> Estimate | None:
    """
    Return the win rate at equal length, as in AlpacaEval 2 but without its term for the prompt (arXiv:2404.04475).

    A logistic regression of winning (0, 0.5, 1) on tanh of the length difference over its standard deviation, evaluated
    at 0; the interval is a bootstrap over the clusters. Nulls are ignored; None without values.
    """
    keep = wins.is_not_null() & longer.is_not_null()
    n, won, groups = _known(wins.filter(keep), clusters.filter(keep))
    if not n:
        return None
    gap = longer.filter(keep).to_numpy().astype(float)
    length = np.tanh(gap / gap.std()) if gap.std() else np.zeros(n)
    random = np.random.default_rng(0)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    resampled = []
    for _ in range(draws):
        rows = np.concatenate([members[i] for i in random.integers(len(members), size=len(members))])
        resampled.append(_at_equal_length(won[rows], length[rows]))
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(_at_equal_length(won, length), float(low), float(high), n, len(members))


def _at_equal_length(won: np.ndarray, length: np.ndarray) -> float:
    """Return 1 / (1 + e^-intercept), fitted by Newton's method; a ridge keeps it finite under perfect separation."""
    ridge = np.array([0.01, 0.1])
    x = np.column_stack([np.ones_like(length), length])
    weights = np.zeros(2)
    for _ in range(25):
        chance = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (chance - won) + ridge * weights
        curvature = (x * (chance * (1 - chance))[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step
        if np.abs(step).max() < 1e-8:
            break
    return float(1 / (1 + np.exp(-weights[0])))


def _known(values: pl.Series, clusters: pl.Series) -> tuple[int, np.ndarray, np.ndarray]:
    keep = values.is_not_null()
    kept = values.filter(keep).cast(pl.Float64).to_numpy()
    return len(kept), kept, clusters.filter(keep).to_numpy()


def _cluster_variance(values: np.ndarray, groups: np.ndarray) -> float:
    """Return the variance of the mean, from the sums of each cluster's deviations; 0 for a single cluster."""
    _, places = np.unique(groups, return_inverse=True)
    sums = np.bincount(places, values - values.mean())
    count = len(sums)
    return float((sums**2).sum() / len(values) ** 2 * count / (count - 1)) if count > 1 else 0.0


def to_plain(value: Any) -> Any:
    """Return nested dicts and lists with every Estimate as a dict, for JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, dict):
        return {key: to_plain(inner) for key, inner in value.items()}
    return [to_plain(inner) for inner in value] if isinstance(value, list) else value
