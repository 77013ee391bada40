"""Semantic duplicates: texts whose vectors have a high cosine, whatever their words."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.dedup.ann import Pairs, all_pairs, ivf_pairs
from curate.dedup.tables import EDGES, MATCHES
from curate.embeddings.cosine import Distinct, cosines, distinct, least_product, main_axes, projections
from curate.errors import RecipeError

CLUSTERS = pl.Schema({"row": pl.UInt64(), "cluster": pl.UInt64(), "similarity": pl.Float64()})
PAIRS_PER_CHUNK = 1 << 18  # pairs collected before they are verified
MIN_PAIR_LIMIT = 1 << 20  # up to this many pairs all are listed, however few rows they belong to


def semantic_edges(
    vectors: np.ndarray, *, threshold: float = 0.9, exact_below: int = 50_000, neighbours: int = 64
) -> pl.DataFrame:
    """
    Return EDGES, sorted: the pairs whose cosine, verified in float64, is at least `threshold`.

    in : [rows, dim]; a row that is all zeros or contains NaN is similar to none

    Of equal vectors only the first has edges to other vectors; its copies have one edge each, to it (similarity 1).
    Up to `exact_below` distinct vectors all pairs are found. Above, and where a vector is similar to more than
    `neighbours` others on average, an IVF search finds nearly all of them; where a cell holds more than `neighbours`
    similar vectors, only the edges to the nearest of them and to one that many share are returned.
    """
    found = distinct(vectors)
    similar = _edges(_DistinctRows(vectors, found.rows), None, threshold, exact_below, neighbours)
    firsts = found.rows[found.places] if len(found.rows) else np.arange(len(vectors))
    copies = np.flatnonzero((found.places >= 0) & (firsts != np.arange(len(vectors))))
    rows = [_frame(EDGES, *similar), _frame(EDGES, firsts[copies], copies, np.ones(len(copies)))]
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
    Return MATCHES, sorted: for each of our rows that is similar to one of theirs the nearest, of equal ones the first.

    in : ours [rows, dim], theirs [other rows, dim]

    Up to `exact_below`^2 pairs all are compared; above, an IVF search finds nearly all of them.
    """
    if vectors.shape[1] != others.shape[1]:
        raise RecipeError(f"vectors of {vectors.shape[1]} and {others.shape[1]} dimensions: not from the same model")
    ours, theirs = distinct(vectors), distinct(others)
    sets = _DistinctRows(vectors, ours.rows), _DistinctRows(others, theirs.rows)
    found = _edges(*sets, threshold, exact_below, neighbours)
    firsts = _frame(MATCHES, *found).sort("similarity", "other_row", descending=[True, False])
    nearest = firsts.unique("row", keep="first", maintain_order=True)
    rows = np.flatnonzero(ours.places >= 0)
    copies = pl.DataFrame({"copy": rows, "row": ours.rows[ours.places[rows]]}).cast(pl.UInt64)
    return copies.join(nearest, on="row").drop("row").rename({"copy": "row"}).match_to_schema(MATCHES).sort("row")


def star_clusters(edges: pl.DataFrame, vectors: np.ndarray, threshold: float = 0.9) -> pl.DataFrame:
    """
    Return CLUSTERS of two or more rows in which every row is similar to the centre, so that chains are split.

    in : EDGES of these vectors
    out: one row per clustered row; `cluster` is the row at the centre, `similarity` (>= `threshold`) is to that row

    The centre is the row with the most similar rows (its copies count; ties are broken by the vectors). Rows similar to
    it form its cluster, and the others are grouped in the same way. A row similar to several centres joins the nearest.
    """
    found = distinct(vectors)
    similar = edges.filter(pl.col("similarity") >= threshold)
    ends = [found.places[similar.get_column(end).to_numpy()] for end in ("row_a", "row_b")]
    different = ends[0] != ends[1]
    one, two = (end[different] for end in ends)
    cosine = np.tile(similar.get_column("similarity").to_numpy()[different], 2)
    source, target = np.concatenate([one, two]), np.concatenate([two, one])
    copies = np.bincount(found.places[found.places >= 0], minlength=len(found.rows))
    rank = _ranks(np.bincount(source, copies[target], len(found.rows)) + copies)
    centre = _centres(source, target, rank)
    to_centre = np.flatnonzero(centre[target] & ~centre[source])
    source, target, cosine = source[to_centre], target[to_centre], cosine[to_centre]
    order = np.lexsort((rank[target], -cosine, source))
    first = order[np.unique(source[order], return_index=True)[1]]
    cluster, similarity = np.arange(len(found.rows)), np.ones(len(found.rows))
    cluster[source[first]], similarity[source[first]] = target[first], cosine[first]
    return _clusters(found, cluster, similarity)


