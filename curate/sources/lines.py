"""JSON: one object a line, or one array of objects. A broken line is reported and costs only itself."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

import msgspec

from curate.errors import InputError
from curate.sources.block import BLOCK_BYTES, MAX_BLOCK_ROWS, RawBlock

MAX_LINE_BYTES = 256 << 20
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
    """Blocks of one JSON array of objects, read as a stream."""
    import ijson

    items = enumerate(ijson.items(stream, "item", use_float=True))
    try:
        while chunk := list(islice(items, 2_000)):
            good = [(number, item) for number, item in chunk if isinstance(item, dict)]
            broken = [(n, f"item {n + 1}: {_not_a_row(item)}") for n, item in chunk if not isinstance(item, dict)]
            yield RawBlock(_columns([item for _, item in good]), [number for number, _ in good], broken)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise InputError(f"not a complete JSON array: {error}") from error


def _line_blocks(stream: BinaryIO) -> Iterator[list[bytes]]:
    rest = b""
    while data := stream.read(BLOCK_BYTES):
        head, newline, tail = data.rpartition(b"\n")
        if newline:
            lines = (rest + head).split(b"\n")
            for start in range(0, len(lines), MAX_BLOCK_ROWS):
                yield lines[start : start + MAX_BLOCK_ROWS]
        rest = tail if newline else rest + data
        if len(rest) > MAX_LINE_BYTES:
            raise InputError(f"a line is longer than {MAX_LINE_BYTES >> 20} MB; is this really one JSON object a line?")
    if rest:
        yield [rest]


def _decode(line: bytes) -> dict[str, Any] | str:
    """The row, or what is wrong with the line."""
    try:
        value = decoder.decode(line)
    except UnicodeDecodeError:
        return "invalid UTF-8"
    except RecursionError:
        return "nested too deeply"
    except msgspec.DecodeError as error:
        surrogate = "\\ud" in line.decode("utf-8", "replace").lower() and "truncated" in str(error)
        return "a lone surrogate escape (\\ud800 to \\udfff)" if surrogate else f"invalid JSON: {error}"
    return value if isinstance(value, dict) else _not_a_row(value)


def _not_a_row(value: object) -> str:
    return f"{type(value).__name__} instead of an object with columns"


def _columns(rows: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
