"""Raw blocks of one file. The file type is detected from the first bytes rather than from the name."""

import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from curate.errors import InputError
from curate.sources.delimited import read_csv
from curate.sources.encoding import AsUtf8, encoding_of
from curate.sources.json_items import INSIDE, STEPS, rows_below
from curate.sources.jsonl import read_json_array, read_json_below, read_json_lines, read_json_objects
from curate.sources.paths import ENDINGS, PACKED, Input
from curate.sources.raw_block import Bounds, RawBlock, Unpacked
from curate.sources.tables import read_arrow, read_parquet

PACKED_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}
BOM = b"\xef\xbb\xbf"  # written before UTF-8 by Windows programs
BUFFER_BYTES = 1 << 20
TABLE_READERS = {"parquet": read_parquet, "arrow": read_arrow}
TEXT_READERS = {"jsonl": read_json_lines, "json": read_json_array, "objects": read_json_objects, "csv": read_csv}
HEAD_BYTES = 1 << 20  # by which the type is told
TABLES_OF_TEXT = (".csv", ".tsv", ".tab")


def raw_blocks(source: Input, bounds: Bounds) -> Iterator[RawBlock]:
    """Yield the rows of one file in blocks. Raise InputError if the file cannot be read, or goes beyond the bounds."""
    try:
        yield from _blocks(source.path, bounds)
    except InputError as error:
        raise InputError(f"{source.name}: {error}") from error
    except (pa.ArrowException, EOFError, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # from the system, not from Arrow about the content
            raise
        hint = "the file is truncated or damaged; download it again"
        problem = str(error).strip().partition("\n")[0]
        raise InputError(f"{source.name} cannot be read ({problem}): {hint}") from error


def _blocks(path: Path, bounds: Bounds) -> Iterator[RawBlock]:
    with _open(path) as stream:
        head = stream.read(HEAD_BYTES)
    if not head.strip():
        raise InputError("the file is empty")
    if encoding := encoding_of(head):
        head = head[: len(head) & -4].decode(encoding, "replace").encode("utf-8", "replace").removeprefix(BOM)
    kind = _kind(head, path)
    unpacked = Unpacked(path.stat().st_size, bounds)
    if kind in TABLE_READERS and _packing(path) is None:
        with path.open("rb") as file:
            yield from TABLE_READERS[kind](file, bounds, unpacked)
        return
    stream = io.BufferedReader(_Counted(_open(path), unpacked), BUFFER_BYTES)
    if encoding:
        stream = io.BufferedReader(AsUtf8(stream, encoding), BUFFER_BYTES)
    if kind in TABLE_READERS:  # these types need random access, so a compressed file is unpacked first
        with tempfile.TemporaryFile() as file:  # without a name, so that nothing of it remains if the process is killed
            shutil.copyfileobj(stream, file, BUFFER_BYTES)
            file.flush()
            yield from TABLE_READERS[kind](file, bounds, unpacked)
        return
    if kind != "csv" and head.startswith(BOM):  # not part of the JSON
        stream.read(len(BOM))
    if kind == "below" and (start := rows_below(head.removeprefix(BOM).lstrip())):
        yield from read_json_below(stream, bounds, start)
        return
    yield from TEXT_READERS[kind](stream, bounds)


class _Counted(io.RawIOBase):
    """A stream whose bytes are counted after decompression."""

    def __init__(self, stream: BinaryIO, unpacked: Unpacked) -> None:
        self._stream, self._unpacked = stream, unpacked

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._unpacked.add(len(data))
        buffer[: len(data)] = data
        return len(data)


def _kind(head: bytes, path: Path) -> str:
    start = head.removeprefix(BOM).lstrip()
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow"
    if start.startswith(b"{"):
        return _kind_of_objects(start)
    if start.startswith(b"["):
        return "json"
    ending = next((e for e in ENDINGS if _plain_name(path).endswith(e)), None)
    if ending in TABLES_OF_TEXT:
        return "csv"
    if ending in (".jsonl", ".ndjson") and b"\0" not in head:
        return "jsonl"  # the first line is broken, but others may not be
    what = f"does not look like {ending}" if ending else "is of an unknown type"
    raise InputError(f"the content {what}. Supported: {', '.join(ENDINGS)}, each also as .gz or .zst")


def _kind_of_objects(head: bytes) -> str:
    """
    Return how objects follow each other: one per line, or one over several lines ("objects"), or whether there is only
    one, which holds the rows ("below").
    """
    line, _, others = head.partition(b"\n")
    depth = sum(STEPS.get(token[0], 0) for token in INSIDE.finditer(line))
    last, follows = line.rstrip()[-1:], others.lstrip()[:1]
    goes_on = depth > 0 and last in (b"{", b"[", b",", b":") and not last == follows == b"{"
    if rows_below(head) is not None and (goes_on or not others.strip()):
        return "below"
    return "objects" if goes_on else "jsonl"


def _plain_name(path: Path) -> str:
    name = path.name.lower()
    for ending in PACKED:
        name = name.removesuffix(ending)
    return name


def _packing(path: Path) -> str | None:
    with path.open("rb") as file:
        return PACKED_MAGIC.get(file.read(2))


def _open(path: Path) -> BinaryIO:
    packing = _packing(path)
    stream = pa.OSFile(str(path))
    return cast("BinaryIO", pa.CompressedInputStream(stream, packing) if packing else stream)
