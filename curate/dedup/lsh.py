"""LSH candidates: pairs of texts that share a band of minima. Their number is linear in the size of a group."""

import numpy as np
import polars as pl

from curate.dedup.minhash import Plan, Sketches

ALL_PAIRS = 16  # in groups up to this size every pair is a candidate
NEIGHBOURS = 2  # in larger groups a text is compared with the group's first text and this many texts before it,
LARGE_GROUPS = 4  # but only in this many groups: a text that is in more has been compared with its cluster
PAIRS_PER_CHUNK = 1 << 16  # whose minima are compared at once
SECOND_ROW_BITS = np.uint64(32)  # of a pair's key


def first_equal(sketches: Sketches) -> np.ndarray:
    """Return for every text the first text of the same shingles (int64); a blank text is equal to itself only."""
    rows = np.arange(len(sketches.fingerprints))
    # 128 independent bits: two different texts will not agree in all of them.
    texts = pl.DataFrame({"row": rows, "fingerprint": sketches.fingerprints, "key": sketches.keys[:, 0]})
    first = texts.select(pl.col("row").first().over("fingerprint", "key")).to_series().to_numpy()
    return np.where(sketches.counts > 0, first, rows)


def candidates(sketches: Sketches, rows: np.ndarray, plan: Plan) -> pl.DataFrame:
    """
    Return the candidate pairs: row_a, row_b (u32), row_a < row_b, each pair once.

    in : the sketches of all texts, and the rows to compare, ascending, no two with the same shingles

    The pairs depend on the texts alone, not on their order. In a group of more than ALL_PAIRS texts, each is compared
    with one of them, and with its neighbours when the group is sorted by the bands that follow. The candidates connect
    a large cluster, but they do not include every pair of it.
    """
    found = pl.Series([], dtype=pl.UInt64)
    large_groups = np.zeros(len(rows), np.uint8)  # how many large groups each place was in
    for band in range(plan.bands):
        first, second = _pairs_of_band(
            sketches, rows, [(band + ahead) % plan.bands for ahead in range(3)], large_groups
        )
        if not len(first):  # as in most bands of few texts
            continue
        fresh = pl.Series((np.minimum(first, second) << SECOND_ROW_BITS) | np.maximum(first, second)).unique()
        fresh = fresh.filter(~fresh.is_in(found.implode()))
        found = pl.concat([found, fresh.filter(pl.Series(_likely(sketches.minima, rows, fresh.to_numpy(), plan)))])
    keys = found.sort().to_numpy()
    return pl.DataFrame({"row_a": rows[_firsts(keys)], "row_b": rows[_seconds(keys)]}).cast(pl.UInt32)


def _pairs_of_band(
    sketches: Sketches, rows: np.ndarray, bands: list[int], large_groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of places in `rows` that share the first of these bands; the others only sort large groups."""
    keys = sketches.keys[rows, bands[0]]
    places = np.flatnonzero(pl.Series(keys).is_duplicated().to_numpy())
    if not len(places):
        return places, places
    order = {str(number): sketches.keys[rows[places], band] for number, band in enumerate(bands)}
    sorted_by = pl.DataFrame({**order, "fingerprint": sketches.fingerprints[rows[places]]})
    places = places[sorted_by.select(pl.arg_sort_by(sorted_by.columns)).to_series().to_numpy()].astype(np.uint64)
    keys = keys[places]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    sizes = np.diff(np.append(starts, len(keys)))
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    few, many = _all_pairs(places, start, size), _some_pairs(places, start, size, large_groups)
    large_groups[places[size > ALL_PAIRS]] += 1
    return np.concatenate([few[0], many[0]]), np.concatenate([few[1], many[1]])


def _all_pairs(places: np.ndarray, start: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every pair within groups of up to ALL_PAIRS; `start` and `size` are those of each place's group."""
    grouped = np.flatnonzero(size <= ALL_PAIRS)
    first, second = [], []
    for ahead in range(1, ALL_PAIRS):
        grouped = grouped[grouped + ahead < start[grouped] + size[grouped]]
        first.append(places[grouped])
        second.append(places[grouped + ahead])
    return np.concatenate(first), np.concatenate(second)


def _some_pairs(
    places: np.ndarray, start: np.ndarray, size: np.ndarray, large_groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of each text with the first of its larger group and its NEIGHBOURS, in LARGE_GROUPS groups."""
    grouped = np.flatnonzero((size > ALL_PAIRS) & (large_groups[places] < LARGE_GROUPS))
    first, second = [places[start[grouped]]], [places[grouped]]
    for back in range(1, NEIGHBOURS + 1):
        later = grouped[grouped - back > start[grouped]]
        first.append(places[later - back])
        second.append(places[later])
    pairs = np.concatenate(first), np.concatenate(second)
    differ = pairs[0] != pairs[1]  # excludes the group's first text with itself
    return pairs[0][differ], pairs[1][differ]


def _likely(minima: np.ndarray, rows: np.ndarray, pairs: np.ndarray, plan: Plan) -> np.ndarray:
    """Return a mask that is False where the minima already show that a pair is far below the threshold."""
    likely = np.empty(len(pairs), bool)
    for start in range(0, len(pairs), PAIRS_PER_CHUNK):
        chunk = pairs[start : start + PAIRS_PER_CHUNK]
        same = np.count_nonzero(minima[rows[_firsts(chunk)]] == minima[rows[_seconds(chunk)]], axis=1)
        likely[start : start + PAIRS_PER_CHUNK] = same >= plan.least_estimate * plan.slots
    return likely


def _firsts(pairs: np.ndarray) -> np.ndarray:
    return (pairs >> SECOND_ROW_BITS).astype(np.int64)


def _seconds(pairs: np.ndarray) -> np.ndarray:
    return (pairs & np.uint64((1 << 32) - 1)).astype(np.int64)
