"""JSON: one object per line, or one array of objects. A broken line is reported; the others are still read."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import msgspec

from curate import limits
from curate.errors import InputError
from curate.sources.raw_block import BLOCK_BYTES, MAX_BLOCK_CELLS, MAX_BLOCK_ROWS, Bounds, RawBlock

ARRAY_ROWS = 2_000  # per block
# Tokens of an array: a whole string, or punctuation. A lone quote opens a string whose end is not read yet.
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
INSIDE = re.compile(STRING + rb'|["{}\[\]]', re.DOTALL)  # within an item
BETWEEN = re.compile(STRING + rb'|["{}\[\],]', re.DOTALL)  # between items, where a comma ends one
STEPS = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
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
    rows: list[tuple[int, dict[str, Any] | str]] = []
    size = 0
    for number, item in enumerate(_array_items(stream, bounds)):
        value = _decode(item)
        rows.append((number, value if isinstance(value, dict) else f"item {number + 1}: {value}"))
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


def _array_items(stream: BinaryIO, bounds: Bounds) -> Iterator[bytes]:
    """Yield the undecoded items of `[{"a": "x, y"}, {"b": [1, 2]}]`, so that a broken item does not affect others."""
    text, start, at, depth = stream.read(BLOCK_BYTES).lstrip()[1:], 0, 0, 1  # after the opening bracket
    number = 1
    while depth:
        found = (INSIDE if depth > 1 else BETWEEN).search(text, at)
        if found is None or found[0] == b'"':  # a string continues in the next block
            bounds.check_row(len(text) - start, f"item {number:,}")
            more = stream.read(BLOCK_BYTES)
            if not more:
                raise InputError("the JSON array is not closed; the file is truncated")
            text, start, at = text[start:] + more, 0, (found.start() if found else len(text)) - start
            continue
        if depth == 1 and found[0] in (b",", b"]"):
            bounds.check_row(found.start() - start, f"item {number:,}")
            item = text[start : found.start()].strip()
            if item or found[0] == b",":
                yield item
                number += 1
            start = found.end()
        depth += STEPS.get(found[0], 0)
        if depth > limits.JSON_DEPTH:
            raise InputError(f"item {number:,} is nested more than {limits.JSON_DEPTH:,} levels deep")
        at = found.end()
    if text[at:].strip() or stream.read(BLOCK_BYTES).strip():
        raise InputError("there is data after the end of the JSON array; is one of its items broken?")


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
        # The decoder expects the second half of a surrogate pair and finds other text or the end of the line.
        cut = "truncated" in str(error) and line.rstrip().endswith(b"}") and b"\\ud" in line.lower()
        surrogate = cut or "surrogate" in str(error)
        return "a lone surrogate escape (\\ud800 to \\udfff)" if surrogate else f"invalid JSON: {error}"
    return value if isinstance(value, dict) else f"{type(value).__name__} instead of an object with columns"
