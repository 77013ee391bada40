"""Diversity of prompts: named clusters, a 2D map, and the selection of a diverse subset."""

from typing import Literal

import numpy as np
import polars as pl

from curate.embeddings.cosine import BLOCK, SCALE, distinct, grid
from curate.errors import RecipeError, require
from curate.text.scripts import UNSPACED

MOST_CLUSTERS = 50
FITTED = 20_000  # vectors on which k-means is fitted
TERMS = 3  # in a cluster's name
# A word, or two characters in scripts without spaces.
TERM = rf"{UNSPACED}{{2}}|[[\p{{L}}\p{{M}}\p{{N}}]--{UNSPACED}]{{2,}}"
POOL = 2048  # rows whose values are kept current while the next ones are selected among them
MAP = pl.Schema({"row": pl.UInt64(), "x": pl.Float64(), "y": pl.Float64()})


def prompt_clusters(
    vectors: np.ndarray, texts: pl.Series, k: int | None = None, *, seed: int = 0
) -> tuple[np.ndarray, list[str]]:
    """
    Cluster prompts by k-means, and name each cluster by the terms that distinguish its texts (c-TF-IDF).

    in : [rows, dim], the rows' texts; k defaults to sqrt(rows / 2), at most 50
    out: labels (int64, one per row; 0 is the largest cluster, -1 for a vector without a direction), cluster names
    """
    found = distinct(vectors)
    count = k or max(1, min(MOST_CLUSTERS, round((np.count_nonzero(found.places >= 0) / 2) ** 0.5)))
    if count < 1:
        raise RecipeError(f"k={k}: expected at least one cluster")
    if not len(found.rows):
        return found.places, []
    labels = np.full(len(vectors), -1)
    inside = found.places >= 0
    labels[inside] = _k_means(vectors, found.rows, min(count, len(found.rows)), seed)[found.places[inside]]
    sizes = np.bincount(labels[inside])
    firsts = np.full(len(sizes), len(vectors))
    np.minimum.at(firsts, labels[inside], found.places[inside])  # so that clusters of equal size have a fixed order
    order = np.lexsort((firsts, -sizes))
    renumbered = np.empty(len(order), np.int64)
    renumbered[order] = np.arange(len(order))
    labels[inside] = renumbered[labels[inside]]
    return labels, _names(texts, labels, int(np.count_nonzero(sizes)))


