"""
Cosine similarity on integer-quantized unit vectors; a low-dimensional projection gives an upper bound for pruning.

Bulk comparisons use whole numbers in float32: a unit vector times SCALE, rounded. By the Cauchy-Schwarz inequality no
partial sum of a product of two of them reaches 2^24, so every product is exact, whatever the block size, the number of
threads and the order of rows, and every decision based on it is reproducible.
"""

from dataclasses import dataclass

import numpy as np

from curate.errors import require

SCALE = np.float32(4000)  # its square plus the rounding error is below 2^24 for up to 4,096 dimensions
SLACK = 0.01  # more than rounding to whole numbers changes a cosine
BLOCK = 8192  # rows processed at once
SAMPLE = 2 << 20  # numbers from which the main axes are computed
WIDTHS = (64, 128, 256)  # of a projection
TRIAL_ROWS = 2048  # vectors on which a width is tried
MAX_FALSE_SHARE = 1e-3  # of pairs: a projection that lets more dissimilar ones pass is not worth its cost
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Distinct:
    """The distinct vectors among rows."""

    rows: np.ndarray  # int64: the first row of each, in a pseudo-random order that depends on the vectors alone
    places: np.ndarray  # int64, one per row: its vector's index in `rows`; -1 for a vector without a direction


def distinct(vectors: np.ndarray) -> Distinct:
    """
    Return the distinct vectors of [rows, dim].

    A vector of zeros, or one that contains NaN or infinity, has no direction and belongs to none.
    """
    hashes = np.empty((2, len(vectors)), np.uint64)
    weights = _mixed(np.arange(1, 2 * vectors.shape[1] + 1, dtype=np.uint64) * GOLDEN).reshape(-1, 2) | np.uint64(1)
    for start in range(0, len(vectors), BLOCK):
        # Adding zero turns -0.0 into 0.0.
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
    """Return the lengths, float64; 0 where a vector is not finite."""
    norms = np.empty(len(vectors))
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK].astype(np.float64)
        with np.errstate(over="ignore"):
            norms[start : start + BLOCK] = np.sqrt(np.einsum("ij,ij->i", block, block))
    return np.where(np.isfinite(norms), norms, 0.0)


def cosines(ours: np.ndarray, left: np.ndarray, theirs: np.ndarray, right: np.ndarray) -> np.ndarray:
    """
    Return the cosine of every pair, float64, rounded to 12 decimals.

    in : vectors and row numbers, twice: pairs of rows that have a direction

    The result is symmetric to the bit and does not depend on the other pairs of the call.
    """
    result = np.empty(len(left))
    for start in range(0, len(left), BLOCK // 4):
        pairs = slice(start, start + BLOCK // 4)
        a, b = ours[left[pairs]].astype(np.float64), theirs[right[pairs]].astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", a, a)) * np.sqrt(np.einsum("ij,ij->i", b, b))
        result[pairs] = np.einsum("ij,ij->i", a, b) / lengths
    return result.round(12)  # so that equal directions give 1


def grid(vectors: np.ndarray) -> np.ndarray:
    """Return unit vectors times SCALE as whole numbers in float32; zeros for vectors without a direction."""
    whole = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK].astype(np.float64)
        lengths = _norms(block)[:, None]
        unit = np.divide(block, lengths, out=np.zeros_like(block), where=lengths > 0)
        whole[start : start + BLOCK] = np.rint(unit * SCALE)
    return whole


def least_product(threshold: float) -> np.float32:
    """Return a lower bound of the product of two projections whose vectors have a cosine of at least `threshold`."""
    return np.float32((threshold - SLACK) * float(SCALE) ** 2)


def main_axes(vectors: np.ndarray, rows: np.ndarray, threshold: float) -> np.ndarray | None:
    """
    Return the axes, [dim, width - 1] in whole numbers, whose projections prune well at this threshold.

    in : `rows` as in `Distinct`; the first ones serve as the sample
    out: None where the vectors are short already, or no projection prunes enough

    The axes affect the speed and never the result.
    """
    dim = vectors.shape[1]
    sample = grid(vectors[rows[: max(TRIAL_ROWS, SAMPLE // dim)]])
    if dim <= WIDTHS[0] or len(sample) < 2:
        return None
    moments = sample.T.astype(np.float64) @ sample
    most = min(WIDTHS[-1], dim)
    with require("threadpoolctl", "embed").threadpool_limits(1):  # the digits may depend on the number of threads
        axes = require("scipy.linalg", "embed").eigh(moments, subset_by_index=[dim - most + 1, dim - 1])[1]
    trial, least = sample[:TRIAL_ROWS], least_product(threshold)
    enough = np.count_nonzero(trial @ trial.T >= least) + MAX_FALSE_SHARE * len(trial) ** 2
    for width in (width for width in WIDTHS if width < dim):
        candidate: np.ndarray = np.rint(axes[:, 1 - width :] * SCALE).astype(np.float32)
        projected = _projected(trial, candidate)
        if np.count_nonzero(projected @ projected.T >= least) <= enough:
            return candidate
    return None


def projections(vectors: np.ndarray, rows: np.ndarray, axes: np.ndarray | None) -> np.ndarray:
    """
    Project the vectors at `rows` onto the axes of `main_axes`.

    out: [rows, width] whole numbers: a vector's component on each axis, and the length of the residual. Except for
         rounding, the product of two is never less than that of the vectors; without axes both are the same.
    """
    result = np.empty((len(rows), vectors.shape[1] if axes is None else axes.shape[1] + 1), np.float32)
    for start in range(0, len(rows), BLOCK):
        whole = grid(vectors[rows[start : start + BLOCK]])
        result[start : start + BLOCK] = whole if axes is None else _projected(whole, axes)
    return result


def _projected(whole: np.ndarray, axes: np.ndarray) -> np.ndarray:
    parts = np.rint(whole @ axes / SCALE)
    residual = np.maximum(0, SCALE**2 - np.einsum("ij,ij->i", parts, parts))
    return np.column_stack([parts, np.ceil(np.sqrt(residual))])
