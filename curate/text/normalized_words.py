"""
Texts as the hashes of their words, in flat arrays: what is left when case, spaces and punctuation do not count.

A word is a run of letters, marks and digits, lower-cased, whatever stands between; in scripts that write no spaces
every character is a word. An arithmetic sign between two digits is a word as well: "2 + 2" is not "2 - 2", nor 10^{23}
the same as 10 23. A text without any word (punctuation, emoji) is one word, all its characters but invisible ones; one
of spaces and control characters has none. Hashes are the same in every process, on every machine and with every version
of the libraries.
"""

import numpy as np
import polars as pl

from curate.text.tokens import UNSPACED
from curate.text.utf8 import HAN_ENDS, Wide

SPACE = 32
GAP = 3  # between a sign and its digits
SIGNS = "+-*/^%<>="
# What is left of an ASCII byte: lower-case letters and digits; signs as 1, 2, …, looked at once more; else a space.
# The bytes of longer characters stay.
PLAIN = bytes(
    byte if byte >= 128 else ord(chr(byte).lower()) if chr(byte).isalnum() else 1 + SIGNS.find(chr(byte)) or SPACE
    for byte in range(256)
)
LETTER = r"[\p{L}\p{M}\p{N}]"
# The same text may be written in several ways: marks of their own, full-width and presentation forms, old Hangul.
SEVERAL_FORMS = r"[\p{Mn}\x{1100}-\x{11FF}\x{FB00}-\x{FDFF}\x{FE70}-\x{FEFE}\x{FF01}-\x{FFEE}\x{1D400}-\x{1D7FF}]"
INVISIBLE = r"[\p{Cf}\p{Me}\x{180B}-\x{180D}\x{FE00}-\x{FE0F}\x{E0100}-\x{E01EF}]"  # joiners, emoji selectors, …
CAPITAL = r"[\p{Changes_When_Lowercased}&&[^\x00-\x7F]]"
TYPESET_SIGNS = {"−": "-", "×": "*", "÷": "/"}
UNUSUAL = f"{SEVERAL_FORMS}|{INVISIBLE}|{CAPITAL}|[{''.join(TYPESET_SIGNS)}]"
PRIME = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying by it loses nothing
SPREAD = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)  # of splitmix64
FIRST_BYTES = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)  # masks for none to all of eight
PADDING = 8  # zeros behind the last text, so that eight bytes can be taken from everywhere


