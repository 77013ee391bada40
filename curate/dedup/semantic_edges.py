"""Semantic duplicates: texts whose vectors point the same way, whatever their words."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.dedup.ann import Pairs, all_pairs, by_bucket
from curate.dedup.tables import EDGES, MATCHES
from curate.embeddings.cosine import Distinct, cosines, distinct, least_product, main_axes, shadows
from curate.errors import RecipeError

CLUSTERS = pl.Schema({"row": pl.UInt64(), "cluster": pl.UInt64(), "similarity": pl.Float64()})
PAIRS_PER_CHUNK = 1 << 18  # pairs collected before they are verified
MANY = 1 << 20  # pairs of which all are listed, however few rows they are of


def semantic_edges(
    vectors: np.ndarray, *, threshold: float = 0.9, exact_below: int = 50_000, neighbours: int = 64
) -> pl.DataFrame:
    """
    in : [rows, dim], a row of zeros or with a NaN is near none
    out: EDGES, row_a < row_b, sorted: pairs whose cosine, computed in full, is at least `threshold`.

    Equal vectors are joined to the first of them alone (similarity 1), and only that one to others.
    Below `exact_below` distinct vectors these are all pairs. Above, and where a vector is near more than `neighbours`
    others on average, pairs are looked for in buckets: nearly all are found, and where a bucket holds more than
    `neighbours` near ones, a vector is joined to these and the bucket's middle.
    """
    found = distinct(vectors)
    near = _edges(_Side(vectors, found.rows), None, threshold, exact_below, neighbours)
    firsts = found.rows[found.places] if len(found.rows) else np.arange(len(vectors))
    copies = np.flatnonzero((found.places >= 0) & (firsts != np.arange(len(vectors))))
    rows = [_frame(EDGES, *near), _frame(EDGES, firsts[copies], copies, np.ones(len(copies)))]
    low, high = pl.min_horizontal("row_a", "row_b"), pl.max_horizontal("row_a", "row_b")
    return pl.concat(rows).select(row_a=low, row_b=high, similarity="similarity").unique().sort("row_a", "row_b")


def semantic_matches(
    vectors: np.ndarray,
    others: np.ndarray,
    *,
    threshold: float = 0.9,
    exact_below: int = 50_000,
    neighbours: int = 64,
) -> pl.DataFrame:
    """
    in : ours [rows, dim], theirs [other rows, dim]
    out: MATCHES, sorted, one row for each of ours that is near one of theirs: the nearest, of equals the first.

    All pairs are looked at where there are no more than `exact_below` vectors have among each other; else in buckets.
    """
    if vectors.shape[1] != others.shape[1]:
        raise RecipeError(f"vectors of {vectors.shape[1]} and of {others.shape[1]} numbers: not of the same model")
    ours, theirs = distinct(vectors), distinct(others)
    sides = _Side(vectors, ours.rows), _Side(others, theirs.rows)
    found = _edges(*sides, threshold, exact_below, neighbours)
    firsts = _frame(MATCHES, *found).sort("row", "similarity", "other_row", descending=[False, True, False])
    nearest = firsts.unique("row", keep="first", maintain_order=True)
    rows = np.flatnonzero(ours.places >= 0)
    copies = pl.DataFrame({"copy": rows, "row": ours.rows[ours.places[rows]]}).cast(pl.UInt64)
    return copies.join(nearest, on="row").drop("row").rename({"copy": "row"}).match_to_schema(MATCHES).sort("row")


def star_clusters(edges: pl.DataFrame, vectors: np.ndarray, threshold: float = 0.9) -> pl.DataFrame:
    """
    in : EDGES of these vectors
    out: CLUSTERS, one row for each row that is in a cluster of two or more; `cluster` is the row that stands in the
         middle, `similarity` is to that one and at least `threshold`. So a chain of near rows falls into pieces.

    The middle is the row with the most near rows (its copies count; ties go by the vectors); those near it are its
    cluster, the others are grouped again in the same way. A row near several middles goes to the nearest.
    """
    found = distinct(vectors)
    near = edges.filter(pl.col("similarity") >= threshold)
    sides = [found.places[near.get_column(side).to_numpy()] for side in ("row_a", "row_b")]
    apart = sides[0] != sides[1]
    one, two = (side[apart] for side in sides)
    similar = np.tile(near.get_column("similarity").to_numpy()[apart], 2)
    source, target = np.concatenate([one, two]), np.concatenate([two, one])
    copies = np.bincount(found.places[found.places >= 0], minlength=len(found.rows))
    rank = _ranks(np.bincount(source, copies[target], len(found.rows)) + copies)
    middle = _middles(source, target, rank)
    near_middle = np.flatnonzero(middle[target] & ~middle[source])
    source, target, similar = source[near_middle], target[near_middle], similar[near_middle]
    order = np.lexsort((rank[target], -similar, source))
    first = order[np.unique(source[order], return_index=True)[1]]
    cluster, similarity = np.arange(len(found.rows)), np.ones(len(found.rows))
    cluster[source[first]], similarity[source[first]] = target[first], similar[first]
    return _clusters(found, cluster, similarity)


def _clusters(found: Distinct, cluster: np.ndarray, similarity: np.ndarray) -> pl.DataFrame:
    rows = np.flatnonzero(found.places >= 0)
    places = found.places[rows]
    size = np.bincount(cluster[places], minlength=len(found.rows))
    shared = size[cluster[places]] > 1
    rows, places = rows[shared], places[shared]
    return _frame(CLUSTERS, rows, found.rows[cluster[places]], similarity[places])


def _ranks(weights: np.ndarray) -> np.ndarray:
    """0 for the heaviest; of equals for the first."""
    ranks = np.empty(len(weights), np.int64)
    ranks[np.argsort(-weights, kind="stable")] = np.arange(len(weights))
    return ranks


def _middles(source: np.ndarray, target: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """
    in : edges in both directions
    out: bool, one a vector: middles are those that no middle of a better rank is near to.

    As if taken one by one in the order of ranks; but all that no better one is near to are taken at once.
    """
    middle, open_ = np.zeros(len(rank), bool), np.ones(len(rank), bool)
    while len(source):
        beaten = np.zeros(len(rank), bool)
        beaten[source[rank[target] < rank[source]]] = True
        middle |= open_ & ~beaten
        open_ &= beaten
        open_[source[middle[target]]] = False
        left = open_[source] & open_[target]
        source, target = source[left], target[left]
    return middle | open_


@dataclass(frozen=True, slots=True)
class _Side:
    vectors: np.ndarray
    rows: np.ndarray  # of the distinct ones


def _edges(
    ours: _Side, theirs: _Side | None, threshold: float, exact_below: int, neighbours: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of ours, of theirs (of ours again where there are none), and their cosines."""
    if not 0 < threshold <= 1:
        raise RecipeError(f"threshold={threshold:g}: a similarity is above 0 and at most 1")
    beside, least = theirs or ours, least_product(threshold)
    axes = main_axes(beside.vectors, beside.rows, threshold)
    shadow = shadows(ours.vectors, ours.rows, axes)
    other = None if theirs is None else shadows(theirs.vectors, theirs.rows, axes)
    if len(ours.rows) * len(beside.rows) <= exact_below**2:
        most = max(neighbours * len(ours.rows), MANY)
        found = _verified(all_pairs(shadow, other, least), ours, beside, threshold, most)
        if found is not None:
            return found
    # Of ours, what is near the middle of a crowd is a duplicate already; of theirs only what is much the same may go.
    crowd = threshold if theirs is None else 1 - (1 - threshold) / 50

    def near(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        same: np.ndarray = cosines(beside.vectors, beside.rows[left], beside.vectors, beside.rows[right]) >= crowd
        return same

    found = _verified(by_bucket(shadow, other, least, neighbours, near), ours, beside, threshold, None)
    assert found is not None  # noqa: S101 - there was no limit
    return found


def _verified(
    pairs: Iterable[Pairs], ours: _Side, theirs: _Side, threshold: float, most: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The pairs that are near, as rows, with their cosines; None where there are more than `most`."""
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for places in _collected(pairs):
        left, right = ours.rows[places[0]], theirs.rows[places[1]]
        similar = cosines(ours.vectors, left, theirs.vectors, right)
        near = similar >= threshold
        kept.append((left[near], right[near], similar[near]))
        if most is not None and sum(len(part[0]) for part in kept) > most:
            return None
    none = np.empty(0, np.int64)
    one, two, three = zip((none, none, np.empty(0)), *kept, strict=True)
    return np.concatenate(one), np.concatenate(two), np.concatenate(three)


def _collected(pairs: Iterable[Pairs]) -> Iterator[Pairs]:
    """The same pairs in fewer, larger parts."""
    left: list[np.ndarray] = []
    right: list[np.ndarray] = []
    size = 0
    for one, two in pairs:
        left.append(one)
        right.append(two)
        size += len(one)
        if size >= PAIRS_PER_CHUNK:
            yield np.concatenate(left), np.concatenate(right)
            left, right, size = [], [], 0
    if size:
        yield np.concatenate(left), np.concatenate(right)


def _frame(schema: pl.Schema, *columns: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame(dict(zip(schema, columns, strict=True))).cast(schema)
