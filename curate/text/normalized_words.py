"""
Word hashes for near-duplicates, in flat arrays: case, spaces and punctuation are ignored.

A word is a run of letters, marks and digits, lower-cased, whatever separates them; in scripts written without spaces
every character is a word. An arithmetic sign between two digits is a word as well: "2 + 2" differs from "2 - 2", and
10^{23} from 10 23. A text without any word (punctuation, emoji) is one word made of all its visible characters; a text
of spaces and control characters has none. Hashes are the same in every process, on every machine and with every version
of the libraries.
"""

import numpy as np
import polars as pl

from curate.text.arrays import hashes_of, ranges, stretches, to_offsets
from curate.text.scripts import UNSPACED
from curate.text.utf8 import HAN_ENDS, PADDING, Wide, flat_bytes

SPACE = 32
GAP = 3  # spaces at most between a sign and its digits
SIGNS = "+-*/^%<>="
# ASCII bytes map to lower-case letters and digits; signs to 1, 2, …, which `_signs` checks; all others to a space.
# The bytes of longer characters are unchanged.
PLAIN = bytes(
    byte if byte >= 128 else ord(chr(byte).lower()) if chr(byte).isalnum() else 1 + SIGNS.find(chr(byte)) or SPACE
    for byte in range(256)
)
LETTER = r"[\p{L}\p{M}\p{N}]"
# Unicode encodes some characters in several forms: separate marks, full-width and presentation forms, old Hangul.
SEVERAL_FORMS = r"[\p{Mn}\x{1100}-\x{11FF}\x{FB00}-\x{FDFF}\x{FE70}-\x{FEFE}\x{FF01}-\x{FFEE}\x{1D400}-\x{1D7FF}]"
INVISIBLE = r"[\p{Cf}\p{Me}\x{180B}-\x{180D}\x{FE00}-\x{FE0F}\x{E0100}-\x{E01EF}]"  # joiners, emoji selectors, …
CAPITAL = r"[\p{Changes_When_Lowercased}&&[^\x00-\x7F]]"
TYPESET_SIGNS = {"−": "-", "×": "*", "÷": "/"}
UNUSUAL = f"{SEVERAL_FORMS}|{INVISIBLE}|{CAPITAL}|[{''.join(TYPESET_SIGNS)}]"


def words(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """
    Hash the words of every text.

    in : str, no nulls
    out: hashes (uint64, one per word), offsets (int64, one more than there are texts): text i has
         hashes[offsets[i]:offsets[i + 1]]
    """
    raw, ends, wide = _in_one_form(texts)
    data = np.frombuffer(bytearray(raw).translate(PLAIN), np.uint8)  # faster than numpy's take
    starts, lengths = _unspaced_characters(data, wide)
    signs = _signs(data, ends)
    inside = data[:-PADDING] > SPACE
    inside[signs] = True
    first, lengths = stretches(inside, (ends, signs, signs + 1, starts, starts + lengths))
    hashes, offsets = hashes_of(data, first, lengths), np.searchsorted(first, np.append(0, ends))
    return _with_wordless(raw, ends, wide, hashes, offsets)


def _in_one_form(texts: pl.Series) -> tuple[np.ndarray, np.ndarray, Wide]:
    """Return `flat_bytes` and the multi-byte characters, after characters in unusual forms are replaced."""
    raw, ends = flat_bytes(texts)
    wide = Wide.of(raw)

    def rows(pattern: str) -> np.ndarray:
        """Return the texts that have such a character: replacing is slow, and few texts need it."""
        return np.unique(np.searchsorted(ends, wide.starts[wide.are(pattern) | (wide.codes >= HAN_ENDS)], "right"))

    some = rows(UNUSUAL)
    if not len(some):
        return raw, ends, wide
    several = rows(SEVERAL_FORMS)
    texts = texts.clone().scatter(several, texts.gather(several).str.normalize("NFKC"))
    usual = pl.col("text").str.to_lowercase().str.replace_all(INVISIBLE, "").str.replace_many(TYPESET_SIGNS)
    raw, ends = flat_bytes(texts.scatter(some, texts.gather(some).to_frame("text").select(usual).to_series()))
    return raw, ends, Wide.of(raw)


def _unspaced_characters(data: np.ndarray, wide: Wide) -> tuple[np.ndarray, np.ndarray]:
    """Overwrite multi-byte non-letters with spaces; return start and length of each character written unspaced."""
    letter = wide.are(LETTER)
    wide.fill(data, ~letter, SPACE)
    unspaced = letter & wide.are(UNSPACED)
    return wide.starts[unspaced], wide.lengths[unspaced]


def _signs(data: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the signs between two digits of one text, at most GAP spaces or one-byte marks away from each."""
    starts = np.flatnonzero(data[:-PADDING] < SPACE)
    left = _digits_beside(data, starts, -1)
    starts, left = starts[left >= 0], left[left >= 0]
    right = _digits_beside(data, starts, 1)
    in_one_text = np.searchsorted(ends, left, "right") == np.searchsorted(ends, right, "right")
    signs: np.ndarray = starts[(right >= 0) & in_one_text]
    return signs


def _digits_beside(data: np.ndarray, starts: np.ndarray, step: int) -> np.ndarray:
    """Return the position of the next digit in this direction, skipping spaces and marks; -1 where there is none."""
    near = np.maximum(starts + step, 0)
    for _ in range(GAP):
        near = np.where(data[near] == SPACE, np.clip(near + step, 0, len(data) - 1), near)
    return np.where((data[near] >= ord("0")) & (data[near] <= ord("9")), near, -1)


def _with_wordless(
    raw: np.ndarray, ends: np.ndarray, wide: Wide, hashes: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give each text without words one word, the hash of all its bytes, unless it is blank."""
    counts, lengths = np.diff(offsets), np.diff(ends, prepend=0)
    rows = np.flatnonzero((counts == 0) & (lengths > 0))
    if not len(rows):
        return hashes, offsets
    visible = raw > SPACE
    wide.fill(visible, wide.are(r"\s"), False)
    places = ranges(ends[rows] - lengths[rows], lengths[rows])  # of all bytes of these texts
    rows = rows[np.logical_or.reduceat(visible[places], to_offsets(lengths[rows])[:-1])]
    counts[rows] = 1
    whole = hashes_of(raw, ends[rows] - lengths[rows], lengths[rows])
    return np.insert(hashes, offsets[rows], whole), to_offsets(counts)
