"""
Pairs of vectors that may be near: all that pass their shadows, or those that meet in a bucket.

A bucket is what lies nearest to one of a few hundred vectors, its middle. The first rows serve as middles: a sample
that depends on the vectors alone. A row is looked for in the buckets of the middles nearest to it. Everything here is
decided by whole numbers (curate/embeddings/cosine.py), so it comes out the same on any number of threads.
"""

from collections.abc import Callable, Iterator

import numpy as np

TILE = 512, 4096  # rows of ours and theirs in work at once: a product that stays in the processor's cache
PER_BUCKET = 256  # rows a bucket holds on average
LOOKED_UP = 10  # buckets in which a row looks for its neighbours: with 8 of them recall is 0.97, with 10 0.98
PLAIN = 512  # middles that are simply all compared; more of them are found by way of coarser ones
PART = 1 << 15  # rows for which that way is gone at once
CROWD = 1024  # vectors near one, above which only that one is compared with the others near it
Pairs = tuple[np.ndarray, np.ndarray]
Near = Callable[[np.ndarray, np.ndarray], np.ndarray]  # places in theirs, twice -> whether each two are near


def all_pairs(ours: np.ndarray, theirs: np.ndarray | None, least: np.float32) -> Iterator[Pairs]:
    """
    in : shadows [rows, width]; no `theirs`: ours among each other, every pair once
    out: places in ours and in theirs whose product is at least `least`
    """
    others = np.ascontiguousarray((ours if theirs is None else theirs).T)
    for top in range(0, len(ours), TILE[0]):
        block = ours[top : top + TILE[0]]
        for start in range(top // TILE[1] * TILE[1] if theirs is None else 0, others.shape[1], TILE[1]):
            left, right = _passing(block @ others[:, start : start + TILE[1]], least)
            left, right = left + top, right + start
            once = slice(None) if theirs is not None else left < right
            yield left[once], right[once]


def by_bucket(ours: np.ndarray, theirs: np.ndarray | None, least: np.float32, most: int, near: Near) -> Iterator[Pairs]:
    """
    As `all_pairs`, in time that grows with the rows: most of the pairs, those of the nearest almost surely.

    Of more than `most` in one bucket that may be near a row, it keeps the bucket's middle and `most` / LOOKED_UP, the
    nearest. Of more than CROWD vectors near one of a sample, that one alone is a member of a bucket.
    """
    members = ours if theirs is None else theirs
    stays, crowds = _thinned(members, least, near)
    if theirs is None:
        yield from crowds
    stay = np.flatnonzero(stays)
    middles = members[stay[: max(1, len(stay) // PER_BUCKET)]]
    looked_up = _nearest(ours, middles, LOOKED_UP)
    nearest = looked_up[stay] if theirs is None else _nearest(members[stay], middles, 1)
    home = _grouped(nearest[:, 0], len(middles))
    asking = _grouped(looked_up.ravel(), len(middles))
    for bucket in range(len(middles)):
        rows = stay[home[0][home[1][bucket] : home[1][bucket + 1]]]  # the middle first: it is of the first rows
        rows_asking = asking[0][asking[1][bucket] : asking[1][bucket + 1]] // looked_up.shape[1]
        beside = np.ascontiguousarray(members[rows].T)
        for start in range(0, len(rows_asking) if len(rows) else 0, TILE[0]):
            block = rows_asking[start : start + TILE[0]]
            left, right = _passing(_capped(ours[block] @ beside, least, most), least)
            left, right = block[left], rows[right]
            if theirs is None:
                # Where each is looked for in the other's bucket, one of the two finds the pair.
                again = (left > right) & stays[left] & (looked_up[right] == looked_up[left, :1]).any(axis=1)
                left, right = left[~again & (left != right)], right[~again & (left != right)]
            yield left, right


def _passing(products: np.ndarray, least: np.float32) -> Pairs:
    left, right = np.divmod(np.flatnonzero(products >= least), products.shape[1])
    return left, right


def _capped(products: np.ndarray, least: np.float32, most: int) -> np.ndarray:
    """The products; of a row of which more than `most` pass only the first, and the highest, `most` / LOOKED_UP."""
    few = max(1, most // LOOKED_UP)
    if products.shape[1] <= most:
        return products
    dense = np.flatnonzero(np.count_nonzero(products >= least, axis=1) > most)
    if len(dense):
        rows = products[dense]
        first = rows[:, 0].copy()
        np.put_along_axis(rows, np.argpartition(rows, -few, axis=1)[:, :-few], -np.inf, axis=1)
        rows[:, 0] = first
        products[dense] = rows
    return products


def _thinned(rows: np.ndarray, least: np.float32, near: Near) -> tuple[np.ndarray, list[Pairs]]:
    """
    in : shadows
    out: bool, one a row: whether it stays among those that others are compared with; pairs of one that stays and one
         that does not. Where hundreds of thousands are much the same, this is what keeps the work in bounds.
    """
    stays, pairs = np.ones(len(rows), bool), []
    sample = np.ascontiguousarray(rows[:PLAIN].T)
    counts = np.zeros(sample.shape[1], np.int64)
    for start in range(0, len(rows), TILE[1]):
        counts += np.count_nonzero(rows[start : start + TILE[1]] @ sample >= least, axis=0)
    for middle in np.argsort(-counts, kind="stable"):
        if counts[middle] > CROWD and stays[middle]:
            others = np.flatnonzero(stays & (rows @ rows[middle] >= least))
            others = others[others != middle]
            middles = np.full(len(others), middle)
            crowd = near(middles, others)
            if np.count_nonzero(crowd) > CROWD:
                stays[others[crowd]] = False
                pairs.append((middles[crowd], others[crowd]))
    return stays, pairs


def _grouped(buckets: np.ndarray, count: int) -> Pairs:
    """Places sorted by bucket, and where each bucket starts."""
    order = np.argsort(buckets, kind="stable")
    return order, np.searchsorted(buckets[order], np.arange(count + 1))


def _nearest(rows: np.ndarray, middles: np.ndarray, most: int) -> np.ndarray:
    """[rows, up to most] int32: places of the middles with the highest products, the highest first; -1 for none."""
    if len(middles) <= PLAIN:
        found = [_highest(rows[start : start + TILE[1]] @ middles.T, most) for start in range(0, len(rows), TILE[1])]
        return np.concatenate([np.empty((0, min(most, len(middles))), np.int32), *found])
    if len(rows) > PART:
        return np.concatenate(
            [_nearest(rows[start : start + PART], middles, most) for start in range(0, len(rows), PART)]
        )
    coarse = middles[: int(2 * len(middles) ** 0.5)]
    order, starts = _grouped(_nearest(middles, coarse, 1)[:, 0], len(coarse))
    cells = _nearest(rows, coarse, LOOKED_UP)
    places = np.full((len(rows), cells.shape[1], most), -1, np.int32)
    products = np.full(places.shape, -np.inf, np.float32)
    asking, begins = _grouped(cells.ravel(), len(coarse))
    for cell in range(len(coarse)):
        inside, here = order[starts[cell] : starts[cell + 1]], asking[begins[cell] : begins[cell + 1]]
        if not len(inside):
            continue
        row, turn = np.divmod(here, cells.shape[1])
        found_here = rows[row] @ middles[inside].T
        best = _highest(found_here, most)
        places[row, turn, : best.shape[1]] = inside[best]
        products[row, turn, : best.shape[1]] = np.take_along_axis(found_here, best, axis=1)
    best = _highest(products.reshape(len(rows), -1), most)
    return np.take_along_axis(places.reshape(len(rows), -1), best, axis=1)


def _highest(products: np.ndarray, most: int) -> np.ndarray:
    """[rows, up to most]: columns of the highest products, the highest first, of equals the first."""
    left, rows = products.copy(), np.arange(len(products))
    columns = np.empty((len(products), min(most, products.shape[1])), np.int32)
    for turn in range(columns.shape[1]):  # a partial sort would be as fast, and choose among equals as it likes
        columns[:, turn] = left.argmax(axis=1)
        left[rows, columns[:, turn]] = -np.inf
    return columns
