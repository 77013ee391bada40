"""The items of a JSON text, undecoded and one by one, so that a broken item does not affect others."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from curate import limits
from curate.errors import InputError
from curate.sources.raw_block import BLOCK_BYTES, Bounds

# Tokens: a whole string, or punctuation. A lone quote opens a string whose end is not read yet.
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
INSIDE = re.compile(STRING + rb'|["{}\[\]]', re.DOTALL)  # within an item
BETWEEN = re.compile(STRING + rb'|["{}\[\],]', re.DOTALL)  # between items, where a comma ends one
STEPS = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
# Keys under which files keep their rows, beside facts about the whole: {"version": 1, "data": [{…}, …]}.
KEYS = (
    "data", "rows", "examples", "instances", "items", "records", "samples", "entries", "dataset", "pairs",
    "preferences", "train", "test", "validation",
)  # fmt: skip
BELOW = re.compile(rb'"(' + "|".join(KEYS).encode() + rb')"\s*:\s*\[\s*(?=\{)')


def rows_below(head: bytes) -> int | None:
    """
    Return where the rows begin in a text that is one object with a list of them under one of KEYS; None for others.

        rows_below(b'{"version": 1, "data": [{"prompt": …')  # 24, after the bracket
    """
    at, depth = 0, 0
    while found := INSIDE.search(head, at):
        if depth == 1 and (start := BELOW.match(head, found.start())):
            return start.end()
        depth += STEPS.get(found[0], 0)
        if found[0] == b'"' or depth == 0:  # cut off, or the end of the object
            return None
        at = found.end()
    return None


def array_items(stream: BinaryIO, bounds: Bounds, *, start: int = 1, inside: int = 1) -> Iterator[bytes]:
    """
    Yield the items of `[{"a": "x, y"}, {"b": [1, 2]}]`. Raise InputError for an array that does not end.

    `start`: bytes up to the first item, the bracket included. `inside`: brackets that are open there; what follows the
    array in an object around it is left aside.
    """
    text, start, at, depth = stream.read(max(BLOCK_BYTES, start)).lstrip()[start:], 0, 0, 1
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
        _check_depth(depth, number)
        at = found.end()
    closed, rest = _closed(text[at:], stream, inside - 1, bounds)
    if not closed:
        raise InputError("the object around the rows is not closed; the file is truncated")
    if rest:
        what = "JSON array; is one of its items broken?" if inside == 1 else "object around the rows"
        raise InputError(f"there is data after the end of the {what}")


def _closed(text: bytes, stream: BinaryIO, depth: int, bounds: Bounds) -> tuple[bool, bool]:
    """Read up to the end. Return whether the open brackets are closed, and whether anything follows after that."""
    while True:
        at = 0
        while depth and (found := INSIDE.search(text, at)) and found[0] != b'"':
            depth, at = depth + STEPS.get(found[0], 0), found.end()
        if not depth and text[at:].strip():
            return True, True
        more = stream.read(BLOCK_BYTES)
        if not more:
            return not depth, False
        text = (text[at:] if depth else b"") + more
        bounds.check_row(len(text) - len(more), "what follows the rows")


def objects(stream: BinaryIO, bounds: Bounds) -> Iterator[bytes]:
    """Yield JSON objects that follow each other, each over several lines. What stands between them is an item, too."""
    text, start, at, depth = stream.read(BLOCK_BYTES), 0, 0, 0
    number = 1
    while True:
        found = INSIDE.search(text, at)
        if found is None or found[0] == b'"':
            bounds.check_row(len(text) - start, f"object {number:,}")
            if not (more := stream.read(BLOCK_BYTES)):
                break
            text, start, at = text[start:] + more, 0, (found.start() if found else len(text)) - start
            continue
        before, depth = depth, depth + STEPS.get(found[0], 0)
        _check_depth(depth, number)
        at = found.end()
        if before == 1 and depth == 0:
            bounds.check_row(at - start, f"object {number:,}")
            yield text[start:at].strip(b" \t\r\n,")
            start, number = at, number + 1
        depth = max(depth, 0)
    if rest := text[start:].strip(b" \t\r\n,"):
        yield rest


def _check_depth(depth: int, number: int) -> None:
    if depth > limits.JSON_DEPTH:
        raise InputError(f"item {number:,} is nested more than {limits.JSON_DEPTH:,} levels deep")
