"""
Word hashes that never change, so that an index of them can be saved, shared and compared anywhere.

A word is a run of letters, marks and digits, in NFKC and lower case; everything else (spaces, punctuation, symbols,
emoji) only separates words. In scripts written without spaces every character is a word. Two words are equal when their
first 64 bytes, their last 8 bytes and their lengths are.

Texts are joined into one run of bytes, and all words of some hundred kilobytes are hashed at once: five times the speed
of splitting texts into strings first. `curate.text.normalized_words` distinguishes more
(arithmetic signs, texts of emoji only), because texts it calls equal are dropped, and it is 25 % slower. The
contamination rule counts words, and reading them is nearly all of its work.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from curate.text.arrays import FIRST_BYTES, GOLDEN, ranges
from curate.text.scripts import UNSPACED

VERSION = 1  # part of every saved index: increase it when the same text gives other words or other hashes
RUN_BYTES = 512 << 10  # of text at once: all intermediate arrays fit into a core's cache
# Beyond ASCII. U+FE00 to U+FE0F and U+20E3 are marks that turn a character into an emoji.
NO_WORD = r"[^\p{L}\p{M}\p{N}\x00-\x7F]|[\x{FE00}-\x{FE0F}\x{20E3}]"
NOT_LATIN = r"[^\x00-\x7F\x{C0}-\x{FF}]"  # NFKC is slow, and does not change the letters from À to ÿ
HASHED_BYTES = 64  # of a word, and its last 8: a text of megabytes without a space is one word
HALF = np.uint64(32)
PADDING = np.zeros(16, np.uint8)  # so that eight bytes can be read at every position, and the last word ends


@dataclass(frozen=True, slots=True)
class Words:
    """Word hashes of several texts: text i has hashes[offsets[i]:offsets[i + 1]]."""

    hashes: np.ndarray  # uint64, one per word
    offsets: np.ndarray  # int64, one more than there are texts

    @property
    def counts(self) -> np.ndarray:
        """The number of words of each text."""
        return np.diff(self.offsets)

    def windows(self, size: int) -> np.ndarray:
        """Return the hash of every `size` consecutive words; the last windows of a text reach into the next one."""
        # By doubling, 1 → 2 → 4 → 8 words, plus one word for every 1 among the binary digits of `size`.
        hashes, length = self.hashes, 1
        for digit in f"{size:b}"[1:]:
            hashes = hashes[:-length] * _power(length) + hashes[length:]
            length *= 2
            if digit == "1":
                hashes = hashes[:-1] * _power(1) + self.hashes[length:]
                length += 1
        return hashes

    def wholes(self, texts: np.ndarray) -> np.ndarray:
        """Return one hash of all words of each of these texts, in their order; it is 0 for a text without words."""
        sizes = self.counts[texts]
        powers = np.multiply.accumulate(np.full(sizes.max(initial=1), GOLDEN))
        parts = self.hashes[ranges(self.offsets[texts], sizes)] * powers[ranges(np.zeros_like(sizes), sizes)]
        sums = np.append(np.uint64(0), np.cumsum(parts, dtype=np.uint64))
        ends = np.cumsum(sizes)
        wholes: np.ndarray = sums[ends] - sums[ends - sizes]
        return wholes


def runs(texts: pl.Series) -> Iterator[tuple[int, Words]]:
    """Yield the words of some texts at a time, with the index of the first of them; null is treated as empty."""
    texts = _where(texts.fill_null(""), _beyond_ascii, _without_symbols)
    joined: bytes = texts.str.join("\n").cast(pl.Binary).item() if len(texts) else b""
    data = np.frombuffer(joined, np.uint8)
    ends = (texts.str.len_bytes().cast(pl.Int64) + 1).cum_sum().to_numpy()  # with the line break after each
    start = before = 0
    while start < len(texts):
        stop = max(start + 1, int(np.searchsorted(ends, before + RUN_BYTES)))
        yield start, _words(data[before : ends[stop - 1]], ends[start:stop] - before)
        start, before = stop, int(ends[stop - 1])


def _without_symbols(texts: pl.Series) -> pl.Series:
    """Return texts in which every byte beyond ASCII belongs to a lower-case word."""
    # Most of these texts hold only a dash or a curly quote, and are ASCII after this step.
    return _where(texts.str.replace_all(NO_WORD, " "), _beyond_ascii, _case_folded)


def _case_folded(texts: pl.Series) -> pl.Series:
    texts = _where(texts, lambda some: some.str.contains(NOT_LATIN), lambda some: some.str.normalize("NFKC"))
    texts = texts.str.to_lowercase().str.replace_all(NO_WORD, " ")
    return _where(
        texts, lambda some: some.str.contains(UNSPACED), lambda some: some.str.replace_all(f"({UNSPACED})", " $1 ")
    )


def _beyond_ascii(texts: pl.Series) -> pl.Series:
    return texts.str.len_bytes() != texts.str.len_chars()


def _where(
    texts: pl.Series, which: Callable[[pl.Series], pl.Series], change: Callable[[pl.Series], pl.Series]
) -> pl.Series:
    """Return the texts, with those that match `which` changed."""
    matching = which(texts)  # and a clone, because scatter works in place
    return texts.clone().scatter(matching.arg_true(), change(texts.filter(matching))) if matching.any() else texts


def _words(data: np.ndarray, ends: np.ndarray) -> Words:
    """Return the words of the concatenated texts that end at `ends`."""
    data = np.append(data, PADDING)
    # ASCII letters; all others are lower-case already. (Multiplying is ten times as fast as shifting.)
    lowered = data | (data < 0x80).view(np.uint8) * np.uint8(0x20)
    borders = _borders(data, lowered)
    starts = borders[0::2].copy()
    return Words(_hashes(lowered, starts, borders[1::2] - starts), np.append(0, np.searchsorted(starts, ends)))


def _borders(data: np.ndarray, lowered: np.ndarray) -> np.ndarray:
    """Return where a word starts, where it ends, where the next one starts, …"""
    inside = lowered - np.uint8(ord("a")) < 26
    inside |= data - np.uint8(ord("0")) < 10
    inside |= data >= 0x80
    changes = np.empty(len(data), bool)
    changes[0] = inside[0]
    np.not_equal(inside[1:], inside[:-1], out=changes[1:])
    return np.flatnonzero(changes)


def _hashes(data: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    eights = np.ndarray(len(data) - 7, "<u8", data.data, strides=(1,))  # the eight bytes at every position
    hashes: np.ndarray = eights[starts]
    hashes &= FIRST_BYTES[np.minimum(sizes, 8)]
    hashes *= _power(1)
    longer = np.flatnonzero(sizes > 8)
    _mix_in(hashes, longer, sizes[longer].view(np.uint64))
    _mix_in(hashes, longer, eights[starts[longer] + sizes[longer] - 8])
    for place in range(8, HASHED_BYTES, 8):
        longer = longer[sizes[longer] > place + 8]
        if not len(longer):
            break
        _mix_in(hashes, longer, eights[starts[longer] + place])
    hashes ^= hashes >> HALF
    return hashes


def _mix_in(hashes: np.ndarray, places: np.ndarray, more: np.ndarray) -> None:
    before = hashes[places]
    hashes[places] = ((before ^ (before >> HALF)) + more) * _power(1)


@cache
def _power(exponent: int) -> np.uint64:
    power: np.uint64 = np.uint64(pow(int(GOLDEN), exponent, 1 << 64))
    return power
