"""MinHash sketches (by rensa) split into LSH bands: 172 bytes per text."""

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count, starmap

import numpy as np
import polars as pl

from curate.errors import InputError
from curate.text.arrays import GOLDEN, mixed
from curate.text.shingles import Shingles, shingles

SLOTS = (64, 128)  # powers of two, with which rensa is fastest
MISS_RATE = 0.01  # upper bound for pairs exactly at the threshold; above it fewer are missed
FEWEST_ROWS = 4  # with fewer minima per band, texts that share very little become candidates
CLEAR = 3.0  # standard deviations below the threshold at which the estimate rules a pair out


@dataclass(frozen=True, slots=True)
class Plan:
    """LSH parameters: two texts are candidates when all `rows` minima of one of the `bands` are equal."""

    threshold: float
    size: int  # words per shingle
    bands: int
    rows: int
    slots: int  # minima per text, at least bands x rows
    seed: int

    @property
    def least_estimate(self) -> float:
        """The share of equal minima below which a pair is surely too different to be compared."""
        return self.threshold - CLEAR * math.sqrt(self.threshold * (1 - self.threshold) / self.slots)


@dataclass(frozen=True, slots=True)
class Sketches:
    """The sketches of several texts, one row per text."""

    fingerprints: np.ndarray  # uint64, a hash of all shingles: equal for texts of the same words
    counts: np.ndarray  # uint32, shingles; 0 = a blank text, which is similar to none
    keys: np.ndarray  # uint64, one column per band
    minima: np.ndarray  # uint8, the last byte of every minimum, for an estimate before texts are read again

    def gather(self, rows: np.ndarray) -> "Sketches":
        """Return these rows, repeated ones included."""
        return Sketches(self.fingerprints[rows], self.counts[rows], self.keys[rows], self.minima[rows])


def make_plan(threshold: float, size: int, bands: tuple[int, int] | None, seed: int) -> Plan:
    """Derive bands and rows from the threshold unless they are given. Raises InputError for values out of range."""
    if not 0 < threshold <= 1:
        raise InputError(f"threshold is {threshold:g}, expected more than 0 and at most 1")
    if size < 1:
        raise InputError(f"shingle_size is {size}, expected 1 or more")
    if bands and min(bands) < 1:
        raise InputError(f"bands is {bands}, expected (bands, minima per band), each 1 or more")
    number, rows, slots = (*bands, math.prod(bands)) if bands else banding(threshold)
    return Plan(threshold, size, number, rows, slots, seed)


def banding(threshold: float) -> tuple[int, int, int]:
    """
    Return bands, rows per band and minima per text: the most rows with which a pair at the threshold is hardly missed.

    Such a pair shares one minimum with probability `threshold`, a band with threshold^rows, and no band at all with
    (1 - threshold^rows)^bands, which may be at most MISS_RATE. For 0.8 this gives 12 bands of 5 out of 64 minima. Below
    a threshold of 0.04 more pairs are missed, however many bands there are.
    """
    best = (SLOTS[-1], 1, SLOTS[-1])
    for slots in SLOTS:
        for rows in count(1):
            shared = threshold**rows
            bands = math.ceil(math.log(MISS_RATE) / math.log1p(-shared)) if shared < 1 else 1
            if bands * rows > slots:  # as are all longer bands
                break
            best = (bands, rows, slots)
        if best[1] >= FEWEST_ROWS:
            break
    return best


def digests(found: Shingles, *, slots: int, seed: int) -> np.ndarray:
    """Return `slots` minima (uint32) per text. The share of them that two texts have in common estimates Jaccard."""
    from rensa import RMinHash

    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        found.hashes, found.offsets.astype(np.uint64), num_perm=slots, seed=seed
    )
    pack = struct.Struct(f"{slots}I").pack  # numpy takes three times as long for lists
    return np.frombuffer(b"".join(starmap(pack, matrix.to_rows())), np.uint32).reshape(-1, slots)


def sketch(texts: pl.Series, plan: Plan) -> Sketches:
    """Sketch a block of texts, independently of other blocks. Repeated texts are sketched once."""
    if texts.n_unique() == len(texts):
        return _sketch(texts, plan)
    numbered = pl.DataFrame({"text": texts}).with_row_index("row")
    first = numbered.select(pl.col("row").first().over("text")).to_series().to_numpy()
    rows = np.flatnonzero(first == np.arange(len(first)))
    return _sketch(texts.gather(rows), plan).gather(np.searchsorted(rows, first))


def _sketch(texts: pl.Series, plan: Plan) -> Sketches:
    found = shingles(texts, size=plan.size)
    counts = np.diff(found.offsets)
    minima = digests(found, slots=plan.slots, seed=plan.seed)
    banded = minima[:, : plan.bands * plan.rows].reshape(-1, plan.bands, plan.rows).astype(np.uint64)
    keys = np.zeros(banded.shape[:2], np.uint64)
    for row in range(plan.rows):
        keys = mixed(keys * GOLDEN + banded[:, :, row])
    return Sketches(_fingerprints(found), counts.astype(np.uint32), keys, minima.astype(np.uint8))


def joined(blocks: Iterable[Sketches], plan: Plan) -> Sketches:
    """Concatenate the sketches of all blocks."""
    empty = sketch(pl.Series([], dtype=pl.String), plan)
    fields = zip(*((one.fingerprints, one.counts, one.keys, one.minima) for one in (empty, *blocks)), strict=True)
    return Sketches(*(np.concatenate(field) for field in fields))


def _fingerprints(found: Shingles) -> np.ndarray:
    """Return a hash of each text's shingles, whatever their order: texts with equal ones have a similarity of 1."""
    sums = np.zeros(len(found.offsets) - 1, np.uint64)
    some = np.diff(found.offsets) > 0
    if some.any():
        sums[some] = np.add.reduceat(found.hashes, found.offsets[:-1][some])
    return sums
