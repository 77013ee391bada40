"""Small files that decode to much: blocks stay small, one line names what is too large, and the process ends."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

import curate
from curate import limits
from curate.errors import InputError
from curate.sources import Bounds, open_feeds
from curate.sources.raw_block import BLOCK_BYTES, RawBlock

LONG = "word " * 20_000  # 100 KB
PEAK_MB = 2_000
GOOD = '{"prompt": "q", "chosen": "a", "rejected": "b"}\n'


def repeated(text: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows), pa.int32()), pa.array([text]))


def views(text: str, rows: int) -> pa.Array:
    one = pa.array([text], pa.string_view()).buffers()
    return pa.Array.from_buffers(pa.string_view(), rows, [None, pa.py_buffer(bytes(one[1])[:16] * rows), *one[2:]])


def messages(content: pa.Array) -> pa.ListArray:
    turns = pa.StructArray.from_arrays([repeated("assistant", len(content)), content], ["role", "content"])
    return pa.ListArray.from_arrays(pa.array(range(len(content) + 1), pa.int32()), turns)


def table(rows: int, chosen: pa.Array | None = None) -> pa.Table:
    chosen = repeated(LONG, rows) if chosen is None else chosen
    prompts = [f"question {i}?" for i in range(rows)]
    return pa.table({"prompt": prompts, "chosen": chosen, "rejected": repeated("no", rows)})


def write_parquet(path: Path, data: pa.Table, **options: Any) -> Path:
    pq.write_table(data, path, compression="zstd", **options)
    return path


def write_arrow(path: Path, data: pa.Table, compression: str | None = None) -> Path:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, data.schema, options=options) as writer:
        writer.write_table(data)
    return path


def write_zst(path: Path, part: bytes, times: int, start: bytes = b"") -> Path:
    with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as sink:
        sink.write(start)
        for _ in range(times):
            sink.write(part)
    return path


ROWS = 3_000  # of 100 KB: 300 MB
SMALL_FILES: dict[str, Callable[[Path], Path]] = {
    "parquet": lambda path: write_parquet(path / "a.parquet", table(ROWS)),
    "parquet, nested": lambda path: write_parquet(path / "a.parquet", table(ROWS, messages(repeated(LONG, ROWS)))),
    "parquet, prefixes": lambda path: write_parquet(
        path / "a.parquet",
        table(ROWS, pa.array([LONG] * ROWS)),
        use_dictionary=["prompt", "rejected"],
        column_encoding={"chosen": "DELTA_BYTE_ARRAY"},
    ),
    "arrow": lambda path: write_arrow(path / "a.arrow", table(ROWS)),
    "arrow, compressed": lambda path: write_arrow(path / "a.arrow", table(ROWS), "zstd"),
    "arrow, views": lambda path: write_arrow(path / "a.arrow", table(ROWS, views(LONG, ROWS))),
    "arrow, runs": lambda path: write_arrow(
        path / "a.arrow", table(ROWS, pa.RunEndEncodedArray.from_arrays(pa.array([ROWS], pa.int32()), pa.array([LONG])))
    ),
    "arrow, nested": lambda path: write_arrow(path / "a.arrow", table(ROWS, messages(repeated(LONG, ROWS)))),
}


def blocks(path: Path, **bounds: int) -> list[int]:
    """Return the decoded bytes of the long texts in each block; the blocks are not kept."""
    return [_bytes(block) for block in open_feeds([str(path)], bounds=Bounds(**bounds))[0].blocks()]


def _bytes(block: RawBlock) -> int:
    values = block.columns.get("chosen", [])
    texts = pl.Series(values)
    if texts.dtype != pl.String and isinstance(texts.dtype, pl.List):
        texts = texts.explode().struct.field("content")
    return int(texts.cast(pl.String).str.len_bytes().sum() or 0)


def failure(path: Path, **bounds: int) -> str:
    with pytest.raises(InputError) as caught:
        blocks(path, **bounds)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL_FILES)
def test_blocks_are_bounded_by_what_they_decode_to(tmp_path: Path, kind: str) -> None:
    path = SMALL_FILES[kind](tmp_path)
    assert path.stat().st_size < 1 << 20
    sizes = blocks(path, unpacked_bytes=1 << 40)
    assert sum(sizes) == ROWS * len(LONG)
    assert max(sizes) <= 2 * BLOCK_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL_FILES)
def test_a_small_file_that_decodes_to_much_is_refused(tmp_path: Path, kind: str) -> None:
    path = SMALL_FILES[kind](tmp_path)
    unpacks = f"{path.name}: the file of {path.stat().st_size:,} bytes unpacks to more than 256 MB."
    assert failure(path).startswith(unpacks)


def test_values_of_a_fixed_width(tmp_path: Path) -> None:
    wide = pa.array([LONG.encode()], pa.binary(len(LONG)))
    values = pa.DictionaryArray.from_arrays(pa.array([0] * ROWS, pa.int32()), wide)
    path = write_parquet(tmp_path / "a.parquet", table(ROWS, repeated("a", ROWS)).append_column("x", values))
    feed = open_feeds([str(path)], bounds=Bounds(unpacked_bytes=1 << 40))[0]
    rows = [len(block.source_row) for block in feed.blocks()]
    assert sum(rows) == ROWS
    assert max(rows) * len(LONG) <= 2 * BLOCK_BYTES


def test_a_repetitive_file_of_honest_size_is_read(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", table(2_000))  # a system prompt of 100 KB, say
    assert sum(blocks(path)) == 2_000 * len(LONG)


LARGE_ROWS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "jsonl": ("line 2", lambda path: write_zst(path, b"x" * (1 << 20), 40, GOOD.encode() + b'{"prompt": "')),
    "json": ("item 2", lambda path: write_zst(path, b"x" * (1 << 20), 40, f'[{GOOD}, {{"prompt": "'.encode())),
    "csv": (
        "row 2",
        lambda path: write_zst(path, (b"x" * 1023 + b"\n") * 1024, 34, b'prompt,chosen,rejected\nq,a,b\n"'),
    ),
    "parquet": ("row 2", lambda path: write_parquet(path, table(2, pa.array(["a", "x" * (40 << 20)])))),
    "arrow": ("row 2", lambda path: write_arrow(path, table(2, pa.array(["a", "x" * (40 << 20)])))),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LARGE_ROWS)
def test_a_row_that_is_too_large_is_named(tmp_path: Path, kind: str) -> None:
    row, write = LARGE_ROWS[kind]
    packed = ".zst" if kind in ("jsonl", "json", "csv") else ""
    path = write(tmp_path / f"a.{kind}{packed}")
    expected = f"{path.name}: {row} is larger than 32 MB; is this really one row? If it is, set source.max_row_bytes"
    assert failure(path) == expected


def test_a_limit_of_a_row_can_be_raised(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", table(2, pa.array(["a", "x" * (40 << 20)])))
    assert blocks(path, row_bytes=64 << 20) == [1, 40 << 20]


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_page_or_batch_that_is_held_at_once_is_refused_before_it_is_unpacked(
    tmp_path: Path, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAGE_BYTES", 10 << 20)
    data = table(2, pa.array(["x" * (12 << 20), "a"]))
    arrow = write_arrow(tmp_path / "a.arrow", data, compression)
    assert failure(arrow).startswith("a.arrow: a batch unpacks to 12 MB; expected at most 10 MB.")
    parquet = write_parquet(tmp_path / "a.parquet", data, use_dictionary=False)
    assert failure(parquet).startswith("a.parquet: pages of 12 MB in a row group; expected at most 10 MB.")


@pytest.mark.slow
def test_one_row_with_a_long_list_of_one_value(tmp_path: Path) -> None:
    zeros = pa.ListArray.from_arrays(pa.array([0, 80_000_000], pa.int32()), pa.array(np.zeros(80_000_000, np.int8)))
    path = write_parquet(tmp_path / "a.parquet", table(1).append_column("x", zeros))
    assert path.stat().st_size < 10_000
    assert "a.parquet: x.list.element repeats one value 79,9" in failure(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("rows", [1, 2_000])
def test_keys_that_are_data(tmp_path: Path, name: str, rows: int) -> None:
    each = 2_000 // rows
    lines = [json.dumps({f"key {row * each + i}": 1 for i in range(each)}) for row in range(rows)]
    (tmp_path / name).write_text("\n".join([*lines, ""]) if name == "a.jsonl" else f"[{','.join(lines)}]", "utf-8")
    expected = f"{name}: 2,000 columns; expected at most 1,000. Are the keys of an object data?"
    assert failure(tmp_path / name) == expected


def test_many_columns_make_shorter_blocks(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(900)]
    (tmp_path / "a.jsonl").write_text("".join(f'{{"{name}": 1}}\n' for name in names * 3), "utf-8")
    found = list(open_feeds([str(tmp_path)])[0].blocks())
    assert [len(block.source_row) for block in found] == [1165, 1165, 370]
    assert [set(block.columns) for block in found] == [set(names)] * 3


@pytest.mark.slow
def test_a_bomb_of_blank_lines(tmp_path: Path) -> None:
    path = write_zst(tmp_path / "a.jsonl.zst", b"\n" * (1 << 20), 300, GOOD.encode())
    assert "unpacks to more than 256 MB" in failure(path)


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(GOOD, "utf-8")
    for name in ("one", "two"):
        (tmp_path / name).symlink_to(tmp_path, target_is_directory=True)
    for path in (tmp_path, tmp_path / "**/*.jsonl"):
        assert [feed.name for feed in open_feeds([str(path)])] == ["a.jsonl"]


# On Linux a process inherits the peak memory of its parent: this parent is small, pytest may not be.
MEASURE = (
    "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)"
)


def command(*arguments: object, timeout: float = 240) -> tuple[int, str, float]:
    """Return exit code, error output and peak memory in MB of the command."""
    program = [sys.executable, "-c", MEASURE, sys.executable, "-m", "curate", *map(str, arguments)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=timeout)
    return done.returncode, done.stderr, int(done.stdout) / (1 << 20 if sys.platform == "darwin" else 1 << 10)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read from POSIX")
@pytest.mark.parametrize("kind", ["parquet", "parquet, nested", "arrow, nested"])
def test_memory_of_the_command(tmp_path: Path, kind: str) -> None:
    path = SMALL_FILES[kind](tmp_path)
    code, error, peak = command("clean", path, "--out", tmp_path / "refused")
    assert (code, error.count("\n"), "unpacks to more than 256 MB" in error) == (2, 1, True)
    assert peak < PEAK_MB
    allowed = ["--set", "source.max_unpacked_bytes=10000000000", "--set", "rules.defaults=false"]
    code, error, peak = command("clean", path, "--out", tmp_path / "run", *allowed)
    assert code == 0, error
    assert peak < PEAK_MB
    kept = pl.read_parquet(tmp_path / "run/data/*.parquet", columns=["source_row", "chosen"])
    assert sorted(kept["source_row"]) == list(range(ROWS))
    assert kept["chosen"].list.first().struct.field("content").unique().to_list() == [LONG]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read from POSIX")
@pytest.mark.parametrize("end", ["", '",b\n'])
def test_a_csv_cell_that_is_too_large_ends_the_command(tmp_path: Path, end: str) -> None:
    (tmp_path / "a.csv").write_text(f'prompt,chosen,rejected\nq,a,b\nq,"{"x" * (64 << 20)}{end}', "utf-8")
    code, error, peak = command("clean", tmp_path / "a.csv", "--out", tmp_path / "run")
    assert (code, error.count("\n"), "a.csv: row 2 is larger than 32 MB" in error) == (2, 1, True)
    assert peak < PEAK_MB


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the process is killed as on POSIX")
def test_nothing_remains_of_a_table_that_is_unpacked_when_the_process_is_killed(tmp_path: Path) -> None:
    path = write_zst(tmp_path / "a.parquet.zst", b"\0" * (1 << 20), 2_000, b"PAR1")
    folder = tmp_path / "temporary"
    folder.mkdir()
    program = [sys.executable, "-m", "curate", "clean", path, "-o", tmp_path / "run"]
    allowed = ["--set", "source.max_unpacked_bytes=10000000000"]
    with subprocess.Popen([*map(str, program), *allowed], env={**os.environ, "TMPDIR": str(folder)}) as running:
        while running.poll() is None and not _unlinked(running.pid, folder):
            pass
        running.kill()
    assert running.returncode == -9
    assert list(folder.iterdir()) == []


def _unlinked(process: int, folder: Path) -> list[str]:
    """Return the files under the folder that a process has open and that no longer have a name."""
    links = []
    for each in Path(f"/proc/{process}/fd").iterdir():
        try:
            links.append(os.readlink(each))
        except OSError:  # closed meanwhile
            continue
    return [link for link in links if link.startswith(str(folder)) and link.endswith(" (deleted)")]


def test_bad_rows_are_counted_while_reading(tmp_path: Path) -> None:
    path = write_zst(tmp_path / "a.jsonl.zst", b"x\n" * (1 << 18), 16, GOOD.encode())
    with pytest.raises(InputError) as caught:
        curate.clean(path, tmp_path / "run")
    found = re.match(r"(\d+) of (\d+) rows cannot be read \(first: a\.jsonl\.zst: line 2: ", str(caught.value))
    assert found is not None
    assert limits.BAD_ROWS < int(found[1]) < int(found[2]) < 3 * limits.BAD_ROWS + 50_000  # of four million
    assert not (tmp_path / "run/stages/pairs/stage.json").exists()


@pytest.mark.slow
def test_a_share_of_bad_rows_that_is_fine_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"  # at first 1 of 10 is broken
    path.write_text("x\n" * 100 + GOOD * 900 + GOOD * 20_000, "utf-8")
    assert curate.clean(path, tmp_path / "run").counts["rows"] == 21_000
