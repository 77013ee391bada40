"""Multi-byte characters in a run of UTF-8, located and classified by their bytes: far faster than by patterns."""

from functools import cache
from typing import NamedTuple, Self

import numpy as np
import polars as pl

PADDING = 8  # zeros after the last text, so that eight bytes can be read at every position
LOOKED_UP = 0x20000  # code points below are classified by a table; from here to HAN_ENDS all are treated as Han
HAN_ENDS = 0x40000
# By the first byte of a character: how many bytes it has, and which bits of that byte belong to the code point.
LENGTH = np.repeat(np.array([1, 2, 3, 4], np.int64), [0xC0, 0x20, 0x10, 0x10])
LEAD_BITS = np.repeat(np.array([0x7F, 0x1F, 0x0F, 0x07], np.int64), [0xC0, 0x20, 0x10, 0x10])


def flat_bytes(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return all texts as one run of bytes followed by PADDING, and where each text ends."""
    array = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    start, stop = (int(ends[0]), int(ends[-1])) if len(array) else (0, 0)
    padded = np.zeros(stop - start + PADDING, np.uint8)
    padded[:-PADDING] = np.frombuffer(data or b"", np.uint8)[start:stop]
    return padded, ends[1:] - start


class Wide(NamedTuple):
    """The multi-byte characters of a run of UTF-8, in their order."""

    starts: np.ndarray  # int64
    lengths: np.ndarray  # int64, bytes
    codes: np.ndarray  # int64, code points

    @classmethod
    def of(cls, raw: np.ndarray) -> Self:
        """Locate them in a run of whole characters (uint8) followed by at least three bytes of anything."""
        starts = np.flatnonzero(raw >= 0xC0)
        lead = raw[starts]
        lengths, codes = LENGTH[lead], lead & LEAD_BITS[lead]
        for ahead in (1, 2, 3):
            codes = np.where(lengths > ahead, (codes << 6) | (raw[starts + ahead] & 0x3F), codes)
        return cls(starts, lengths, codes)

    def are(self, pattern: str) -> np.ndarray:
        """Return a mask of those that a regular expression matches; beyond HAN_ENDS (private use, tags) none are."""
        if not len(self.codes):  # plain ASCII needs no table
            return np.zeros(0, bool)
        mask: np.ndarray = _matching(pattern)[np.minimum(self.codes, LOOKED_UP)] & (self.codes < HAN_ENDS)
        return mask

    def fill(self, raw: np.ndarray, mask: np.ndarray, byte: int) -> None:
        """Overwrite every byte of the masked characters with this one."""
        for ahead in range(4):
            raw[self.starts[mask & (self.lengths > ahead)] + ahead] = byte


@cache
def _matching(pattern: str) -> np.ndarray:
    codes = np.arange(LOOKED_UP + 1, dtype="<u4")
    codes[0xD800:0xE000] = 0  # surrogates are no characters
    return pl.Series(list(codes.tobytes().decode("utf-32-le"))).str.contains(pattern).to_numpy()
