"""Which texts may be alike: those that share a band of their minima, in groups that stay linear however large."""

import numpy as np
import polars as pl

from curate.dedup.minhash import Plan, Sketches

ALL_PAIRS = 16  # of groups up to this size every pair is a candidate
NEIGHBOURS = 2  # of larger groups each is compared with the group's first, and with so many before it,
CROWDS = 4  # but only in so many of them: a text that is in more has met its cluster
CHUNK = 1 << 16  # pairs whose minima are compared at once
SECOND = np.uint64(32)  # bits for the second row of a pair


def first_alike(sketches: Sketches) -> np.ndarray:
    """For every text the first one of the same words (int64), itself if there is none before; blank texts are alone."""
    rows = np.arange(len(sketches.prints))
    # 128 bits, independent of each other: that two different texts agree in all of them will not happen.
    texts = pl.DataFrame({"row": rows, "print": sketches.prints, "key": sketches.keys[:, 0]})
    first = texts.select(pl.col("row").first().over("print", "key")).to_series().to_numpy()
    return np.where(sketches.counts > 0, first, rows)


def candidates(sketches: Sketches, rows: np.ndarray, plan: Plan) -> pl.DataFrame:
    """
    in : the sketches of all texts, and the rows that are compared, ascending, no two of the same words
    out: row_a, row_b (u32): row_a < row_b, each pair once

    Which pairs come out depends on the texts alone, not on their order. Of a group of more than ALL_PAIRS texts, each
    is compared with one of them and with its neighbours when the group is sorted by the bands that follow; so a large
    cluster hangs together by the pairs that are looked at, though not every pair of it is reported.
    """
    found = pl.Series([], dtype=pl.UInt64)
    crowds = np.zeros(len(rows), np.uint8)  # large groups that each place was in
    for band in range(plan.bands):
        first, second = _pairs_of_band(sketches, rows, [(band + ahead) % plan.bands for ahead in range(3)], crowds)
        fresh = pl.Series((np.minimum(first, second) << SECOND) | np.maximum(first, second)).unique()
        fresh = fresh.filter(~fresh.is_in(found.implode()))
        found = pl.concat([found, fresh.filter(pl.Series(_likely(sketches.minima, rows, fresh.to_numpy(), plan)))])
    keys = found.sort().to_numpy()
    return pl.DataFrame({"row_a": rows[_firsts(keys)], "row_b": rows[_seconds(keys)]}).cast(pl.UInt32)


def _pairs_of_band(
    sketches: Sketches, rows: np.ndarray, bands: list[int], crowds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of places in `rows` that share the first of these bands; the others only order large groups."""
    keys = sketches.keys[rows, bands[0]]
    places = np.flatnonzero(pl.Series(keys).is_duplicated().to_numpy())
    order = {str(number): sketches.keys[rows[places], band] for number, band in enumerate(bands)}
    sorted_by = pl.DataFrame({**order, "print": sketches.prints[rows[places]]})
    places = places[sorted_by.select(pl.arg_sort_by(sorted_by.columns)).to_series().to_numpy()].astype(np.uint64)
    keys = keys[places]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    sizes = np.diff(np.append(starts, len(keys)))
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    few, many = _all_pairs(places, start, size), _some_pairs(places, start, size, crowds)
    crowds[places[size > ALL_PAIRS]] += 1
    return np.concatenate([few[0], many[0]]), np.concatenate([few[1], many[1]])


def _all_pairs(places: np.ndarray, start: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every pair within the groups of up to ALL_PAIRS; `start` and `size` are those of each place's group."""
    here = np.flatnonzero(size <= ALL_PAIRS)
    first, second = [], []
    for ahead in range(1, ALL_PAIRS):
        here = here[here + ahead < start[here] + size[here]]
        first.append(places[here])
        second.append(places[here + ahead])
    return np.concatenate(first), np.concatenate(second)


def _some_pairs(
    places: np.ndarray, start: np.ndarray, size: np.ndarray, crowds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """In larger groups: each with the group's first and with the NEIGHBOURS before it, in its first CROWDS of them."""
    here = np.flatnonzero((size > ALL_PAIRS) & (crowds[places] < CROWDS))
    first, second = [places[start[here]]], [places[here]]
    for back in range(1, NEIGHBOURS + 1):
        later = here[here - back > start[here]]
        first.append(places[later - back])
        second.append(places[later])
    pairs = np.concatenate(first), np.concatenate(second)
    differ = pairs[0] != pairs[1]  # the group's first itself
    return pairs[0][differ], pairs[1][differ]


def _likely(minima: np.ndarray, rows: np.ndarray, pairs: np.ndarray, plan: Plan) -> np.ndarray:
    """A mask: False where the minima already show that the pair is far below the threshold."""
    likely = np.empty(len(pairs), bool)
    for at in range(0, len(pairs), CHUNK):
        some = pairs[at : at + CHUNK]
        same = np.count_nonzero(minima[rows[_firsts(some)]] == minima[rows[_seconds(some)]], axis=1)
        likely[at : at + CHUNK] = same >= plan.least_estimate * plan.slots
    return likely


def _firsts(pairs: np.ndarray) -> np.ndarray:
    return (pairs >> SECOND).astype(np.int64)


def _seconds(pairs: np.ndarray) -> np.ndarray:
    return (pairs & np.uint64((1 << 32) - 1)).astype(np.int64)
