"""What is kept of a text to find those like it: MinHash by rensa, cut into bands. It is 172 bytes, of any text."""

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import starmap

import numpy as np
import polars as pl

from curate.errors import InputError
from curate.text.arrays import GOLDEN, mixed
from curate.text.shingles import Shingles, shingles

SLOTS = (64, 128)  # powers of two: rensa is fastest with them
MISS = 0.01  # a pair exactly at the threshold is missed with this chance at most, one above it with less
FEWEST_ROWS = 4  # with fewer minima a band, texts meet that share very little
CLEAR = 3.0  # standard deviations below the threshold at which the estimate rules a pair out


@dataclass(frozen=True, slots=True)
class Plan:
    """How texts are compared: two meet when all `rows` minima of one of the `bands` are the same."""

    threshold: float
    size: int  # words a shingle
    bands: int
    rows: int
    slots: int  # minima a text, at least bands x rows
    seed: int

    @property
    def least_estimate(self) -> float:
        """Pairs of which a smaller share of the minima agrees are not looked at: they are surely too different."""
        return self.threshold - CLEAR * math.sqrt(self.threshold * (1 - self.threshold) / self.slots)


@dataclass(frozen=True, slots=True)
class Sketches:
    """One row a text, in the order of the texts."""

    prints: np.ndarray  # uint64, of all the shingles: equal for texts of the same words
    counts: np.ndarray  # uint32, shingles; 0 = a blank text, which is like nothing
    keys: np.ndarray  # uint64, one column a band
    minima: np.ndarray  # uint8, the last byte of every minimum, for an estimate before texts are read again

    def gather(self, rows: np.ndarray) -> "Sketches":
        """These rows of it, each as often as it is named."""
        return Sketches(self.prints[rows], self.counts[rows], self.keys[rows], self.minima[rows])


def make_plan(threshold: float, size: int, bands: tuple[int, int] | None, seed: int) -> Plan:
    """Bands and rows from the threshold, unless they are given. Raises InputError for what is out of range."""
    if not 0 < threshold <= 1:
        raise InputError(f"threshold is {threshold:g}, expected more than 0 and at most 1")
    if size < 1:
        raise InputError(f"shingle_size is {size}, expected 1 or more")
    if bands and min(bands) < 1:
        raise InputError(f"bands is {bands}, expected (bands, rows a band), each 1 or more")
    number, rows, slots = (*bands, math.prod(bands)) if bands else banding(threshold)
    return Plan(threshold, size, number, rows, slots, seed)


def banding(threshold: float) -> tuple[int, int, int]:
    """
    Bands, rows a band, and minima a text: as many rows as there can be while a pair at the threshold is hardly missed.

    It shares one minimum with the chance `threshold`, a band with threshold^rows, and misses all the bands with
    (1 - threshold^rows)^bands, which is to be MISS at most. For 0.8 these are 12 bands of 5 among 64. Below 0.04 more
    is missed than that, however many bands there are.
    """
    best = (SLOTS[-1], 1, SLOTS[-1])
    for slots in SLOTS:
        for rows in range(1, slots + 1):
            met = threshold**rows
            bands = math.ceil(math.log(MISS) / math.log1p(-met)) if met < 1 else 1
            if bands * rows > slots:  # and so for all that are longer
                break
            best = (bands, rows, slots)
        if best[1] >= FEWEST_ROWS:
            break
    return best


def digests(found: Shingles, *, slots: int, seed: int) -> np.ndarray:
    """One row of `slots` minima (uint32) a text. Two texts agree in a share of them that estimates their similarity."""
    from rensa import RMinHash

    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        found.hashes, found.offsets.astype(np.uint64), num_perm=slots, seed=seed
    )
    pack = struct.Struct(f"{slots}I").pack  # numpy takes three times as long over lists
    return np.frombuffer(b"".join(starmap(pack, matrix.to_rows())), np.uint32).reshape(-1, slots)


def sketch(texts: pl.Series, plan: Plan) -> Sketches:
    """What is kept of a block of texts; depends on no other block. A text that recurs in it is looked at once."""
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
    return Sketches(_prints(found), counts.astype(np.uint32), keys, minima.astype(np.uint8))


def joined(parts: Iterable[Sketches], plan: Plan) -> Sketches:
    """The sketches of all blocks as one."""
    empty = sketch(pl.Series([], dtype=pl.String), plan)
    fields = zip(*((part.prints, part.counts, part.keys, part.minima) for part in (empty, *parts)), strict=True)
    return Sketches(*(np.concatenate(field) for field in fields))


def _prints(found: Shingles) -> np.ndarray:
    """A hash of each text's shingles, in whichever order they stand: texts of equal prints have a similarity of 1."""
    sums = np.zeros(len(found.offsets) - 1, np.uint64)
    some = np.diff(found.offsets) > 0
    if some.any():
        sums[some] = np.add.reduceat(found.hashes, found.offsets[:-1][some])
    return sums
