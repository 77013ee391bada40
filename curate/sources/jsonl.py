"""
JSON: one object per line, one array of objects, the same below a key, or objects over several lines each.

A broken row is reported; the others are still read.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import msgspec

from curate.sources.json_items import STRING, array_items, objects
from curate.sources.raw_block import BLOCK_BYTES, MAX_BLOCK_CELLS, MAX_BLOCK_ROWS, Bounds, RawBlock

ARRAY_ROWS = 2_000  # per block
# What Python's json module writes for numbers that JSON does not have: they are not measured.
NO_NUMBER = re.compile(STRING + rb"|-?\b(?:NaN|Infinity)\b")
decoder = msgspec.json.Decoder()


def read_json_lines(stream: BinaryIO, bounds: Bounds) -> Iterator[RawBlock]:
    """Yield blocks of a JSONL stream. `source_row` counts non-blank lines; problems name the line, counted from 1."""
    row = 0
    for first, lines in _line_blocks(stream, bounds):
        rows: list[tuple[int, dict[str, Any] | str]] = []
        for line_number, line in enumerate(lines, first):
            if line and not line.isspace():
                value = _decode(line)
                rows.append((row, value if isinstance(value, dict) else f"line {line_number}: {value}"))
                row += 1
        yield from _blocks(rows, bounds)


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
    rows: list[tuple[int, dict[str, Any] | str]] = []
    size = 0
    for number, item in enumerate(items):
        value = _decode(item)
        rows.append((number, value if isinstance(value, dict) else f"{what} {number + 1}: {value}"))
        size += len(item)
        if size >= BLOCK_BYTES or len(rows) >= ARRAY_ROWS:
            yield from _blocks(rows, bounds)
            rows, size = [], 0
    yield from _blocks(rows, bounds)


def _blocks(rows: Sequence[tuple[int, dict[str, Any] | str]], bounds: Bounds) -> Iterator[RawBlock]:
    """Yield rows (text = what is wrong with a broken one) as one block, or as several if there are many columns."""
    names = list(dict.fromkeys(name for _, row in rows if isinstance(row, dict) for name in row))
    bounds.check_columns(len(names))
    step = MAX_BLOCK_CELLS // max(len(names), 1)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        good = [(number, row) for number, row in part if isinstance(row, dict)]
        broken = [(number, row) for number, row in part if isinstance(row, str)]
        columns = {name: [row.get(name) for _, row in good] for name in names}
        yield RawBlock(columns, [number for number, _ in good], broken)


def _line_blocks(stream: BinaryIO, bounds: Bounds) -> Iterator[tuple[int, list[bytes]]]:
    """Yield consecutive lines with the number of the first, counted from 1; runs of blank lines are skipped."""
    rest, first = b"", 1  # the start of line number `first`
    while data := stream.read(BLOCK_BYTES):
        head, newline, tail = data.rpartition(b"\n")
        bounds.check_row(len(rest) + (data.index(b"\n") if newline else len(data)), f"line {first:,}")
        if not newline:
            rest += data
            continue
        if not rest and head.isspace():
            first, rest = first + head.count(b"\n") + 1, tail
            continue
        lines = (rest + head).split(b"\n")
        for start in range(0, len(lines), MAX_BLOCK_ROWS):
            yield first + start, lines[start : start + MAX_BLOCK_ROWS]
        first, rest = first + len(lines), tail
    if rest:
        yield first, [rest]


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
