"""
Candidate pairs of similar vectors: all pairs whose projections pass, or those that an IVF search finds.

IVF search: each vector belongs to its nearest centroid; a query probes the ten nearest. The first rows serve as
centroids: they are a sample that depends on the vectors alone. All decisions are made on whole numbers
(curate/embeddings/cosine.py), so the result is the same on any number of threads.
"""

from collections.abc import Callable, Iterator

import numpy as np

TILE = 512, 4096  # rows of ours and of theirs per product, so that it stays in the processor's cache
ROWS_PER_CENTROID = 256  # on average
PROBES = 10  # cells that a query searches: with 8 recall is 0.97, with 10 it is 0.98
FLAT_CENTROIDS = 512  # up to this many all are compared; more of them are searched by way of coarser ones
ROWS_PER_SEARCH = 1 << 15  # rows that are searched in this way at once
DENSE_GROUP = 1024  # vectors similar to one of them, above which only that one is compared with its neighbours
Pairs = tuple[np.ndarray, np.ndarray]
AreSimilar = Callable[[np.ndarray, np.ndarray], np.ndarray]  # indices into theirs, twice -> mask of similar pairs


def all_pairs(ours: np.ndarray, theirs: np.ndarray | None, least: np.float32) -> Iterator[Pairs]:
    """
    Yield all pairs whose projections have a product of at least `least`, as indices into ours and theirs.

    in : projections [rows, width]; without `theirs`, ours are compared with each other and every pair comes once
    """
    others = np.ascontiguousarray((ours if theirs is None else theirs).T)
    for top in range(0, len(ours), TILE[0]):
        block = ours[top : top + TILE[0]]
        for start in range(top // TILE[1] * TILE[1] if theirs is None else 0, others.shape[1], TILE[1]):
            left, right = _passing(block @ others[:, start : start + TILE[1]], least)
            left, right = left + top, right + start
            once = slice(None) if theirs is not None else left < right
            yield left[once], right[once]


def ivf_pairs(
    ours: np.ndarray, theirs: np.ndarray | None, least: np.float32, limit: int, are_similar: AreSimilar
) -> Iterator[Pairs]:
    """
    Yield most of the pairs of `all_pairs`, almost surely those of the nearest, in time linear in the rows.

    Where more than `limit` vectors of a cell pass for a query, it keeps the `limit` / PROBES nearest, and the one that
    passes for the most queries, so that similar vectors share an edge to one of them. A pair may come twice. Of more
    than DENSE_GROUP vectors similar to one of a sample, only that one is a member of a cell.
    """
    members = ours if theirs is None else theirs
    remaining, dense_groups = _thinned(members, least, are_similar)
    if theirs is None:
        yield from dense_groups
    indexed = np.flatnonzero(remaining)
    centroids = members[indexed[: max(1, len(indexed) // ROWS_PER_CENTROID)]]
    probed = _nearest(ours, centroids, PROBES)
    nearest = probed[indexed] if theirs is None else _nearest(members[indexed], centroids, 1)
    cells, cell_starts = _grouped(nearest[:, 0], len(centroids))
    queries, query_starts = _grouped(probed.ravel(), len(centroids))
    for cell in range(len(centroids)):
        rows = indexed[cells[cell_starts[cell] : cell_starts[cell + 1]]]
        querying = queries[query_starts[cell] : query_starts[cell + 1]] // probed.shape[1]
        cell_vectors = np.ascontiguousarray(members[rows].T)
        for start in range(0, len(querying), TILE[0]):
            block = querying[start : start + TILE[0]]
            left, right = _passing(_capped(ours[block] @ cell_vectors, least, limit), least)
            left, right = block[left], rows[right]
            two = slice(None) if theirs is not None else left != right
            yield left[two], right[two]


def _passing(products: np.ndarray, least: np.float32) -> Pairs:
    left, right = np.divmod(np.flatnonzero(products >= least), products.shape[1])
    return left, right


def _capped(products: np.ndarray, least: np.float32, limit: int) -> np.ndarray:
    """
    Return the products; rows of which more than `limit` pass keep the `limit` / PROBES highest, and of those that pass
    the one in whose column the most pass.
    """
    few = max(1, limit // PROBES)
    if products.shape[1] <= limit:
        return products
    passing = products >= least
    dense = np.flatnonzero(np.count_nonzero(passing, axis=1) > limit)
    if len(dense):
        rows, passing = products[dense], passing[dense]
        shared = np.where(passing, np.count_nonzero(passing, axis=0), 0).argmax(axis=1)[:, None]
        kept = np.take_along_axis(rows, shared, axis=1)
        np.put_along_axis(rows, np.argpartition(rows, -few, axis=1)[:, :-few], -np.inf, axis=1)
        np.put_along_axis(rows, shared, kept, axis=1)
        products[dense] = rows
    return products


def _thinned(rows: np.ndarray, least: np.float32, are_similar: AreSimilar) -> tuple[np.ndarray, list[Pairs]]:
    """
    Reduce every dense group to its centre, which bounds the work where hundreds of thousands are nearly the same.

    in : projections
    out: bool, one per row: whether others are compared with it; pairs of a centre and a row of its group
    """
    remaining, pairs = np.ones(len(rows), bool), []
    sample = np.ascontiguousarray(rows[:FLAT_CENTROIDS].T)
    counts = np.zeros(sample.shape[1], np.int64)
    for start in range(0, len(rows), TILE[1]):
        counts += np.count_nonzero(rows[start : start + TILE[1]] @ sample >= least, axis=0)
    for centre in np.argsort(-counts, kind="stable"):
        if counts[centre] > DENSE_GROUP and remaining[centre]:
            others = np.flatnonzero(remaining & (rows @ rows[centre] >= least))
            others = others[others != centre]
            centres = np.full(len(others), centre)
            dense_group = are_similar(centres, others)
            if np.count_nonzero(dense_group) > DENSE_GROUP:
                remaining[others[dense_group]] = False
                pairs.append((centres[dense_group], others[dense_group]))
    return remaining, pairs


def _grouped(cells: np.ndarray, count: int) -> Pairs:
    """Return the places sorted by cell, and where each cell starts."""
    order = np.argsort(cells, kind="stable")
    return order, np.searchsorted(cells[order], np.arange(count + 1))


def _nearest(rows: np.ndarray, centroids: np.ndarray, limit: int) -> np.ndarray:
    """Return [rows, up to limit] int32: the centroids with the highest products, highest first; -1 for none."""
    if len(centroids) <= FLAT_CENTROIDS:
        found = [_highest(rows[at : at + TILE[1]] @ centroids.T, limit) for at in range(0, len(rows), TILE[1])]
        return np.concatenate([np.empty((0, min(limit, len(centroids))), np.int32), *found])
    if len(rows) > ROWS_PER_SEARCH:
        searches = range(0, len(rows), ROWS_PER_SEARCH)
        return np.concatenate([_nearest(rows[at : at + ROWS_PER_SEARCH], centroids, limit) for at in searches])
    coarse = centroids[: int(2 * len(centroids) ** 0.5)]
    order, starts = _grouped(_nearest(centroids, coarse, 1)[:, 0], len(coarse))
    probed = _nearest(rows, coarse, PROBES)
    places = np.full((len(rows), probed.shape[1], limit), -1, np.int32)
    products = np.full(places.shape, -np.inf, np.float32)
    queries, query_starts = _grouped(probed.ravel(), len(coarse))
    for cell in range(len(coarse)):
        inside, querying = order[starts[cell] : starts[cell + 1]], queries[query_starts[cell] : query_starts[cell + 1]]
        row, probe = np.divmod(querying, probed.shape[1])
        cell_products = rows[row] @ centroids[inside].T
        best = _highest(cell_products, limit)
        places[row, probe, : best.shape[1]] = inside[best]
        products[row, probe, : best.shape[1]] = np.take_along_axis(cell_products, best, axis=1)
    best = _highest(products.reshape(len(rows), -1), limit)
    return np.take_along_axis(places.reshape(len(rows), -1), best, axis=1)


def _highest(products: np.ndarray, limit: int) -> np.ndarray:
    """Return [rows, up to limit]: the columns of the highest products, highest first; of equal ones the first."""
    remaining, rows = products.copy(), np.arange(len(products))
    columns = np.empty((len(products), min(limit, products.shape[1])), np.int32)
    for rank in range(columns.shape[1]):  # a partial sort is no faster, and its order of equal products is arbitrary
        columns[:, rank] = remaining.argmax(axis=1)
        remaining[rows, columns[:, rank]] = -np.inf
    return columns
