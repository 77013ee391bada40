"""
Vectors by their direction: which are equal, how near two are, and a shadow of each that tells what cannot be near.

What is compared in bulk are whole numbers in float32: a unit vector times SCALE, rounded. By Cauchy and Schwarz no
partial sum of a product of two of them reaches 2^24, so every product is exact, whatever the block size, the number of
threads and the order of rows, and so is everything that is decided by it.
"""

from dataclasses import dataclass

import numpy as np

from curate.errors import require

SCALE = np.float32(4000)  # its square, with what rounding adds to it, is below 2^24 for up to 4,096 dimensions
SLACK = 0.01  # more than rounding to whole numbers moves a cosine
BLOCK = 8192  # rows in work at once
SAMPLE = 2 << 20  # numbers from which the main axes are found
WIDTHS = (64, 128, 256)  # of a shadow
TRIED = 2048  # vectors on which a width is tried
FEW = 1e-3  # share of pairs that may pass a shadow, beyond those that are near, for it to be worth having
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Distinct:
    """The distinct vectors among rows."""

    rows: np.ndarray  # int64: the first row of each, in an order that depends on the vectors alone, as if shuffled
    places: np.ndarray  # int64, one a row: its vector's place in `rows`; -1 for a vector without a direction


def distinct(vectors: np.ndarray) -> Distinct:
    """
    in : [rows, dim]
    out: equal vectors put together. A vector of zeros, or with a NaN or an infinity in it, is equal to none.
    """
    hashes = np.empty((2, len(vectors)), np.uint64)
    weights = _mixed(np.arange(1, 2 * vectors.shape[1] + 1, dtype=np.uint64) * GOLDEN).reshape(-1, 2) | np.uint64(1)
    for start in range(0, len(vectors), BLOCK):
        # Adding zero makes one of the two zeros of floating point.
        with np.errstate(over="ignore"):
            bits = (vectors[start : start + BLOCK].astype(np.float32) + np.float32(0)).view(np.uint32)
        hashes[:, start : start + BLOCK] = _mixed((bits.astype(np.uint64) @ weights).T)
    usable = np.flatnonzero(_norms(vectors) > 0)
    one, two = hashes[0, usable], hashes[1, usable]
    order = np.lexsort((two, one))  # stable: the first of equals is the first row
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(one[order]) != 0) | (np.diff(two[order]) != 0)
    places = np.full(len(vectors), -1)
    places[usable[order]] = np.cumsum(new) - 1
    return Distinct(usable[order[new]], places)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    # One multiplier, unlike `curate.text.arrays.mixed`: the order of vectors, and so of clusters, depends on it.
    for shift in (30, 27):
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed: np.ndarray = numbers ^ (numbers >> np.uint64(31))
    return mixed


def _norms(vectors: np.ndarray) -> np.ndarray:
    """Lengths, float64; 0 where there is none."""
    norms = np.empty(len(vectors))
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK].astype(np.float64)
        with np.errstate(over="ignore"):
            norms[start : start + BLOCK] = np.sqrt(np.einsum("ij,ij->i", block, block))
    return np.where(np.isfinite(norms), norms, 0.0)


def cosines(ours: np.ndarray, left: np.ndarray, theirs: np.ndarray, right: np.ndarray) -> np.ndarray:
    """
    in : vectors and row numbers, twice: pairs of rows that have a direction
    out: the cosine of every pair, float64, to 12 decimals; the same bits whichever is left and whatever else is asked.
    """
    result = np.empty(len(left))
    for start in range(0, len(left), BLOCK // 4):
        pairs = slice(start, start + BLOCK // 4)
        a, b = ours[left[pairs]].astype(np.float64), theirs[right[pairs]].astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", a, a)) * np.sqrt(np.einsum("ij,ij->i", b, b))
        result[pairs] = np.einsum("ij,ij->i", a, b) / lengths
    return result.round(12)  # so that equal directions have 1


def grid(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors times SCALE as whole numbers, float32; zeros where there is no direction."""
    whole = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK].astype(np.float64)
        lengths = _norms(block)[:, None]
        unit = np.divide(block, lengths, out=np.zeros_like(block), where=lengths > 0)
        whole[start : start + BLOCK] = np.rint(unit * SCALE)
    return whole


def least_product(threshold: float) -> np.float32:
    """What two shadows' product is at least where the cosine of the two vectors is at least `threshold`."""
    return np.float32((threshold - SLACK) * float(SCALE) ** 2)


def main_axes(vectors: np.ndarray, rows: np.ndarray, threshold: float) -> np.ndarray | None:
    """
    in : `rows` as of `distinct`
    out: [dim, width - 1], whole numbers: the axes on which shadows are worth having for this threshold; None where the
         vectors are small as they are, or shadows would tell too little.

    The first rows serve as the sample. Which axes they are changes the speed, and nothing else.
    """
    dim = vectors.shape[1]
    sample = grid(vectors[rows[: max(TRIED, SAMPLE // dim)]])
    if dim <= WIDTHS[0] or len(sample) < 2:
        return None
    moments = sample.T.astype(np.float64) @ sample
    most = min(WIDTHS[-1], dim)
    with require("threadpoolctl", "embed").threadpool_limits(1):  # the digits may depend on the number of threads
        axes = require("scipy.linalg", "embed").eigh(moments, subset_by_index=[dim - most + 1, dim - 1])[1]
    tried, least = sample[:TRIED], least_product(threshold)
    enough = np.count_nonzero(tried @ tried.T >= least) + FEW * len(tried) ** 2
    for width in (width for width in WIDTHS if width < dim):
        cut: np.ndarray = np.rint(axes[:, 1 - width :] * SCALE).astype(np.float32)
        seen = _shadow(tried, cut)
        if np.count_nonzero(seen @ seen.T >= least) <= enough:
            return cut
    return None


def shadows(vectors: np.ndarray, rows: np.ndarray, axes: np.ndarray | None) -> np.ndarray:
    """
    in : the vectors at `rows`, [dim, width - 1] from `main_axes`
    out: [rows, width] whole numbers: a vector's part on each axis, and the length of what is left of it. The product of
         two is, but for rounding, never less than that of the vectors; without axes it is the same.
    """
    result = np.empty((len(rows), vectors.shape[1] if axes is None else axes.shape[1] + 1), np.float32)
    for start in range(0, len(rows), BLOCK):
        whole = grid(vectors[rows[start : start + BLOCK]])
        result[start : start + BLOCK] = whole if axes is None else _shadow(whole, axes)
    return result


def _shadow(whole: np.ndarray, axes: np.ndarray) -> np.ndarray:
    parts = np.rint(whole @ axes / SCALE)
    left = np.maximum(0, SCALE**2 - np.einsum("ij,ij->i", parts, parts))
    return np.column_stack([parts, np.ceil(np.sqrt(left))])
