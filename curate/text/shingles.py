"""Texts as sets of so many words in a row, so that two texts can be compared: flat arrays, never a list a text."""

from typing import NamedTuple

import numpy as np
import polars as pl

from curate.text.normalized_words import PRIME, mixed, to_offsets, words

# Row number and hash share one key, so that one sort orders the hashes of every row. A collision among the 50 bits
# counts one shingle wrongly; with texts of 200 shingles that is one pair in 10^10, with a million (5 MB) one in 10^3.
ROW_BITS = 13
HASH_BITS = np.uint64(64 - ROW_BITS - 1)  # one bit less, so that they are columns of a sparse matrix


class Shingles(NamedTuple):
    """The shingles of text i are hashes[offsets[i]:offsets[i + 1]]."""

    hashes: np.ndarray  # uint64
    offsets: np.ndarray  # int64, one more than there are texts


def shingles(texts: pl.Series, *, size: int = 3) -> Shingles:
    """
    in : str; null is as blank
    out: a hash of every `size` words in a row, in the text's order, repeated ones too. A text of fewer words is one
         shingle, a blank one has none.
    """
    single, offsets = words(texts.fill_null(""))
    counts = np.diff(offsets)
    folded = single.copy()
    for ahead in range(1, min(size, len(single))):
        folded[: len(single) - ahead] = folded[: len(single) - ahead] * PRIME + single[ahead:]
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
    """As `shingles`, each hash once a text, in ascending order and cut to HASH_BITS. At most 2^ROW_BITS texts."""
    hashes, offsets = shingles(texts, size=size)
    rows = np.repeat(np.arange(len(texts), dtype=np.uint64), np.diff(offsets))
    # polars sorts these four times as fast as numpy.
    keys = pl.Series((rows << HASH_BITS) | (hashes >> (np.uint64(64) - HASH_BITS))).sort().to_numpy()
    keys = keys[np.append(True, keys[1:] != keys[:-1])] if len(keys) else keys
    per_text = np.bincount((keys >> HASH_BITS).astype(np.int64), minlength=len(texts))
    return Shingles(keys & ((np.uint64(1) << HASH_BITS) - np.uint64(1)), to_offsets(per_text))


def _whole(single: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """One hash of all `counts` words from each start on."""
    folded: np.ndarray = single[starts]
    for ahead in range(1, int(counts.max(initial=0))):
        more = counts > ahead
        folded[more] = folded[more] * PRIME + single[starts[more] + ahead]
    return folded
