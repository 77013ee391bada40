"""A block of raw rows, before its format is known, and the bounds within which an input is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from curate import limits
from curate.errors import InputError

# Bytes of text per block. Large enough that polars' fixed cost per expression is negligible, small enough that a few
# blocks with all their signals take no more than a few hundred megabytes.
BLOCK_BYTES = 16 << 20
MAX_BLOCK_ROWS = 50_000
MAX_BLOCK_CELLS = 1 << 20  # rows × columns: an empty cell, too, takes memory
Columns = Mapping[str, Sequence[Any] | pl.Series]  # raw columns by name, of equal length


@dataclass(frozen=True, slots=True)
class RawBlock:
    """Columns of equal length, their row numbers, and the rows that could not be read."""

    columns: Columns
    source_row: Sequence[int]
    broken: Sequence[tuple[int, str]] = ()  # source_row and what is wrong with it


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of one input is read, in bytes after decompression and decoding; see `curate.limits`."""

    row_bytes: int = limits.ROW_BYTES
    unpacked_bytes: int | None = None  # None = UNPACKED_BYTES, or UNPACKED_RATIO times the file's own size if less

    def check_row(self, size: int, row: str) -> None:
        """Raise InputError if a row, named as in `line 3`, is too large."""
        if size > self.row_bytes:
            raise InputError(
                f"{row} is larger than {megabytes(self.row_bytes)}; is this really one row? "
                "If it is, set source.max_row_bytes"
            )

    def check_columns(self, count: int) -> None:
        """Raise InputError if there are too many columns."""
        if count > limits.COLUMNS:
            raise InputError(f"{count:,} columns; expected at most {limits.COLUMNS:,}. Are the keys of an object data?")


class Unpacked:
    """Counts what an input of `size` bytes unpacks to; further files may be added to its size."""

    def __init__(self, size: int, bounds: Bounds) -> None:
        self.size, self._given, self._count = size, bounds.unpacked_bytes, 0

    def add(self, count: int) -> None:
        """Count bytes that were unpacked. Raise InputError if they are too many in all."""
        self._count += count
        by_size = max(limits.UNPACKED_RATIO * self.size, limits.UNPACKED_FREE)
        most = min(by_size, limits.UNPACKED_BYTES) if self._given is None else self._given
        if self._count > most:
            raise InputError(
                f"the file of {self.size:,} bytes unpacks to more than {megabytes(most)}. "
                "If that is right, set source.max_unpacked_bytes"
            )


def megabytes(size: int) -> str:
    """Return a limit as text: `32 MB`, or in bytes if it is less than one."""
    return f"{size >> 20:,} MB" if size >= 1 << 20 else f"{size:,} bytes"
