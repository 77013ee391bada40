"""Characters of several bytes in a run of UTF-8: found and told apart by their bytes, far faster than by patterns."""

from functools import cache
from typing import NamedTuple, Self

import numpy as np
import polars as pl

KNOWN = 0x20000  # codes whose kind is looked up; from here on up to HAN_ENDS it is that of a Han character
HAN_ENDS = 0x40000
# By the first byte of a character: how many bytes it has, and the bits that this one gives to the code.
LENGTH = np.repeat(np.array([1, 2, 3, 4], np.int64), [0xC0, 0x20, 0x10, 0x10])
LEAD_BITS = np.repeat(np.array([0x7F, 0x1F, 0x0F, 0x07], np.int64), [0xC0, 0x20, 0x10, 0x10])


class Wide(NamedTuple):
    """The characters of several bytes, in their order."""

    starts: np.ndarray  # int64
    lengths: np.ndarray  # int64, bytes
    codes: np.ndarray  # int64, what `ord` gives

    @classmethod
    def of(cls, raw: np.ndarray) -> Self:
        """Those of a run of whole characters (uint8), with three bytes of anything behind it."""
        starts = np.flatnonzero(raw >= 0xC0)
        lead = raw[starts]
        lengths, codes = LENGTH[lead], lead & LEAD_BITS[lead]
        for ahead in (1, 2, 3):
            codes = np.where(lengths > ahead, (codes << 6) | (raw[starts + ahead] & 0x3F), codes)
        return cls(starts, lengths, codes)

    def are(self, pattern: str) -> np.ndarray:
        """A mask: which of them a regular expression matches. Beyond HAN_ENDS (private, tags, selectors) none."""
        mask: np.ndarray = _matching(pattern)[np.minimum(self.codes, KNOWN)] & (self.codes < HAN_ENDS)
        return mask

    def fill(self, raw: np.ndarray, mask: np.ndarray, byte: int) -> None:
        """Every byte of the masked ones becomes this one."""
        for ahead in range(4):
            raw[self.starts[mask & (self.lengths > ahead)] + ahead] = byte


@cache
def _matching(pattern: str) -> np.ndarray:
    codes = pl.Series([chr(code) if not 0xD800 <= code < 0xE000 else "" for code in range(KNOWN + 1)])
    return codes.str.contains(pattern).to_numpy()