def words(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """
    in : str, no nulls
    out: hashes (uint64, one a word), offsets (int64, one more than texts): text i has hashes[offsets[i]:offsets[i + 1]]
    """
    raw, ends, wide = _in_one_form(texts)
    data = np.frombuffer(bytearray(raw).translate(PLAIN), np.uint8)  # faster than numpy's take
    starts, lengths = _characters_apart(data, wide)
    signs = _signs(data, ends)
    inside = data[:-PADDING] > SPACE
    inside[signs] = True
    cut = np.zeros(len(inside) + 1, bool)  # cut[i]: a word may not reach over the border before byte i
    cut[1:-1] = inside[1:] != inside[:-1]
    for border in (0, ends, signs, signs + 1, starts, starts + lengths):
        cut[border] = True
    first = np.flatnonzero(inside & cut[:-1])
    behind = np.flatnonzero(inside & cut[1:]) + 1
    hashes, offsets = _hashes(data, first, behind - first), np.searchsorted(first, np.append(0, ends))
    return _with_wordless(raw, ends, wide, hashes, offsets)


def mixed(hashes: np.ndarray) -> np.ndarray:
    """Every bit of a hash spread over all its bits: sums and products of hashes become hashes."""
    spread: np.ndarray = hashes ^ (hashes >> np.uint64(30))
    spread *= SPREAD[0]
    spread ^= spread >> np.uint64(27)
    spread *= SPREAD[1]
    spread ^= spread >> np.uint64(31)
    return spread


def to_offsets(counts: np.ndarray) -> np.ndarray:
    """Where each of so many begins when they stand one after the other, and where the last ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _in_one_form(texts: pl.Series) -> tuple[np.ndarray, np.ndarray, Wide]:
    """As `_bytes`, and the characters of several bytes; what is written in unusual ways in the usual one."""
    raw, ends = _bytes(texts)
    wide = Wide.of(raw)

    def rows(pattern: str) -> np.ndarray:
        """Texts that have such a character: changes are dear, and few texts need them."""
        return np.unique(np.searchsorted(ends, wide.starts[wide.are(pattern) | (wide.codes >= HAN_ENDS)], "right"))

    some = rows(UNUSUAL)
    if not len(some):
        return raw, ends, wide
    several = rows(SEVERAL_FORMS)
    texts = texts.clone().scatter(several, texts.gather(several).str.normalize("NFKC"))
    usual = pl.col("text").str.to_lowercase().str.replace_all(INVISIBLE, "").str.replace_many(TYPESET_SIGNS)
    raw, ends = _bytes(texts.scatter(some, texts.gather(some).to_frame("text").select(usual).to_series()))
    return raw, ends, Wide.of(raw)


def _bytes(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """All texts as one run of bytes with PADDING behind it, and where each ends."""
    array = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    start, stop = (int(ends[0]), int(ends[-1])) if len(array) else (0, 0)
    padded = np.zeros(stop - start + PADDING, np.uint8)
    padded[:-PADDING] = np.frombuffer(data or b"", np.uint8)[start:stop]
    return padded, ends[1:] - start


def _characters_apart(data: np.ndarray, wide: Wide) -> tuple[np.ndarray, np.ndarray]:
    """Where each character of a script without spaces starts and how long it is; what is no letter becomes spaces."""
    letter = wide.are(LETTER)
    wide.fill(data, ~letter, SPACE)
    alone = letter & wide.are(UNSPACED)
    return wide.starts[alone], wide.lengths[alone]


def _signs(data: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Where a sign stands between two digits of its text, at most GAP spaces or marks (of one byte) from each."""
    starts = np.flatnonzero(data[:-PADDING] < SPACE)
    left = _digits_beside(data, starts, -1)
    starts, left = starts[left >= 0], left[left >= 0]
    right = _digits_beside(data, starts, 1)
    in_one_text = np.searchsorted(ends, left, "right") == np.searchsorted(ends, right, "right")
    signs: np.ndarray = starts[(right >= 0) & in_one_text]
    return signs


def _digits_beside(data: np.ndarray, starts: np.ndarray, step: int) -> np.ndarray:
    """The place of the next digit in this direction, spaces and marks left out; -1 where something else is next."""
    near = np.maximum(starts + step, 0)
    for _ in range(GAP):
        near = np.where(data[near] == SPACE, np.clip(near + step, 0, len(data) - 1), near)
    return np.where((data[near] >= ord("0")) & (data[near] <= ord("9")), near, -1)


def _hashes(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """
    One hash for the bytes from each start on: the numbers that eight bytes at a time make, spread and added up.

    Own arithmetic, since the hashes of libraries change with their versions, and it is faster than cutting texts out.
    """
    shape = (len(data) - PADDING + 1,)
    numbers = np.lib.stride_tricks.as_strided(data[:8].view("<u8"), shape, (1,), writeable=False)
    hashes = numbers[starts]
    hashes &= FIRST_BYTES[np.minimum(lengths, 8)]
    hashes += lengths.view(np.uint64) * PRIME
    hashes = mixed(hashes)
    long = np.flatnonzero(lengths > 8)
    if len(long):
        further = (lengths[long] - 1) // 8
        first = np.cumsum(further) - further
        place = np.arange(1, further.sum() + 1) - np.repeat(first, further)  # 1, 2, … within each word
        left = np.minimum(np.repeat(lengths[long], further) - 8 * place, 8)
        number = numbers[np.repeat(starts[long], further) + 8 * place] & FIRST_BYTES[left]
        hashes[long] = mixed(hashes[long] + np.add.reduceat(mixed(number + place.astype(np.uint64) * PRIME), first))
    return hashes


def _with_wordless(
    raw: np.ndarray, ends: np.ndarray, wide: Wide, hashes: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Texts in which no word was found get one, all their characters, unless they are blank."""
    counts, lengths = np.diff(offsets), np.diff(ends, prepend=0)
    rows = np.flatnonzero((counts == 0) & (lengths > 0))
    if not len(rows):
        return hashes, offsets
    visible = raw > SPACE
    wide.fill(visible, wide.are(r"\s"), False)
    first = to_offsets(lengths[rows])
    starts = ends[rows] - lengths[rows]
    places = np.repeat(starts - first[:-1], lengths[rows]) + np.arange(first[-1])  # of all bytes of these texts
    rows = rows[np.logical_or.reduceat(visible[places], first[:-1])]
    counts[rows] = 1
    whole = _hashes(raw, ends[rows] - lengths[rows], lengths[rows])
    return np.insert(hashes, offsets[rows], whole), to_offsets(counts)
