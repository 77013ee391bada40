"""Texts as sets of word n-grams (shingles), so that two texts can be compared: flat arrays, never a list per text."""

from typing import NamedTuple

import numpy as np
import polars as pl

from curate.text.arrays import GOLDEN, mixed, to_offsets
from curate.text.blocks import ROW_BITS
from curate.text.normalized_words import words

# Row number and hash share one key, so that one sort orders the hashes of every row. A collision among the 50 bits
# miscounts one shingle: at 200 shingles per text in one pair of 10^10, at a million (5 MB) in one of 10^3.
HASH_BITS = np.uint64(64 - ROW_BITS - 1)  # one bit less, because they are the columns of a sparse matrix (int64)


class Shingles(NamedTuple):
    """Shingle hashes of several texts: text i has hashes[offsets[i]:offsets[i + 1]]."""

    hashes: np.ndarray  # uint64
    offsets: np.ndarray  # int64, one more than there are texts


def shingles(texts: pl.Series, *, size: int = 3) -> Shingles:
    """
    Hash every `size` consecutive words.

    in : str; null is treated as blank
    out: hashes in the order of the text, repeated ones included. A text of fewer words is one shingle, a blank text has
         none.
    """
    single, offsets = words(texts.fill_null(""))
    counts = np.diff(offsets)
    folded = single.copy()
    for ahead in range(1, min(size, len(single))):
        folded[: len(single) - ahead] = folded[: len(single) - ahead] * GOLDEN + single[ahead:]
    # The last windows of a text reach into the next one.
    full = np.ones(len(single), bool)
    for back in range(1, size):
        full[offsets[1:][counts >= back] - back] = False
    few = (counts > 0) & (counts < size)
    folded[offsets[:-1][few]] = _whole(single, offsets[:-1][few], counts[few])
    full[offsets[:-1][few]] = True
    per_text = np.where(counts > 0, np.maximum(counts - size + 1, 1), 0)
    return Shingles(mixed(folded[full]), to_offsets(per_text))


def shingle_sets(texts: pl.Series, *, size: int = 3) -> Shingles:
    """Return `shingles` once per text, ascending and cut to HASH_BITS. Takes at most 2^ROW_BITS texts."""
    hashes, offsets = shingles(texts, size=size)
    rows = np.repeat(np.arange(len(texts), dtype=np.uint64), np.diff(offsets))
    # polars sorts these four times as fast as numpy.
    keys = pl.Series((rows << HASH_BITS) | (hashes >> (np.uint64(64) - HASH_BITS))).sort().to_numpy()
    keys = keys[np.append(True, keys[1:] != keys[:-1])] if len(keys) else keys
    per_text = np.bincount((keys >> HASH_BITS).astype(np.int64), minlength=len(texts))
    return Shingles(keys & ((np.uint64(1) << HASH_BITS) - np.uint64(1)), to_offsets(per_text))


def _whole(single: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return one hash of the `counts` words from each start on."""
    folded: np.ndarray = single[starts]
    for ahead in range(1, int(counts.max(initial=0))):
        more = counts > ahead
        folded[more] = folded[more] * GOLDEN + single[starts[more] + ahead]
    return folded