def _clusters(found: Distinct, cluster: np.ndarray, similarity: np.ndarray) -> pl.DataFrame:
    rows = np.flatnonzero(found.places >= 0)
    places = found.places[rows]
    size = np.bincount(cluster[places], minlength=len(found.rows))
    shared = size[cluster[places]] > 1
    rows, places = rows[shared], places[shared]
    return _frame(CLUSTERS, rows, found.rows[cluster[places]], similarity[places])


def _ranks(weights: np.ndarray) -> np.ndarray:
    """Return ranks by weight, 0 for the heaviest; of equal weights the first ranks higher."""
    ranks = np.empty(len(weights), np.int64)
    ranks[np.argsort(-weights, kind="stable")] = np.arange(len(weights))
    return ranks


def _centres(source: np.ndarray, target: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """
    Return a mask of the centres, one per vector: those that are similar to no centre of a better rank.

    in : edges in both directions

    The result is that of taking vectors one by one in the order of ranks; each round takes all that are similar to no
    undecided vector of a better rank.
    """
    centre, undecided = np.zeros(len(rank), bool), np.ones(len(rank), bool)
    while len(source):
        beaten = np.zeros(len(rank), bool)
        beaten[source[rank[target] < rank[source]]] = True
        centre |= undecided & ~beaten
        undecided &= beaten
        undecided[source[centre[target]]] = False
        remaining = undecided[source] & undecided[target]
        source, target = source[remaining], target[remaining]
    return centre | undecided


@dataclass(frozen=True, slots=True)
class _DistinctRows:
    vectors: np.ndarray
    rows: np.ndarray  # of the distinct vectors


def _edges(
    ours: _DistinctRows, theirs: _DistinctRows | None, threshold: float, exact_below: int, neighbours: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows of ours, similar rows of theirs (of ours where there are no theirs), and their cosines."""
    if not 0 < threshold <= 1:
        raise RecipeError(f"threshold={threshold:g}: expected more than 0 and at most 1")
    others, least = theirs or ours, least_product(threshold)
    axes = main_axes(others.vectors, others.rows, threshold)
    projection = projections(ours.vectors, ours.rows, axes)
    their_projection = None if theirs is None else projections(theirs.vectors, theirs.rows, axes)
    if len(ours.rows) * len(others.rows) <= exact_below**2:
        limit = max(neighbours * len(ours.rows), MIN_PAIR_LIMIT)
        found = _verified(all_pairs(projection, their_projection, least), ours, others, threshold, limit)
        if found is not None:
            return found
    # Among ours, every row of a dense group is a duplicate of its centre. Of theirs, only rows that are nearly equal to
    # the centre can be left out.
    dense = threshold if theirs is None else 1 - (1 - threshold) / 50

    def are_similar(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        mask: np.ndarray = cosines(others.vectors, others.rows[left], others.vectors, others.rows[right]) >= dense
        return mask

    candidates = ivf_pairs(projection, their_projection, least, neighbours, are_similar)
    found = _verified(candidates, ours, others, threshold, None)
    assert found is not None  # noqa: S101 - there was no limit
    return found


def _verified(
    pairs: Iterable[Pairs], ours: _DistinctRows, theirs: _DistinctRows, threshold: float, limit: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return the similar pairs, as rows, with their cosines; None where there are more than `limit`."""
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for places in _in_larger_chunks(pairs):
        left, right = ours.rows[places[0]], theirs.rows[places[1]]
        cosine = cosines(ours.vectors, left, theirs.vectors, right)
        similar = cosine >= threshold
        kept.append((left[similar], right[similar], cosine[similar]))
        if limit is not None and sum(len(chunk[0]) for chunk in kept) > limit:
            return None
    none = np.empty(0, np.int64)
    one, two, three = zip((none, none, np.empty(0)), *kept, strict=True)
    return np.concatenate(one), np.concatenate(two), np.concatenate(three)


def _in_larger_chunks(pairs: Iterable[Pairs]) -> Iterator[Pairs]:
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
