"""
Word hashes for signals: one pass over the texts gives a flat array, and everything that counts words, n-grams and
overlaps is arithmetic on it.

A word is the text between white space and punctuation marks, lower-cased; in scripts written without spaces every
character is a word (see `curate.text` for the other ways). Words are located and hashed among the bytes of about a
megabyte of text at a time, which takes half the time of splitting texts into strings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from curate.text.arrays import GOLDEN, hashes_of, ranges, stretches
from curate.text.blocks import text_chunks
from curate.text.scripts import UNSPACED
from curate.text.utf8 import PADDING, Wide, flat_bytes

SPACE = 32
WHITE, MARKS = " \t\n\r\v\f", '.,;:!?"()[]{}<>*_`#|'  # of ASCII
BETWEEN_WORDS = r"[\s…“”«»¿¡。，、！？：；]"  # beyond it
APOSTROPHES = [ord(mark) for mark in "‘’"]  # "don’t" is the word "don't"
# ASCII between words becomes a space. The bytes of longer characters are unchanged.
SPACED = bytes.maketrans((WHITE + MARKS).encode(), b" " * len(WHITE + MARKS))
# Row number and hash share one 64-bit key, so that sorting keys groups by row. Blocks are far smaller than 2^20 rows,
# and in a row of 100,000 words two different words collide with a probability of 0.03 %.
HASH_BITS = np.uint64(44)
HASH_MASK = np.uint64((1 << 44) - 1)
SPAN_WORDS = 1 << 16  # of some rows, handled at once


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
        parts = [distinct(self.rows[start:stop], self.hashes[start:stop])[0] for start, stop in self.spans()]
        return np.concatenate([np.empty(0, np.uint64), *parts])

    def spans(self) -> Iterator[tuple[int, int]]:
        """Yield the first word of some rows, and the one after their last: arrays that fit the processor's cache."""
        ends = np.cumsum(self.counts)
        start = 0
        while start < len(self.hashes):
            first = int(np.searchsorted(ends, start, "right"))  # the row of this word
            last = max(first, int(np.searchsorted(ends, start + SPAN_WORDS, "right")) - 1)
            yield start, int(ends[last])
            start = int(ends[last])

    def vocabulary_of(self, places: np.ndarray) -> np.ndarray:
        """Return the vocabularies of the rows at `places`, one after the other, as keys of their new row numbers."""
        sizes = np.bincount(row_of(self.vocabulary), minlength=len(self.counts))
        starts = np.cumsum(sizes) - sizes
        rows = np.repeat(np.arange(len(places), dtype=np.uint64), sizes[places])
        return _keys(rows, self.vocabulary[ranges(starts[places], sizes[places])])


def words(texts: pl.Series) -> Tokens:
    """Return the words of every text; null and empty texts have none."""
    # Arrays of about a megabyte of text at a time fit the processor's cache.
    chunks = [_words(chunk.fill_null("")) for chunk in text_chunks(texts.str.to_lowercase())]
    hashes, counts, chars = (
        np.concatenate(arrays) for arrays in zip(*(chunks or [_words(texts.clear())]), strict=True)
    )
    return Tokens(hashes, np.repeat(np.arange(len(counts), dtype=np.uint64), counts), counts, chars)


def _words(texts: pl.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the hashes of all words; of each text the number of words, and of the characters in them."""
    raw, ends = flat_bytes(texts)
    wide = Wide.of(raw)
    if (curly := np.isin(wide.codes, APOSTROPHES)).any():
        some = np.unique(np.searchsorted(ends, wide.starts[curly], "right"))
        raw, ends = flat_bytes(texts.clone().scatter(some, texts.gather(some).str.replace_all("[‘’]", "'")))
        wide = Wide.of(raw)
    data = np.frombuffer(bytearray(raw).translate(SPACED), np.uint8).copy()
    wide.fill(data, wide.are(BETWEEN_WORDS), SPACE)
    unspaced = wide.are(UNSPACED)
    first, behind = wide.starts[unspaced], wide.starts[unspaced] + wide.lengths[unspaced]
    starts, lengths = stretches(data[:-PADDING] != SPACE, (ends, first, behind))
    offsets = np.searchsorted(starts, np.append(0, ends))
    # A multi-byte character counts once; those within words are all that is not overwritten.
    letters = wide.starts[data[wide.starts] != SPACE]
    further = np.append(0, np.cumsum(wide.lengths[data[wide.starts] != SPACE] - 1))
    chars = np.diff(np.append(0, np.cumsum(lengths))[offsets])
    chars -= np.diff(further[np.searchsorted(letters, np.append(0, ends))])
    return hashes_of(data, starts, lengths), np.diff(offsets), chars.astype(np.float64)


def text_lines(texts: pl.Series) -> Tokens:
    """Return the lines of every text, stripped of white space; blank lines are left out."""
    parts = texts.str.split("\n")
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