def _k_means(vectors: np.ndarray, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return a label for each of the distinct vectors. Centroids are fitted on the first ones, a random sample."""
    with require("threadpoolctl", "embed").threadpool_limits(1):  # the digits may depend on the number of threads
        model = require("sklearn.cluster", "embed").KMeans(count, random_state=seed, n_init=1, max_iter=50)
        model.fit(grid(vectors[rows[:FITTED]]) / SCALE)
    centroids = np.rint(model.cluster_centers_ * SCALE).astype(np.float32)
    # The nearest centroid has the highest product minus half its squared length.
    half = np.einsum("ij,ij->i", centroids, centroids) / 2
    return np.concatenate(
        [
            (grid(vectors[rows[start : start + BLOCK]]) @ centroids.T - half).argmax(axis=1)
            for start in range(0, len(rows), BLOCK)
        ]
    )


def _names(texts: pl.Series, labels: np.ndarray, count: int) -> list[str]:
    """Name each cluster by its terms with the highest c-TF-IDF; a term is counted once per text."""
    labelled = pl.DataFrame({"cluster": labels, "text": texts}).filter(pl.col("cluster") >= 0)
    terms = labelled.select("cluster", term=pl.col("text").str.to_lowercase().str.extract_all(TERM).list.unique())
    sizes = terms.group_by("cluster").agg(texts=pl.len())
    counted = terms.explode("term").drop_nulls().group_by("cluster", "term").len("count")
    counted = counted.filter(~pl.col("term").str.contains(r"^\p{N}+$")).join(sizes, on="cluster")
    share = pl.col("count") / pl.col("texts")
    overall = pl.col("count").sum().over("term") / len(labelled)
    # A stop word is frequent everywhere, and hardly more so in this cluster: both factors reduce its score.
    lift, rarity = (share / overall).log().clip(lower_bound=0), -overall.log()
    scored = counted.with_columns(score=share * lift * rarity)
    best = scored.sort("cluster", "score", "count", "term", descending=[False, True, True, False])
    names = best.group_by("cluster", maintain_order=True).agg(pl.col("term").head(TERMS).str.join(", "))
    found = dict(names.iter_rows())
    return [found.get(cluster) or "(no words)" for cluster in range(count)]


def map_2d(vectors: np.ndarray, limit: int = 5000) -> pl.DataFrame:
    """
    Project a sample of vectors onto their two principal axes.

    in : [rows, dim]
    out: MAP, sorted by row: up to `limit` rows, a sample that depends on the vectors alone
    """
    found = distinct(vectors)
    inside = np.flatnonzero(found.places >= 0)
    sample = inside[np.argsort(found.places[inside], kind="stable")][:limit]
    points = grid(vectors[sample]).astype(np.float64)
    if not len(points):
        return pl.DataFrame(schema=MAP)
    points = points - points.mean(axis=0)
    with require("threadpoolctl", "embed").threadpool_limits(1):
        axes = np.linalg.eigh(points.T @ points)[1][:, :-3:-1]
    largest = np.abs(axes).argmax(axis=0)
    signs = np.where(axes[largest, range(axes.shape[1])] < 0, -1.0, 1.0)
    flat = np.zeros((len(points), 2))
    flat[:, : axes.shape[1]] = points @ (axes * signs) / float(SCALE)
    return pl.DataFrame({"row": sample, "x": flat[:, 0], "y": flat[:, 1]}).cast(MAP).sort("row")


def diverse(
    vectors: np.ndarray,
    scores: np.ndarray | None,
    n: int,
    *,
    method: Literal["farthest", "mmr"] = "farthest",
    lambda_: float = 0.5,
    seed: int = 0,
) -> np.ndarray:
    """
    Select a diverse subset: up to n row numbers, in the order in which they were selected.

    in : [rows, dim], a score for each row (None: all equal; NaN is lowest)

    `farthest` starts with the best score and then selects the row farthest from all selected ones. `mmr` selects the
    highest lambda_ * (rank of the score, 0 to 1) - (1 - lambda_) * (cosine to the nearest selected row). Ties go to the
    better score; without scores, `seed` determines the first row. Of equal vectors the best is selected; the others
    come last, by score. Raises RecipeError for an unknown method and a negative n.
    """
    if method not in ("farthest", "mmr"):
        raise RecipeError(f"unknown method {method!r}. Known: farthest, mmr")
    if n < 0:
        raise RecipeError(f"n={n}: expected a number of rows, 0 or more")
    ranks = _score_ranks(scores, len(vectors))
    found = distinct(vectors)
    by_score = np.lexsort((np.where(found.places < 0, len(vectors), found.places), -ranks))
    usable = by_score[found.places[by_score] >= 0]
    firsts = usable[np.sort(np.unique(found.places[usable], return_index=True)[1])]
    if scores is None and len(firsts):
        firsts = np.roll(firsts, -int(np.random.default_rng(seed).integers(len(firsts))))
    gain, cost = (0.0, 1.0) if method == "farthest" else (lambda_, 1 - lambda_)
    cost /= float(SCALE) ** 2
    selected = firsts[_greedy(grid(vectors[firsts]), gain * ranks[firsts], cost, min(n, len(firsts)))]
    others = by_score[~np.isin(by_score, selected)]
    return np.concatenate([selected, others])[:n]


def _score_ranks(scores: np.ndarray | None, count: int) -> np.ndarray:
    """Return for each row the share of rows with a lower or equal score, 0 to 1."""
    if scores is None:
        return np.zeros(count)
    ranks = pl.Series(np.asarray(scores, float)).fill_nan(float("-inf")).rank("max")
    return ranks.to_numpy().astype(float) / max(count, 1)


def _greedy(points: np.ndarray, gains: np.ndarray, cost: float, count: int) -> np.ndarray:
    """
    Select greedily (lazy evaluation): return indices in the order in which they are selected.

    in : grid vectors, of which earlier ones win ties; the gain of each by itself

    The value of a row only decreases while others are selected, so its last computed value is an upper bound. The rows
    with the highest bounds are updated; the next row is among them while its value is at least every other bound.
    """
    nearest = np.zeros(len(points))  # product with the nearest selected row; negative ones count as 0
    compared = np.zeros(len(points), np.int64)  # the number of selected rows that each row was compared with
    selected: list[int] = []
    while len(selected) < count:
        bounds = gains - cost * nearest
        bounds[selected] = -np.inf
        pool, outside, first_outside = _best(bounds)
        _update(points, pool, nearest, compared, selected)
        pool_nearest, pool_points, values = nearest[pool], points[pool], gains[pool] - cost * nearest[pool]
        values[np.isin(pool, selected)] = -np.inf
        while len(selected) < count:
            best = int(values.argmax())
            value = values[best]
            if value < outside or (value == outside and pool[best] > first_outside) or value == -np.inf:
                break
            selected.append(int(pool[best]))
            pool_nearest = np.maximum(pool_nearest, pool_points @ pool_points[best])
            values = np.where(values == -np.inf, values, gains[pool] - cost * pool_nearest)
            values[best] = -np.inf
        nearest[pool], compared[pool] = pool_nearest, len(selected)
    return np.array(selected, np.int64)


def _best(bounds: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Return the indices of the POOL highest bounds, ascending; the highest of the other bounds, and its index."""
    if len(bounds) <= POOL:
        return np.arange(len(bounds)), -np.inf, len(bounds)
    least = np.partition(bounds, -POOL)[-POOL]
    above, equal = np.flatnonzero(bounds > least), np.flatnonzero(bounds == least)
    pool = np.sort(np.concatenate([above, equal[: POOL - len(above)]]))
    others = bounds.copy()
    others[pool] = -np.inf
    return pool, float(others.max()), int(others.argmax())


def _update(
    points: np.ndarray, pool: np.ndarray, nearest: np.ndarray, compared: np.ndarray, selected: list[int]
) -> None:
    """Compare each row of the pool with the rows that were selected since its last comparison, in place."""
    order = pool[np.argsort(compared[pool], kind="stable")]
    for rows in np.array_split(order, 8):  # rows of one part lack about the same comparisons
        new = selected[compared[rows].min() :] if len(rows) else []
        for start in range(0, len(new), POOL):
            products = points[rows] @ points[new[start : start + POOL]].T
            nearest[rows] = np.maximum(nearest[rows], products.max(axis=1))
        compared[rows] = len(selected)


def cap(labels: np.ndarray, scores: np.ndarray | None, at_most: int) -> np.ndarray:
    """
    Return the rows that are kept, ascending: per cluster the `at_most` with the best scores, of equal ones the first.

    in : a cluster for each row (rows with -1 are all kept), a score for each (None: all equal; NaN is lowest)
    """
    ranks = _score_ranks(scores, len(labels))
    order = np.lexsort((-ranks, labels))  # stable: of equal scores the first row comes first
    starts = np.searchsorted(labels[order], labels[order])
    kept = (np.arange(len(order)) - starts < at_most) | (labels[order] < 0)
    return np.sort(order[kept])
