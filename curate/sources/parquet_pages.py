"""
What the pages of a parquet file decode to, from their headers: read before anything is unpacked.

A file's metadata says how many bytes its pages have, not how often a text in a dictionary page is used; and what it
says need not be true, while a page that is larger than its header says is an error of the reader.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate import limits
from curate.errors import InputError
from curate.sources.decoded import CELL_BYTES
from curate.sources.raw_block import BLOCK_BYTES, megabytes

DICTIONARY_PAGE = 2
CODED = (2, 8)  # encodings of values as numbers of dictionary entries
PREFIXED = 7  # DELTA_BYTE_ARRAY: a value repeats the start of the one before it, and is as long as the page at most
DENSE_BYTES = 4 * BLOCK_BYTES  # what the texts of a dictionary may take at most to be read one by one
# In parquet.thrift: fields of PageHeader, and of the headers of its three kinds within it.
TYPE, UNPACKED_SIZE, PACKED_SIZE, DATA, DICTIONARY, DATA_V2 = 1, 2, 3, 5, 7, 8
VALUES = 1
ENCODING = {DATA: 2, DATA_V2: 4}


@dataclass(frozen=True, slots=True)
class Plan:
    """How a row group is read: the columns whose dictionaries are kept, and how many rows at most at once."""

    as_dictionary: frozenset[str]
    rows: int


def plan(data: Any, group: pq.RowGroupMetaData, rows: int) -> Plan:
    """
    Return how to read a row group of the file whose bytes are `data`, at most so many rows at once, so that a column
    decodes to about DENSE_BYTES at once. Raise InputError for pages of which that is impossible.
    """
    columns = [_Column.of(data, group.column(number)) for number in range(group.num_columns)]
    if (held := sum(column.largest_page for column in columns)) > limits.PAGE_BYTES:
        raise InputError(
            f"pages of {megabytes(held)} in a row group; expected at most {megabytes(limits.PAGE_BYTES)}. "
            "Write the file again with smaller pages"
        )
    for column in columns:
        if column.repeated * CELL_BYTES > limits.PAGE_BYTES and column.repeated > 100 * group.num_rows:
            raise InputError(f"{column.name} repeats one value {column.repeated:,} times in {group.num_rows:,} rows")
        if column.longest * column.coded > DENSE_BYTES and column.dense > limits.PAGE_BYTES:
            raise InputError(f"{column.name} is too large to be read; write the file again with smaller row groups")
    for column in columns:
        if column.prefixed:
            rows = min(rows, max(DENSE_BYTES // column.prefixed, 1))
    kept = frozenset(column.name for column in columns if column.longest * column.coded > DENSE_BYTES)
    return Plan(kept, rows)


@dataclass(slots=True)
class _Column:
    """What the pages of one column of a row group say, in bytes and numbers of values."""

    name: str
    largest_page: int = 0
    longest: int = 0  # text in the dictionary
    coded: int = 0  # values that are numbers of dictionary entries
    prefixed: int = 0  # largest page of which each of many values may be as long as the page
    dense: int = 0  # bytes of all other pages
    repeated: int = 0  # values that take less than a byte, as the elements of a list of zeros do

    @classmethod
    def of(cls, data: Any, chunk: pq.ColumnChunkMetaData) -> "_Column":
        found = cls(chunk.path_in_schema)
        dictionary: tuple[dict[int, Any], int] | None = None
        for header, body in _pages(data, chunk):
            size = header[UNPACKED_SIZE]
            found.largest_page = max(found.largest_page, size)
            if header[TYPE] == DICTIONARY_PAGE:
                dictionary = header, body
                continue
            kind = DATA_V2 if DATA_V2 in header else DATA
            values, encoding = header.get(kind, {}).get(VALUES, 0), header.get(kind, {}).get(ENCODING[kind])
            found.repeated += max(values - size, 0)
            if encoding in CODED:
                found.coded += values
            else:
                found.dense += size
            if encoding == PREFIXED:
                found.prefixed = max(found.prefixed, size)
        if dictionary and dictionary[0][UNPACKED_SIZE] * found.coded > DENSE_BYTES:
            if chunk.physical_type == "BYTE_ARRAY":
                found.longest = _longest(data, chunk, *dictionary)
            elif chunk.physical_type == "FIXED_LEN_BYTE_ARRAY":  # Arrow does not keep dictionaries of these
                found.prefixed = max(found.prefixed, dictionary[0][UNPACKED_SIZE])
        return found


def _longest(data: Any, column: pq.ColumnChunkMetaData, header: dict[int, Any], body: int) -> int:
    """Return the length of the longest text of a dictionary page."""
    page = data[body : body + header[PACKED_SIZE]]
    if column.compression != "UNCOMPRESSED":
        try:
            codec = {"LZ4": "lz4_raw"}.get(column.compression, column.compression.lower())
            page = pa.decompress(page, header[UNPACKED_SIZE], codec, asbytes=True)
        except (pa.ArrowException, OSError, ValueError):
            return int(header[UNPACKED_SIZE])
    place = longest = 0
    while place + 4 <= len(page):
        (length,) = struct.unpack_from("<I", page, place)
        longest = max(longest, length)
        place += 4 + length
    return min(longest, len(page))


def _pages(data: Any, column: pq.ColumnChunkMetaData) -> Iterator[tuple[dict[int, Any], int]]:
    """Yield the headers of a column's pages, and where the page's content starts."""
    place = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < place:
        place = column.dictionary_page_offset
    seen, end = 0, place + column.total_compressed_size
    while seen < column.num_values and place < end:
        reader = _Compact(data, place)
        try:
            header = reader.structure()
            seen += header.get(DATA, header.get(DATA_V2, {})).get(VALUES, 0)
            place = reader.place + header[PACKED_SIZE]
            _ = header[UNPACKED_SIZE], header[TYPE]
        except (IndexError, KeyError, AttributeError, RecursionError) as error:
            raise InputError("a page header is damaged; download the file again") from error
        yield header, reader.place


class _Compact:
    """Reads a structure in Thrift's compact protocol: values by the numbers of their fields."""

    def __init__(self, data: Any, place: int) -> None:
        self._data, self.place = data, place

    def structure(self) -> dict[int, Any]:
        """Return the fields of the structure that starts here; texts and lists are skipped, as None."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = self._value(head & 15)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind in (3, 7):  # a byte; eight of them are a float
            self.place += 1 if kind == 3 else 8
        elif kind in (4, 5, 6):
            return self._signed()
        elif kind == 8:
            length = self._unsigned()
            self.place += length
        elif kind in (9, 10):
            head = self._byte()
            for _ in range(head >> 4 if head >> 4 < 15 else self._unsigned()):
                self._value(head & 15)
        elif kind == 12:
            return self.structure()
        else:
            raise KeyError(kind)
        return None

    def _byte(self) -> int:
        self.place += 1
        return int(self._data[self.place - 1])

    def _unsigned(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7

    def _signed(self) -> int:
        number = self._unsigned()
        return (number >> 1) ^ -(number & 1)
