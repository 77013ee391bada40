"""Arithmetic on flat arrays: of bytes, of 64-bit hashes, and of the places of lists stored one after the other."""

from collections.abc import Iterable

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


def stretches(inside: np.ndarray, borders: Iterable[np.ndarray] = ()) -> tuple[np.ndarray, np.ndarray]:
    """
    Return start and length of each stretch of bytes that is `inside` (bool, one per byte).

    A stretch does not extend across a border; border i is before byte i.
    """
    cut = np.zeros(len(inside) + 1, bool)
    cut[0] = cut[-1] = True
    np.not_equal(inside[1:], inside[:-1], out=cut[1:-1])
    for border in borders:
        cut[border] = True
    starts = np.flatnonzero(inside & cut[:-1])
    return starts, np.flatnonzero(inside & cut[1:]) + 1 - starts


def hashes_of(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """
    Hash the bytes from each start on (uint64): eight at a time as one number, mixed and summed.

    in : data (uint8), with seven bytes more than those hashed. The hash functions of libraries change with their
         versions, and slicing texts for them would be slower.
    """
    numbers = np.lib.stride_tricks.as_strided(data[:8].view("<u8"), (len(data) - 7,), (1,), writeable=False)
    hashes = numbers[starts]
    hashes &= FIRST_BYTES[np.minimum(lengths, 8)]
    hashes += lengths.view(np.uint64) * GOLDEN
    hashes = mixed(hashes)
    long = np.flatnonzero(lengths > 8)
    if len(long):
        further = (lengths[long] - 1) // 8
        first = np.cumsum(further) - further
        place = np.arange(1, further.sum() + 1) - np.repeat(first, further)  # 1, 2, … within each word
        size = np.minimum(np.repeat(lengths[long], further) - 8 * place, 8)
        number = numbers[np.repeat(starts[long], further) + 8 * place] & FIRST_BYTES[size]
        hashes[long] = mixed(hashes[long] + np.add.reduceat(mixed(number + place.astype(np.uint64) * GOLDEN), first))
    return hashes
