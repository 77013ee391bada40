"""
JSON: one object per line, one array of objects, the same below a key, or objects over several lines each.

A broken row is reported; the others are still read.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from curate.sources.json_items import STRING, array_items, objects
from curate.sources.raw_block import BLOCK_BYTES, MAX_BLOCK_CELLS, MAX_BLOCK_ROWS, Bounds, RawBlock

ARRAY_ROWS = 2_000  # per block
# What Python's json module writes for numbers that JSON does not have: they are not measured.
NO_NUMBER = re.compile(STRING + rb"|-?\b(?:NaN|Infinity)\b")
Places = npt.NDArray[np.intp]
Row = dict[str, Any] | str  # a text says what is wrong with a row that is broken
decoder = msgspec.json.Decoder()


def read_json_lines(stream: BinaryIO, bounds: Bounds) -> Iterator[RawBlock]:
    """Yield blocks of a JSONL stream. `source_row` counts non-blank lines; problems name the line, counted from 1."""
    row = 0
    for first, data, newlines in _line_blocks(stream, bounds):
        for values in _rows_of_lines(first, data, newlines):
            yield from _blocks(row, values, bounds)
            row += len(values)


def _rows_of_lines(first: int, data: bytes, newlines: Places) -> Iterator[Sequence[Row]]:
    if (values := _objects_of_lines(data, newlines)) is not None:
        yield values
        return
    lines = data.split(b"\n")
    for start in range(0, len(lines), MAX_BLOCK_ROWS):
        part = enumerate(lines[start : start + MAX_BLOCK_ROWS], first + start)
        yield [_row(line, f"line {number}") for number, line in part if line and not line.isspace()]


def _objects_of_lines(data: bytes, newlines: Places) -> list[dict[str, Any]] | None:
    """
    Return one object per line, decoded in one call, which is faster than a call for each; None if a line is otherwise.

    No JSON value holds "}", a newline and "{" in a row. So where all newlines stand between these, no value extends
    over two lines, and as many values as lines are one for each.
    """
    if len(newlines) >= MAX_BLOCK_ROWS or not (data.startswith(b"{") and data.endswith(b"}")):
        return None
    bytes_of = np.frombuffer(data, np.uint8)
    if (bytes_of[newlines - 1] != ord("}")).any() or (bytes_of[newlines + 1] != ord("{")).any():
        return None
    try:
        values: list[Any] = decoder.decode_lines(data)
    except (UnicodeDecodeError, RecursionError, msgspec.DecodeError):
        return None
    return values if len(values) == len(newlines) + 1 and set(map(type, values)) == {dict} else None


def read_json_array(stream: BinaryIO, bounds: Bounds) -> Iterator[RawBlock]:
    """Yield blocks of a JSON array. `source_row` counts its items; problems name the item, counted from 1."""
    yield from _items(array_items(stream, bounds), "item", bounds)


def read_json_below(stream: BinaryIO, bounds: Bounds, start: int) -> Iterator[RawBlock]:
    """Yield blocks of an array inside of an object, as `read_json_array` does; `start`: of `json_items.rows_below`."""
    yield from _items(array_items(stream, bounds, start=start, inside=2), "item", bounds)


def read_json_objects(stream: BinaryIO, bounds: Bounds) -> Iterator[RawBlock]:
    """Yield blocks of objects that are written over several lines each, as `read_json_array` does."""
    yield from _items(objects(stream, bounds), "object", bounds)


def _items(items: Iterator[bytes], what: str, bounds: Bounds) -> Iterator[RawBlock]:
    rows: list[Row] = []
    first = size = 0
    for number, item in enumerate(items, 1):
        rows.append(_row(item, f"{what} {number}"))
        size += len(item)
        if size >= BLOCK_BYTES or len(rows) >= ARRAY_ROWS:
            yield from _blocks(first, rows, bounds)
            rows, first, size = [], number, 0
    yield from _blocks(first, rows, bounds)


def _blocks(first: int, rows: Sequence[Row], bounds: Bounds) -> Iterator[RawBlock]:
    """Yield consecutive rows, of which one is number `first`, as a block, or as several if there are many columns."""
    names = list(dict.fromkeys(chain.from_iterable(row for row in rows if not isinstance(row, str))))
    bounds.check_columns(len(names))
    step = MAX_BLOCK_CELLS // max(len(names), 1)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        broken = {place: row for place, row in enumerate(part, first + start) if isinstance(row, str)}
        good = [row for row in part if not isinstance(row, str)]
        numbers = [number for number in range(first + start, first + start + len(part)) if number not in broken]
        yield RawBlock({name: _column(good, name) for name in names}, numbers, list(broken.items()))


def _column(rows: Sequence[dict[str, Any]], name: str) -> list[Any]:
    try:
        return list(map(itemgetter(name), rows))  # faster than asking each row whether it has one
    except KeyError:
        return [row.get(name) for row in rows]


def _line_blocks(stream: BinaryIO, bounds: Bounds) -> Iterator[tuple[int, bytes, Places]]:
    """Yield consecutive lines, the first's number (from 1), and where newlines are; runs of blank lines are skipped."""
    rest, first = b"", 1  # the start of line number `first`
    while data := stream.read(BLOCK_BYTES):
        head, newline, tail = data.rpartition(b"\n")
        bounds.check_row(len(rest) + (data.index(b"\n") if newline else len(data)), f"line {first:,}")
        if not newline:
            rest += data
            continue
        lines = rest + head
        newlines = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n"))
        if rest or not head.isspace():
            yield first, lines, newlines
        first, rest = first + len(newlines) + 1, tail
    if rest:
        yield first, rest, np.empty(0, np.intp)


def _row(text: bytes, what: str) -> Row:
    value = _decode(text)
    return f"{what}: {value}" if isinstance(value, str) else value


def _decode(line: bytes) -> dict[str, Any] | str:
    """Return the row, or a description of what is wrong with the line."""
    try:
        value = decoder.decode(line)
    except UnicodeDecodeError:
        return "invalid UTF-8"
    except RecursionError:
        return "nested too deeply"
    except msgspec.DecodeError as error:
        if (plain := NO_NUMBER.sub(_as_null, line)) != line:
            return _decode(plain)
        # The decoder expects the second half of a surrogate pair and finds other text or the end of the line.
        cut = "truncated" in str(error) and line.rstrip().endswith(b"}") and b"\\ud" in line.lower()
        surrogate = cut or "surrogate" in str(error)
        return "a lone surrogate escape (\\ud800 to \\udfff)" if surrogate else f"invalid JSON: {error}"
    return value if isinstance(value, dict) else f"{type(value).__name__} instead of an object with columns"


def _as_null(token: re.Match[bytes]) -> bytes:
    return token[0] if token[0].startswith(b'"') else b"null"
