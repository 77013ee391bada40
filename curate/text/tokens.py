"""
Word hashes for signals: one pass over the texts gives a flat array, and everything that counts words, n-grams and
overlaps is arithmetic on it.

A word is the text between white space and punctuation marks, lower-cased; in scripts written without spaces every
character is a word. Hashes are valid within one process only and never stored (see `curate.text` for the other ways).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from curate.text.arrays import GOLDEN, ranges
from curate.text.scripts import UNSPACED

BETWEEN_WORDS = list('.,;:!?"()[]{}<>*_`#|\n\t\r\u00a0…“”«»¿¡。，、！？：；')
APOSTROPHES = list("‘’")  # "don’t" is the word "don't"
# Row number and hash share one 64-bit key, so that sorting keys groups by row. Blocks are far smaller than 2^20 rows,
# and in a row of 100,000 words two different words collide with a probability of 0.03 %.
HASH_BITS = np.uint64(44)
HASH_MASK = np.uint64((1 << 44) - 1)


@dataclass(frozen=True)
class Tokens:
    """The word hashes of all rows, one row after the other."""

    hashes: np.ndarray  # uint64, one per word
    rows: np.ndarray  # uint64, the row of each word, ascending
    counts: np.ndarray  # int64, words per row
    chars: np.ndarray  # float64, characters in the words of each row

    @cached_property
    def vocabulary(self) -> np.ndarray:
        """The distinct (row, word) keys, ascending."""
        return distinct(self.rows, self.hashes)[0]

    def vocabulary_of(self, places: np.ndarray) -> np.ndarray:
        """Return the vocabularies of the rows at `places`, one after the other, as keys of their new row numbers."""
        sizes = np.bincount(row_of(self.vocabulary), minlength=len(self.counts))
        starts = np.cumsum(sizes) - sizes
        rows = np.repeat(np.arange(len(places), dtype=np.uint64), sizes[places])
        return _keys(rows, self.vocabulary[ranges(starts[places], sizes[places])])


def words(texts: pl.Series) -> Tokens:
    """Return the words of every text; null and empty texts have none."""
    # Replacing and splitting is eight times as fast as extracting with a regular expression.
    spaced = texts.str.to_lowercase().str.replace_many(
        BETWEEN_WORDS + APOSTROPHES, [" "] * len(BETWEEN_WORDS) + ["'"] * len(APOSTROPHES)
    )
    unspaced = spaced.str.contains(UNSPACED).fill_null(value=False)
    if unspaced.any():
        separated = spaced.filter(unspaced).str.replace_all(f"({UNSPACED})", " $1 ")
        spaced = spaced.scatter(unspaced.arg_true(), separated)
    return _tokens(spaced.str.split(" "))


def text_lines(texts: pl.Series) -> Tokens:
    """Return the lines of every text, stripped of white space; blank lines are left out."""
    return _tokens(texts.str.split("\n"))


def _tokens(parts: pl.Series) -> Tokens:
    """Return the parts (list[str], one list per row) stripped of white space; empty ones are left out."""
    per_row = parts.list.len().fill_null(0).to_numpy()
    flat = parts.explode(empty_as_null=False, keep_nulls=False).str.strip_chars()
    lengths = flat.str.len_chars().to_numpy()
    rows = np.repeat(np.arange(len(parts), dtype=np.uint64), per_row)[lengths > 0]
    counts = np.bincount(rows.astype(np.int64), minlength=len(parts))
    chars = np.bincount(np.repeat(np.arange(len(parts)), per_row), weights=lengths, minlength=len(parts))
    return Tokens(flat.hash().to_numpy()[lengths > 0], rows, counts, chars)


def distinct(rows: np.ndarray, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct (row, hash) keys, ascending, and how often each occurs."""
    # polars sorts these four times as fast as numpy.
    keys = pl.Series(_keys(rows, hashes)).sort().to_numpy()
    firsts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.empty(0, np.int64)
    return keys[firsts], np.diff(np.append(firsts, len(keys)))


def maybe_repeated(rows: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """
    Return a mask that is False where (row, hash) surely occurs once.

    A filter in front of `distinct`: it counts keys in a table whose slots several keys may share. That takes one pass,
    and few unique keys get through.
    """
    bits = max(len(hashes), 1).bit_length() + 1  # two to four slots per key; more cost more than they save
    slots = ((_keys(rows, hashes) * GOLDEN) >> np.uint64(64 - bits)).astype(np.int64)
    return np.bincount(slots, minlength=1 << bits)[slots] > 1


def row_of(keys: np.ndarray) -> np.ndarray:
    """Return the row numbers of keys."""
    return (keys >> HASH_BITS).astype(np.int64)


def _keys(rows: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    return (rows << HASH_BITS) | (hashes & HASH_MASK)
