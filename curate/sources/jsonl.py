"""JSON: one object per line, or one array of objects. A broken line is reported; the others are still read."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

import msgspec

from curate.errors import InputError
from curate.sources.raw_block import BLOCK_BYTES, MAX_BLOCK_ROWS, RawBlock

MAX_ROW_BYTES = 256 << 20
ARRAY_ROWS = 2_000  # per block
# Tokens of an array: a whole string, or punctuation. A lone quote opens a string whose end is not read yet.
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
INSIDE = re.compile(STRING + rb'|["{}\[\]]', re.DOTALL)  # within an item
BETWEEN = re.compile(STRING + rb'|["{}\[\],]', re.DOTALL)  # between items, where a comma ends one
STEPS = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
decoder = msgspec.json.Decoder()


def read_json_lines(stream: BinaryIO) -> Iterator[RawBlock]:
    """Yield blocks of a JSONL stream. `source_row` counts non-blank lines; problems name the line, counted from 1."""
    row, line_number = 0, 0
    for lines in _line_blocks(stream):
        rows: list[dict[str, Any]] = []
        numbers: list[int] = []
        broken: list[tuple[int, str]] = []
        for line in lines:
            line_number += 1
            if not line.strip():
                continue
            value = _decode(line)
            if isinstance(value, dict):
                rows.append(value)
                numbers.append(row)
            else:
                broken.append((row, f"line {line_number}: {value}"))
            row += 1
        yield RawBlock(_columns(rows), numbers, broken)


def read_json_array(stream: BinaryIO) -> Iterator[RawBlock]:
    """Yield blocks of a JSON array. `source_row` counts its items; problems name the item, counted from 1."""
    items = enumerate(map(_decode, _array_items(stream)))
    while chunk := list(islice(items, ARRAY_ROWS)):
        good = [(number, item) for number, item in chunk if isinstance(item, dict)]
        broken = [(number, f"item {number + 1}: {item}") for number, item in chunk if not isinstance(item, dict)]
        yield RawBlock(_columns([item for _, item in good]), [number for number, _ in good], broken)


def _array_items(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the undecoded items of `[{"a": "x, y"}, {"b": [1, 2]}]`, so that a broken item does not affect others."""
    text, start, at, depth = stream.read(BLOCK_BYTES).lstrip()[1:], 0, 0, 1  # after the opening bracket
    while depth:
        found = (INSIDE if depth > 1 else BETWEEN).search(text, at)
        if found is None or found[0] == b'"':  # a string continues in the next block
            more = stream.read(BLOCK_BYTES)
            if not more:
                raise InputError("the JSON array is not closed; the file is truncated")
            text, start, at = _within_limit(text[start:]) + more, 0, (found.start() if found else len(text)) - start
            continue
        if depth == 1 and found[0] in (b",", b"]"):
            item = text[start : found.start()].strip()
            if item or found[0] == b",":
                yield item
            start = found.end()
        depth += STEPS.get(found[0], 0)
        at = found.end()
    if text[at:].strip() or stream.read(BLOCK_BYTES).strip():
        raise InputError("there is data after the end of the JSON array; is one of its items broken?")


def _line_blocks(stream: BinaryIO) -> Iterator[list[bytes]]:
    rest = b""
    while data := stream.read(BLOCK_BYTES):
        head, newline, tail = data.rpartition(b"\n")
        if newline:
            lines = (rest + head).split(b"\n")
            for start in range(0, len(lines), MAX_BLOCK_ROWS):
                yield lines[start : start + MAX_BLOCK_ROWS]
        rest = tail if newline else rest + data
        _within_limit(rest)
    if rest:
        yield [rest]


def _within_limit(part: bytes) -> bytes:
    if len(part) > MAX_ROW_BYTES:
        raise InputError(f"a row is longer than {MAX_ROW_BYTES >> 20} MB; is this really one JSON object per row?")
    return part


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


def _columns(rows: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
