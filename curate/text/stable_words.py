"""
Words as numbers that stay the same for ever, so that an index of them can be saved, shipped and compared anywhere.

A word is a run of letters, marks and digits, in NFKC and lower case; whatever else stands between two of them (spaces,
punctuation, symbols, emoji) only parts them. In scripts that write no spaces every character is a word. Two words are
the same when their first 64 bytes, their last 8 and their lengths are.

Texts become one run of bytes, and all words of some hundred kilobytes are hashed at once: five times the speed of
splitting texts into strings first. `curate.text.tokens` does that, and its hashes hold for one process only.

`curate.text.normalized_words` distinguishes more (arithmetic signs, texts of emoji only), because texts it calls equal
are dropped, and it is 25 % slower. Here a rule counts words, and reading them is nearly all of the work.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from curate.text.tokens import UNSPACED

VERSION = 1  # part of every saved index: raise it when the same text gives other words or other hashes
RUN_BYTES = 512 << 10  # of text at once: what is made of it fits into a core's cache
# Beyond ASCII; the range and the one after it are marks that turn a character into an emoji.
NO_WORD = r"[^\p{L}\p{M}\p{N}\x00-\x7F]|[\x{FE00}-\x{FE0F}\x{20E3}]"
NOT_LATIN = r"[^\x00-\x7F\x{C0}-\x{FF}]"  # NFKC, which takes its time, leaves the letters from À to ÿ as they are
KEPT_BYTES = 64  # of a word, and its last 8: a text of megabytes without a space is one word
PRIME = 0x9E3779B97F4A7C15
HALF = np.uint64(32)
PADDING = np.zeros(16, np.uint8)  # eight bytes can be read anywhere, and the last word has an end
MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)  # the first bytes of eight


@dataclass(frozen=True, slots=True)
class Words:
    """The words of some texts, one after the other: text i has those from firsts[i] up to firsts[i + 1]."""

    hashes: np.ndarray  # uint64, one a word
    firsts: np.ndarray  # int64, one a text and one more

    @property
    def counts(self) -> np.ndarray:
        """Words of each text."""
        return np.diff(self.firsts)

    def windows(self, size: int) -> np.ndarray:
        """The hash of every `size` words in a row, in whatever text they begin; some reach into the next."""
        # 1 → 2 → 4 → 8 words, and one more where the binary digits of `size` say so.
        hashes, length = self.hashes, 1
        for digit in f"{size:b}"[1:]:
            hashes = hashes[:-length] * _power(length) + hashes[length:]
            length *= 2
            if digit == "1":
                hashes = hashes[:-1] * _power(1) + self.hashes[length:]
                length += 1
        return hashes

    def wholes(self, texts: np.ndarray) -> np.ndarray:
        """One hash for all words of each of these texts, in their order. Texts without words have the same one."""
        sizes = self.counts[texts]
        powers = np.multiply.accumulate(np.full(sizes.max(initial=1), PRIME, np.uint64))
        parts = self.hashes[ranges(self.firsts[texts], sizes)] * powers[ranges(np.zeros_like(sizes), sizes)]
        sums = np.append(np.uint64(0), np.cumsum(parts, dtype=np.uint64))
        ends = np.cumsum(sizes)
        wholes: np.ndarray = sums[ends] - sums[ends - sizes]
        return wholes


def ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """start, start + 1, … for every start, as many as its size."""
    ends = np.cumsum(sizes)
    places: np.ndarray = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - sizes), sizes)
    return places


def runs(texts: pl.Series) -> Iterator[tuple[int, Words]]:
    """The words of all texts, some texts at a time, each time with the place of the first; null is an empty text."""
    texts = _parted(texts.fill_null(""))
    joined: bytes = texts.str.join("\n").cast(pl.Binary).item() if len(texts) else b""
    data = np.frombuffer(joined, np.uint8)
    ends = (texts.str.len_bytes().cast(pl.Int64) + 1).cum_sum().to_numpy()  # with the line break behind each
    start = before = 0
    while start < len(texts):
        stop = max(start + 1, int(np.searchsorted(ends, before + RUN_BYTES)))
        yield start, _words(data[before : ends[stop - 1]], ends[start:stop] - before)
        start, before = stop, int(ends[stop - 1])


def _parted(texts: pl.Series) -> pl.Series:
    """Texts in which every byte beyond ASCII belongs to a word, in lower case."""
    return _where(texts, _beyond_ascii, _plain)


def _plain(texts: pl.Series) -> pl.Series:
    # Most of these texts hold only a dash or a curly quote, and are ASCII after this step.
    return _where(texts.str.replace_all(NO_WORD, " "), _beyond_ascii, _folded)


def _folded(texts: pl.Series) -> pl.Series:
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
    """The texts, those of them changed that are `which`."""
    chosen = which(texts)  # and a clone, since scatter changes its own series
    return texts.clone().scatter(chosen.arg_true(), change(texts.filter(chosen))) if chosen.any() else texts


def _words(data: np.ndarray, ends: np.ndarray) -> Words:
    """The words of texts that stand one after the other up to these ends."""
    data = np.append(data, PADDING)
    # ASCII letters; what is beyond ASCII is so already. (To multiply is ten times as fast as to shift.)
    lowered = data | (data < 0x80).view(np.uint8) * np.uint8(0x20)
    turns = _turns(data, lowered)
    starts = turns[0::2].copy()
    return Words(_hashes(lowered, starts, turns[1::2] - starts), np.append(0, np.searchsorted(starts, ends)))


def _turns(data: np.ndarray, lowered: np.ndarray) -> np.ndarray:
    """Where a word begins, where it ends, where the next begins, …"""
    inside = lowered - np.uint8(ord("a")) < 26
    inside |= data - np.uint8(ord("0")) < 10
    inside |= data >= 0x80
    turned = np.empty(len(data), bool)
    turned[0] = inside[0]
    np.not_equal(inside[1:], inside[:-1], out=turned[1:])
    return np.flatnonzero(turned)


def _hashes(data: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    eights = np.ndarray(len(data) - 7, "<u8", data.data, strides=(1,))  # the eight bytes from every place on
    hashes: np.ndarray = eights[starts]
    hashes &= MASKS[np.minimum(sizes, 8)]
    hashes *= _power(1)
    longer = np.flatnonzero(sizes > 8)
    _mix_in(hashes, longer, sizes[longer].view(np.uint64))
    _mix_in(hashes, longer, eights[starts[longer] + sizes[longer] - 8])
    for place in range(8, KEPT_BYTES, 8):
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
    power: np.uint64 = np.uint64(pow(PRIME, exponent, 1 << 64))
    return power
