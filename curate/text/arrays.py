"""Arithmetic on flat arrays of 64-bit hashes, and on the places of lists stored one after the other."""

import numpy as np

# 2^64 over the golden ratio. It is odd, so multiplication by it is invertible. Saved eval indexes depend on it.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
SPLITMIX64 = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)  # its two multipliers
FIRST_BYTES = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)  # masks: the first 0 to 8 bytes


def mixed(hashes: np.ndarray) -> np.ndarray:
    """Return the hashes (uint64) after splitmix64's finalizer, so that sums and products of hashes are hashes again."""
    spread: np.ndarray = hashes ^ (hashes >> np.uint64(30))
    spread *= SPLITMIX64[0]
    spread ^= spread >> np.uint64(27)
    spread *= SPLITMIX64[1]
    spread ^= spread >> np.uint64(31)
    return spread


def to_offsets(counts: np.ndarray) -> np.ndarray:
    """Return where each of the lists of these lengths starts, and where the last one ends: int64, one more."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return start, start + 1, … (`size` numbers) for every start, one range after the other."""
    ends = np.cumsum(sizes)
    places: np.ndarray = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - sizes), sizes)
    return places
