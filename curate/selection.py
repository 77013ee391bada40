"""How varied prompts are: clusters with a name each, a map, and choosing few that cover much."""

from typing import Literal

import numpy as np
import polars as pl

from curate.embeddings.cosine import BLOCK, SCALE, distinct, grid
from curate.errors import RecipeError, require
from curate.text.scripts import UNSPACED

MOST_CLUSTERS = 50
FITTED = 20_000  # vectors from which the clusters' middles are found
TERMS = 3  # in a name
# A word, or two characters in scripts without spaces.
TERM = rf"{UNSPACED}{{2}}|[[\p{{L}}\p{{M}}\p{{N}}]--{UNSPACED}]{{2,}}"
POOL = 2048  # rows that are kept up to date while the next ones are chosen among them
MAP = pl.Schema({"row": pl.UInt64(), "x": pl.Float64(), "y": pl.Float64()})


def prompt_clusters(
    vectors: np.ndarray, texts: pl.Series, k: int | None = None, *, seed: int = 0
) -> tuple[np.ndarray, list[str]]:
    """
    in : [rows, dim], the rows' texts; k: sqrt(rows / 2) clusters, at most 50
    out: labels (int64, one a row; 0 is the largest cluster, -1 for a vector without a direction), the clusters' names

    By k-means. A name is the terms that set a cluster's texts apart from the others' (c-TF-IDF).
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
    np.minimum.at(firsts, labels[inside], found.places[inside])  # clusters of one size keep an order, too
    order = np.lexsort((firsts, -sizes))
    renumbered = np.empty(len(order), np.int64)
    renumbered[order] = np.arange(len(order))
    labels[inside] = renumbered[labels[inside]]
    return labels, _names(texts, labels, int(np.count_nonzero(sizes)))


def _k_means(vectors: np.ndarray, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """A label for each of the distinct vectors. The middles are found on the first of them, a sample of all."""
    with require("threadpoolctl", "embed").threadpool_limits(1):  # the digits may depend on the number of threads
        model = require("sklearn.cluster", "embed").KMeans(count, random_state=seed, n_init=1, max_iter=50)
        model.fit(grid(vectors[rows[:FITTED]]) / SCALE)
    middles = np.rint(model.cluster_centers_ * SCALE).astype(np.float32)
    # The nearest by distance is the highest product less half the middle's square.
    half = np.einsum("ij,ij->i", middles, middles) / 2
    return np.concatenate(
        [
            (grid(vectors[rows[start : start + BLOCK]]) @ middles.T - half).argmax(axis=1)
            for start in range(0, len(rows), BLOCK)
        ]
    )


def _names(texts: pl.Series, labels: np.ndarray, count: int) -> list[str]:
    """For each cluster its terms with the highest c-TF-IDF, told in a text once however often they stand in it."""
    told = pl.DataFrame({"cluster": labels, "text": texts}).filter(pl.col("cluster") >= 0)
    terms = told.select("cluster", term=pl.col("text").str.to_lowercase().str.extract_all(TERM).list.unique())
    sizes = terms.group_by("cluster").agg(texts=pl.len())
    counted = terms.explode("term").drop_nulls().group_by("cluster", "term").len("here")
    counted = counted.filter(~pl.col("term").str.contains(r"^\p{N}+$")).join(sizes, on="cluster")
    share = pl.col("here") / pl.col("texts")
    overall = pl.col("here").sum().over("term") / len(told)
    # A stop word is not much more frequent here than anywhere, and frequent anywhere: both make it light.
    lift, rarity = (share / overall).log().clip(lower_bound=0), -overall.log()
    scored = counted.with_columns(score=share * lift * rarity)
    best = scored.sort("cluster", "score", "here", "term", descending=[False, True, True, False])
    names = best.group_by("cluster", maintain_order=True).agg(pl.col("term").head(TERMS).str.join(", "))
    found = dict(names.iter_rows())
    return [found.get(cluster) or "(no words)" for cluster in range(count)]


def map_2d(vectors: np.ndarray, limit: int = 5000) -> pl.DataFrame:
    """
    in : [rows, dim]
    out: MAP, sorted by row: up to `limit` rows, a sample that depends on the vectors alone, on their two main axes
    """
    found = distinct(vectors)
    inside = np.flatnonzero(found.places >= 0)
    chosen = inside[np.argsort(found.places[inside], kind="stable")][:limit]
    points = grid(vectors[chosen]).astype(np.float64)
    if not len(points):
        return pl.DataFrame(schema=MAP)
    points = points - points.mean(axis=0)
    with require("threadpoolctl", "embed").threadpool_limits(1):
        axes = np.linalg.eigh(points.T @ points)[1][:, :-3:-1]
    largest = np.abs(axes).argmax(axis=0)
    signs = np.where(axes[largest, range(axes.shape[1])] < 0, -1.0, 1.0)
    flat = np.zeros((len(points), 2))
    flat[:, : axes.shape[1]] = points @ (axes * signs) / float(SCALE)
    return pl.DataFrame({"row": chosen, "x": flat[:, 0], "y": flat[:, 1]}).cast(MAP).sort("row")


def select(
    vectors: np.ndarray,
    scores: np.ndarray | None,
    n: int,
    *,
    method: Literal["farthest", "mmr"] = "farthest",
    lambda_: float = 0.5,
    seed: int = 0,
) -> np.ndarray:
    """
    in : [rows, dim], a score for each row (none: all the same; NaN is lowest)
    out: up to n row numbers, in the order in which they were chosen

    `farthest` begins with the best score and takes what lies farthest from all that is taken. `mmr` takes the highest
    lambda_ * (the score's rank, 0..1) - (1 - lambda_) * (cosine to the nearest that is taken). Ties go to the better
    score; where there are none, `seed` says with which vector to begin. Of equal vectors the best is chosen; the others
    come last, by score.
    """
    if method not in ("farthest", "mmr"):
        raise RecipeError(f"unknown method {method!r}. Known: farthest, mmr")
    if n < 0:
        raise RecipeError(f"n={n}: expected how many rows to choose, 0 or more")
    ranks = _score_ranks(scores, len(vectors))
    found = distinct(vectors)
    by_score = np.lexsort((np.where(found.places < 0, len(vectors), found.places), -ranks))
    usable = by_score[found.places[by_score] >= 0]
    firsts = usable[np.sort(np.unique(found.places[usable], return_index=True)[1])]
    if scores is None and len(firsts):
        firsts = np.roll(firsts, -int(np.random.default_rng(seed).integers(len(firsts))))
    gain, cost = (0.0, 1.0) if method == "farthest" else (lambda_, 1 - lambda_)
    cost /= float(SCALE) ** 2
    chosen = firsts[_greedy(grid(vectors[firsts]), gain * ranks[firsts], cost, min(n, len(firsts)))]
    rest = by_score[~np.isin(by_score, chosen)]
    return np.concatenate([chosen, rest])[:n]


def _score_ranks(scores: np.ndarray | None, count: int) -> np.ndarray:
    """The share of rows that a row's score is not below, 0..1; equal scores have one rank."""
    if scores is None:
        return np.zeros(count)
    ranks = pl.Series(np.asarray(scores, float)).fill_nan(float("-inf")).rank("max")
    return ranks.to_numpy().astype(float) / max(count, 1)


def _greedy(points: np.ndarray, gains: np.ndarray, cost: float, count: int) -> np.ndarray:
    """
    in : grid vectors in the order in which ties are settled; what taking each is worth by itself
    out: places, in the order in which they are taken

    What a row is worth only falls while others are taken. So those worth most by what was last known of them are
    brought up to date, and the next is among them as long as it is worth no less than any other was.
    """
    nearest = np.zeros(len(points))  # product with the nearest taken; below 0 is as good as 0
    known = np.zeros(len(points), np.int64)  # with how many of those taken it was compared
    taken: list[int] = []
    while len(taken) < count:
        worth = gains - cost * nearest
        worth[taken] = -np.inf
        pool, outside, first_outside = _best(worth)
        _update(points, pool, nearest, known, taken)
        near, beside, now = nearest[pool], points[pool], gains[pool] - cost * nearest[pool]
        now[np.isin(pool, taken)] = -np.inf
        while len(taken) < count:
            best = int(now.argmax())
            if now[best] < outside or (now[best] == outside and pool[best] > first_outside) or now[best] == -np.inf:
                break
            taken.append(int(pool[best]))
            near = np.maximum(near, beside @ beside[best])
            now = np.where(now == -np.inf, now, gains[pool] - cost * near)
            now[best] = -np.inf
        nearest[pool], known[pool] = near, len(taken)
    return np.array(taken, np.int64)


def _best(worth: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Places of those worth most, in order; what the best of the others is worth, and its place."""
    if len(worth) <= POOL:
        return np.arange(len(worth)), -np.inf, len(worth)
    least = np.partition(worth, -POOL)[-POOL]
    above, equal = np.flatnonzero(worth > least), np.flatnonzero(worth == least)
    pool = np.sort(np.concatenate([above, equal[: POOL - len(above)]]))
    others = worth.copy()
    others[pool] = -np.inf
    return pool, float(others.max()), int(others.argmax())


def _update(points: np.ndarray, pool: np.ndarray, nearest: np.ndarray, known: np.ndarray, taken: list[int]) -> None:
    """Compare the pool with what was taken since each was last compared."""
    order = pool[np.argsort(known[pool], kind="stable")]
    for rows in np.array_split(order, 8):  # those of one part lack about the same
        new = taken[known[rows].min() :] if len(rows) else []
        for start in range(0, len(new), POOL):
            products = points[rows] @ points[new[start : start + POOL]].T
            nearest[rows] = np.maximum(nearest[rows], products.max(axis=1))
        known[rows] = len(taken)


def cap(labels: np.ndarray, scores: np.ndarray | None, at_most: int) -> np.ndarray:
    """
    in : a cluster for each row (-1: none, such rows all stay), a score for each (none: all the same; NaN is lowest)
    out: the rows that stay, ascending: of each cluster the `at_most` with the best scores, of equals the first
    """
    ranks = _score_ranks(scores, len(labels))
    order = np.lexsort((-ranks, labels))  # stable: of equal scores the first row
    starts = np.searchsorted(labels[order], labels[order])
    stays = (np.arange(len(order)) - starts < at_most) | (labels[order] < 0)
    return np.sort(order[stays])
