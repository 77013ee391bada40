"""CSV with a header, also with tabs or semicolons, as blocks of text columns. A row of another width is broken."""

import csv
import io
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import BinaryIO

from curate.errors import InputError
from curate.sources.raw_block import BLOCK_BYTES, MAX_BLOCK_CELLS, MAX_BLOCK_ROWS, Bounds, RawBlock


def read_csv(stream: BinaryIO, bounds: Bounds) -> Iterator[RawBlock]:
    """Yield blocks of a csv file with a header; every column is text. Rows of a different width are broken rows."""
    csv.field_size_limit(max(csv.field_size_limit(), bounds.row_bytes))  # the limit of a row comes first
    lines = _Lines(stream, bounds)
    rows = filter(None, csv.reader(lines, delimiter=lines.delimiter))  # a blank line is no row
    names = next(rows, [])
    bounds.check_columns(len(names))
    if len(set(names)) < len(names):
        raise InputError(f"two columns have the same name: {', '.join(names)}")
    most_rows = min(MAX_BLOCK_ROWS, MAX_BLOCK_CELLS // max(len(names), 1))
    good: list[list[str]] = []
    numbers: list[int] = []
    broken: list[tuple[int, str]] = []
    size = lines.next_row()
    for number, row in enumerate(rows):
        size += lines.next_row()
        if lines.unclosed:
            broken.append((number, f"row {number + 1}: a quote that is not closed"))
        elif len(row) != len(names):
            broken.append((number, f"row {number + 1}: {len(row)} cells instead of {len(names)}"))
        else:
            good.append(row)
            numbers.append(number)
        if size >= BLOCK_BYTES or len(good) + len(broken) >= most_rows:
            yield _block(names, good, numbers, broken)
            good, numbers, broken, size = [], [], [], 0
    yield _block(names, good, numbers, broken)


def _block(names: list[str], rows: list[list[str]], numbers: list[int], broken: list[tuple[int, str]]) -> RawBlock:
    cells = list(zip(*rows, strict=True)) or [()] * len(names)
    return RawBlock(dict(zip(names, cells, strict=True)) if rows else {}, numbers, broken)


DELIMITERS = (",", "\t", ";", "|")


class _Lines:
    """The lines of a text. Raises InputError for a row of too many characters, which may be many lines."""

    def __init__(self, stream: BinaryIO, bounds: Bounds) -> None:
        # Invalid UTF-8 is replaced by U+FFFD, which a signal reports. A byte-order mark is not part of the header.
        self._text = io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="")
        self._bounds = bounds
        self._first = self._text.readline(bounds.row_bytes + 1)
        self.delimiter = _delimiter(self._first)
        self._rows, self._pending = 0, 0  # rows so far, and characters since the last one
        self.unclosed = False  # whether the last row ends with the text, inside a quoted cell

    def __iter__(self) -> Iterator[str]:
        most = self._bounds.row_bytes
        lines = chain([self._first], iter(lambda: self._text.readline(most + 1), ""))
        for line in filter(None, lines):
            self._pending += len(line)
            if self._pending > most:
                self._bounds.check_row(self._pending, f"row {self._rows}" if self._rows else "the header")
            yield line
        self.unclosed = self._pending > 0

    def next_row(self) -> int:
        """Return the size of the row that was read, in characters."""
        size, self._pending = self._pending, 0
        self._rows += 1
        return size


def _delimiter(header: str) -> str:
    """Return the delimiter that gives the header the most columns; of several the first of DELIMITERS."""
    with suppress(csv.Error):  # a header beyond all bounds, which is refused later
        return max(DELIMITERS, key=lambda delimiter: len(next(csv.reader([header], delimiter=delimiter), [])))
    return DELIMITERS[0]
