"""JSON: one object a line, or one array of objects. A broken line is reported and costs only itself."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

import msgspec

from curate.errors import InputError
from curate.sources.raw_block import BLOCK_BYTES, MAX_BLOCK_ROWS, RawBlock

MAX_ROW_BYTES = 256 << 20
ARRAY_ROWS = 2_000  # a block
# What to look for in an array: a text as a whole, or a mark. A lone quote opens a text whose end is not read yet.
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
INSIDE = re.compile(STRING + rb'|["{}\[\]]', re.DOTALL)  # an item
BETWEEN = re.compile(STRING + rb'|["{}\[\],]', re.DOTALL)  # … where a comma ends it
STEPS = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
decoder = msgspec.json.Decoder()


def read_json_lines(stream: BinaryIO) -> Iterator[RawBlock]:
    """Blocks of a JSONL stream. `source_row` counts lines that are not blank; details name the line, from 1."""
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
    """Blocks of a stream that is one JSON array. `source_row` counts its items; details name the item, from 1."""
    items = enumerate(map(_decode, _array_items(stream)))
    while chunk := list(islice(items, ARRAY_ROWS)):
        good = [(number, item) for number, item in chunk if isinstance(item, dict)]
        broken = [(number, f"item {number + 1}: {item}") for number, item in chunk if not isinstance(item, dict)]
        yield RawBlock(_columns([item for _, item in good]), [number for number, _ in good], broken)


def _array_items(stream: BinaryIO) -> Iterator[bytes]:
    """The items of `[{"a": "x, y"}, {"b": [1, 2]}]` one by one, not decoded, so that a broken one costs only itself."""
    text, start, at, depth = stream.read(BLOCK_BYTES).lstrip()[1:], 0, 0, 1  # behind the opening bracket
    while depth:
        found = (INSIDE if depth > 1 else BETWEEN).search(text, at)
        if found is None or found[0] == b'"':  # a text goes on in the next block
            more = stream.read(BLOCK_BYTES)
            if not more:
                raise InputError("the JSON array has no end; the file is cut off")
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
        raise InputError("something follows the end of the JSON array; is one of its items broken?")


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
        raise InputError(f"a row is longer than {MAX_ROW_BYTES >> 20} MB; is this really one JSON object a row?")
    return part


def _decode(line: bytes) -> dict[str, Any] | str:
    """The row, or what is wrong with the line."""
    try:
        value = decoder.decode(line)
    except UnicodeDecodeError:
        return "invalid UTF-8"
    except RecursionError:
        return "nested too deeply"
    except msgspec.DecodeError as error:
        # The decoder looks for the second half of a pair, and finds another text or the end of the line.
        cut = "truncated" in str(error) and line.rstrip().endswith(b"}") and b"\\ud" in line.lower()
        surrogate = cut or "surrogate" in str(error)
        return "a lone surrogate escape (\\ud800 to \\udfff)" if surrogate else f"invalid JSON: {error}"
    return value if isinstance(value, dict) else _not_a_row(value)


def _not_a_row(value: object) -> str:
    return f"{type(value).__name__} instead of an object with columns"


def _columns(rows: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
