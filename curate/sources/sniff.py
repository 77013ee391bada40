"""Raw blocks of one file. The file type is detected from the first bytes rather than from the name."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from curate.errors import InputError
from curate.sources.jsonl import read_json_array, read_json_lines
from curate.sources.paths import ENDINGS, PACKED, Input
from curate.sources.raw_block import BLOCK_BYTES, RawBlock
from curate.sources.tables import read_arrow, read_csv, read_parquet

PACKED_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}
BOM = b"\xef\xbb\xbf"  # written before UTF-8 by Windows programs
TABLE_READERS = {"parquet": read_parquet, "arrow": read_arrow}


def raw_blocks(source: Input) -> Iterator[RawBlock]:
    """Yield the rows of one file in blocks. Raise InputError if the file cannot be read."""
    try:
        yield from _blocks(source.path)
    except InputError as error:
        raise InputError(f"{source.name}: {error}") from error
    except (pa.ArrowException, EOFError, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # from the system, not from Arrow about the content
            raise
        hint = "the file is truncated or damaged; download it again"
        if "straddling" in str(error):  # Arrow's error for a csv row that spans more than two blocks
            hint = f"a row is longer than {2 * BLOCK_BYTES >> 20} MB; store it in another format"
        problem = str(error).strip().partition("\n")[0]
        raise InputError(f"{source.name} cannot be read ({problem}): {hint}") from error


def _blocks(path: Path) -> Iterator[RawBlock]:
    with _open(path) as stream:
        head = stream.read(4096)
    if not head.strip():
        raise InputError("the file is empty")
    kind = _kind(head, path)
    if kind == "jsonl":
        yield from read_json_lines(_open_text(path, head))
    elif kind == "json":
        yield from read_json_array(_open_text(path, head))
    elif kind == "csv":
        yield from read_csv(lambda: _open(path))
    elif _packing(path) is None:
        yield from TABLE_READERS[kind](path)
    else:  # these types need random access, so a compressed file is unpacked first
        with tempfile.NamedTemporaryFile(suffix=f".{kind}") as unpacked:
            shutil.copyfileobj(_open(path), unpacked, 1 << 20)
            unpacked.flush()
            yield from TABLE_READERS[kind](Path(unpacked.name))


def _kind(head: bytes, path: Path) -> str:
    start = head.removeprefix(BOM).lstrip()
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow"
    if start.startswith(b"{"):
        return "jsonl"
    if start.startswith(b"["):
        return "json"
    ending = next((e for e in ENDINGS if _plain_name(path).endswith(e)), None)
    if ending == ".csv":
        return "csv"
    if ending in (".jsonl", ".ndjson") and b"\0" not in head:
        return "jsonl"  # the first line is broken, but others may not be
    what = f"does not look like {ending}" if ending else "is of an unknown type"
    raise InputError(f"the content {what}. Supported: {', '.join(ENDINGS)}, each also as .gz or .zst")


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


def _open_text(path: Path, head: bytes) -> BinaryIO:
    stream = _open(path)
    if head.startswith(BOM):  # not part of the JSON
        stream.read(len(BOM))
    return stream
