"""Means with honest intervals: pairs of one prompt say nearly the same, so they do not count as independent."""

from dataclasses import dataclass
from statistics import NormalDist

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


def share(values: pl.Series, clusters: pl.Series) -> Estimate | None:
    """
    The mean of values in 0..1 (1 = right, 0.5 = tie) with Wilson's interval (1927), over as many independent values as
    there are by Kish's design effect (1965). Nulls are left out; None without any value.
    """
    known, numbers, groups = _known(values, clusters)
    if not known:
        return None
    mean, spread = float(numbers.mean()), float(numbers.var(ddof=1)) if known > 1 else 0.0
    size = known / max(_cluster_variance(numbers, groups) / (spread / known), 1.0) if spread else len(np.unique(groups))
    size = max(size, 1.0)
    center = (mean + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z / (1 + Z**2 / size) * np.sqrt(mean * (1 - mean) / size + Z**2 / (4 * size**2))
    return Estimate(mean, max(float(center - half), 0.0), min(float(center + half), 1.0), known, len(np.unique(groups)))


def mean(values: pl.Series, clusters: pl.Series) -> Estimate | None:
    """The mean of any values; its interval is normal, by the variance of the clusters' sums. Nulls are left out."""
    known, numbers, groups = _known(values, clusters)
    if not known:
        return None
    middle, half = float(numbers.mean()), Z * float(np.sqrt(_cluster_variance(numbers, groups)))
    return Estimate(middle, middle - half, middle + half, known, len(np.unique(groups)))


def difference(one: Estimate, two: Estimate) -> tuple[float, float, float]:
    """one - two with a 95 % interval, where the two are independent; from their half widths."""
    gap = one.mean - two.mean
    low = np.hypot(one.mean - one.low, two.high - two.mean)
    high = np.hypot(one.high - one.mean, two.mean - two.low)
    return gap, gap - float(low), gap + float(high)  # Newcombe (1998), method 10


def length_controlled(wins: pl.Series, longer: pl.Series, clusters: pl.Series, *, draws: int = 400) -> Estimate | None:
    """
    The win rate at equal length, as AlpacaEval 2 has it without its term for the prompt (arXiv:2404.04475): a logistic
    regression of winning (0, 0.5, 1) on tanh of the difference in length over its standard deviation, read at 0. The
    interval is a bootstrap over the clusters. Nulls are left out; None without any value.
    """
    keep = wins.is_not_null() & longer.is_not_null()
    known, won, groups = _known(wins.filter(keep), clusters.filter(keep))
    if not known:
        return None
    gap = longer.filter(keep).to_numpy().astype(float)
    size = np.tanh(gap / gap.std()) if gap.std() else np.zeros(known)
    sample_pairs = np.random.default_rng(0)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    found = []
    for _ in range(draws):
        rows = np.concatenate([members[i] for i in sample_pairs.integers(len(members), size=len(members))])
        found.append(_at_equal_length(won[rows], size[rows]))
    low, high = np.quantile(found, [0.025, 0.975])
    return Estimate(_at_equal_length(won, size), float(low), float(high), known, len(members))


def _at_equal_length(won: np.ndarray, size: np.ndarray) -> float:
    """1 / (1 + e^-intercept), by Newton's method; a ridge keeps what is perfectly separated finite."""
    ridge = np.array([0.01, 0.1])
    x = np.column_stack([np.ones_like(size), size])
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
    """Variance of the mean, from the sums of each cluster's deviations; 0 for a single cluster."""
    _, places = np.unique(groups, return_inverse=True)
    sums = np.bincount(places, values - values.mean())
    count = len(sums)
    return float((sums**2).sum() / len(values) ** 2 * count / (count - 1)) if count > 1 else 0.0
