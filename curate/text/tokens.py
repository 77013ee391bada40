"""
Words as numbers: one pass over the texts gives a flat array of word hashes, and everything that counts words,
n-grams and overlaps is arithmetic on it.

A word is what stands between white space and punctuation marks, lower-cased; in scripts that write no spaces every
character is a word. Hashes are compared within one process only and never stored.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

# Scripts that write no spaces between words.
UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
BETWEEN_WORDS = list('.,;:!?"()[]{}<>*_`#|\n\t\r\u00a0…“”«»¿¡。，、！？：；')
APOSTROPHES = list("‘’")  # "don’t" is the word "don't"
# Row number and hash share one 64-bit key, so that sorting keys groups by row. 2^20 rows a block are far more than
# there are, and within one row of 100,000 words two different words collide with a chance of 0.03 %.
HASH_BITS = np.uint64(44)
HASH_MASK = np.uint64((1 << 44) - 1)
PRIME = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying by it loses nothing


@dataclass(frozen=True)
class Tokens:
    """Hashes of all rows' words one after the other, the row of each, and how many a row has."""

    hashes: np.ndarray  # uint64, one a word
    rows: np.ndarray  # uint64, one a word, ascending
    counts: np.ndarray  # int64, one a row
    chars: np.ndarray  # float64, one a row: characters in its words

    @cached_property
    def vocabulary(self) -> np.ndarray:
        """The distinct (row, word) keys, ascending."""
        return distinct(self.rows, self.hashes)[0]

    def vocabulary_of(self, places: np.ndarray) -> np.ndarray:
        """The vocabularies of the rows at `places`, one after the other, as keys of their new row numbers."""
        sizes = np.bincount(row_of(self.vocabulary), minlength=len(self.counts))
        starts = np.cumsum(sizes) - sizes
        taken = sizes[places]
        rows = np.repeat(np.arange(len(places), dtype=np.uint64), taken)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(taken) - taken, taken)
        return _keys(rows, self.vocabulary[np.repeat(starts[places], taken) + within])


def words(texts: pl.Series) -> Tokens:
    """The words of every text; null and empty texts have none."""
    # Replacing and splitting is eight times as fast as extracting by a regular expression.
    spaced = texts.str.to_lowercase().str.replace_many(
        BETWEEN_WORDS + APOSTROPHES, [" "] * len(BETWEEN_WORDS) + ["'"] * len(APOSTROPHES)
    )
    unspaced = spaced.str.contains(UNSPACED).fill_null(value=False)
    if unspaced.any():
        apart = spaced.filter(unspaced).str.replace_all(f"({UNSPACED})", " $1 ")
        spaced = spaced.scatter(unspaced.arg_true(), apart)
    return _tokens(spaced.str.split(" "))


def text_lines(texts: pl.Series) -> Tokens:
    """The lines of every text that are not blank, without white space at their ends."""
    return _tokens(texts.str.split("\n"))


def _tokens(pieces: pl.Series) -> Tokens:
    """The pieces without white space around them; empty ones do not count."""
    per_row = pieces.list.len().fill_null(0).to_numpy()
    flat = pieces.explode(empty_as_null=False, keep_nulls=False).str.strip_chars()
    lengths = flat.str.len_chars().to_numpy()
    rows = np.repeat(np.arange(len(pieces), dtype=np.uint64), per_row)[lengths > 0]
    counts = np.bincount(rows.astype(np.int64), minlength=len(pieces))
    chars = np.bincount(np.repeat(np.arange(len(pieces)), per_row), weights=lengths, minlength=len(pieces))
    return Tokens(flat.hash().to_numpy()[lengths > 0], rows, counts, chars)


def distinct(rows: np.ndarray, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct (row, hash) keys in order, and how often each occurs."""
    # polars sorts these four times as fast as numpy.
    keys = pl.Series(_keys(rows, hashes)).sort().to_numpy()
    firsts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.empty(0, np.int64)
    return keys[firsts], np.diff(np.append(firsts, len(keys)))


def maybe_repeated(rows: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """
    A mask: False where (row, hash) surely occurs once, by counting in a table that several keys may share.

    A sieve before `distinct`: it costs one pass, and lets through little more than what does repeat.
    """
    bits = max(len(hashes), 1).bit_length() + 1  # two to four slots a key: more would cost more than they sieve out
    slots = ((_keys(rows, hashes) * PRIME) >> np.uint64(64 - bits)).astype(np.int64)
    return np.bincount(slots, minlength=1 << bits)[slots] > 1


def row_of(keys: np.ndarray) -> np.ndarray:
    """The row numbers of keys."""
    return (keys >> HASH_BITS).astype(np.int64)


def _keys(rows: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    return (rows << HASH_BITS) | (hashes & HASH_MASK)
