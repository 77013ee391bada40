"""Hostile source files: each gives a one-line error or a run that accounts for every row; no other file changes."""

import gzip
import io
import json
import os
import random
import shutil
import zlib
from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from tests.attacks.harness import Victim, any_of, contents
from tests.data import rows

ROWS = rows(20)
TABLE = pa.Table.from_pylist(ROWS)
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
DEEP = "[" * 100_000 + "]" * 100_000


def written(write: Callable[[Any, io.BytesIO], Any], table: pa.Table = TABLE) -> bytes:
    file = io.BytesIO()
    write(table, file)
    return file.getvalue()


def stream(table: pa.Table, file: io.BytesIO) -> None:
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


WHOLE = {
    "jsonl": LINES,
    "json": json.dumps(ROWS).encode(),
    "csv": written(pa.csv.write_csv),
    "parquet": written(pa.parquet.write_table),
    "arrow": written(stream),
    "feather": written(pa.feather.write_feather),
}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def flipped(data: bytes) -> bytes:
    chance, hit = random.Random(7), bytearray(data)
    for _ in range(20):
        hit[chance.randrange(len(hit))] ^= 1 << chance.randrange(8)
    return bytes(hit)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "blank": lambda _: b" \n\t\n" * 100,
    "one byte": lambda data: data[:1],
    "head": lambda data: data[:9],
    "half": lambda data: data[: len(data) // 2],
    "all but one": lambda data: data[:-1],
    "all but nine": lambda data: data[:-9],
    "random": lambda data: random.Random(3).randbytes(len(data)),
    "head and random": lambda data: data[:8] + random.Random(3).randbytes(len(data)),
    "flipped": flipped,
    "BOM": lambda data: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data: data.decode("latin-1").encode("utf-16"),
    "NULs": lambda data: data[:30] + bytes(50) + data[30:],
    "doubled": lambda data: data + data,
}
OFTEN = {("parquet", "half"), ("jsonl", "half"), ("csv", "head"), ("arrow", "half"), ("feather", "all but nine")}
CASES = [
    pytest.param(kind, packed, damage, marks=[] if (kind, damage) in OFTEN else pytest.mark.slow)
    for kind in WHOLE
    for packed, damage in [*(("", damage) for damage in DAMAGES), (".gz", "half"), (".zst", "all but nine")]
]


@pytest.mark.parametrize(("kind", "packed", "damage"), CASES)
def test_damaged_containers(victim: Victim, kind: str, packed: str, damage: str) -> None:
    """Only the outermost layer of a compressed file is damaged."""
    attack(victim, f"p.{kind}{packed}", DAMAGES[damage](PACKED[packed](WHOLE[kind])))


def pair(**changes: Any) -> bytes:
    return json.dumps(ROWS[0] | changes).encode() + b"\n"


def table(**columns: Any) -> bytes:
    return written(pa.parquet.write_table, pa.table(columns))


NAN = float("nan")
TEXTS: dict[str, tuple[str, bytes | Callable[[], bytes]]] = {
    "a lone surrogate": ("p.jsonl", LINES + b'{"prompt": "\\ud800", "chosen": "a\\udfff", "rejected": "b"}\n'),
    "invalid UTF-8": ("p.jsonl", LINES + b'{"prompt": "\xff\xfe", "chosen": "a", "rejected": "b"}\n'),
    "invalid UTF-8 in a header": ("p.csv", b"prompt,ch\xffosen,rejected\na,b,c\n"),
    "deep": ("p.jsonl", LINES + f'{{"prompt": {DEEP}}}\n'.encode()),
    "deep, one value": ("p.json", DEEP.encode()),
    "deep objects": ("p.json", b"[" + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"]"),
    "keys": ("p.jsonl", json.dumps({f"k{n}": n for n in range(100_000)}).encode()),
    "keys by row": ("p.jsonl", b"".join(pair(**{f"k{n}": n}) for n in range(2_000))),
    "columns": ("p.csv", ",".join(f"c{n}" for n in range(100_000)).encode() + b"\n"),
    "columns of a table": ("p.parquet", table(**{f"c{n}": ["a"] for n in range(3_000)})),
    "a number of 30 digits": ("p.jsonl", LINES + pair(chosen_score=10**30, rejected_score=-(10**30))),
    "a number of 5000 digits": ("p.jsonl", LINES + b'{"prompt": "a", "chosen_score": ' + b"9" * 5_000 + b"}\n"),
    "NaN": ("p.jsonl", LINES + pair(chosen_score=NAN, rejected_score=float("inf"))),
    "1e400": ("p.jsonl", LINES + pair(chosen_score=0).replace(b": 0}", b": 1e400}")),
    "a key twice": ("p.jsonl", LINES + b'{"prompt": "a", "prompt": "b", "chosen": "c", "rejected": "d"}\n'),
    "a column twice": ("p.csv", b"prompt,prompt,chosen,rejected\na,b,c,d\n"),
    "types mixed": ("p.jsonl", LINES + b"".join(pair(chosen=x) for x in any_of(1, None, [], {}, True, [[]], 1e9, "x"))),
    "messages mixed": (
        "p.jsonl", LINES + b"".join(pair(prompt=[x]) for x in any_of(1, None, {"role": 3}, {"content": []}))
    ),
    "rows of other kinds": ("p.jsonl", LINES + b'1\nnull\n"x"\n[]\n[{}]\n{}\ntrue\n-\n'),
    "a huge cell": ("p.jsonl", lambda: pair(prompt="x" * (40 << 20))),
    "a huge cell of CSV": ("p.csv", lambda: b'prompt,chosen,rejected\na,b,"' + b"x" * (8 << 20)),
    "quotes": ("p.csv", b'prompt,chosen,rejected\n"a""b,"c"d",e\n""""\n'),
    "one line of quotes": ("p.csv", b'prompt,chosen,rejected\n' + b'"' * 99_999),
    "a zip file": ("p.jsonl", b"PK\x03\x04" + bytes(500)),
    "a gzip bomb": ("p.jsonl.gz", lambda: gzip.compress(gzip.compress(bytes(300 << 20)) * 2)),
    "zeros": ("p.jsonl.gz", lambda: gzip.compress(bytes(64 << 20))),
    "open brackets": ("p.json.gz", lambda: gzip.compress(b"[" * (32 << 20))),
    "bare gzip": ("p.jsonl.gz", b"\x1f\x8b"),
    "bare zstd": ("p.jsonl.zst", b"\x28\xb5"),
    "deflate": ("p.jsonl.gz", zlib.compress(LINES)),
    "structs of nothing": ("p.parquet", table(prompt=[{"a": None}], chosen=[None], rejected=[[]])),
    "dates and bytes": ("p.parquet", table(prompt=[b"\xff"], chosen=[pa.scalar(1, pa.timestamp("ns"))], rejected=[1])),
    "floats": ("p.parquet", table(prompt=[NAN], chosen=[1e308], rejected=[-0.0])),
    "no column": ("p.parquet", table()),
    "no row": ("p.parquet", table(prompt=pa.array([], "str"), chosen=pa.array([], "str"))),
    "a parquet file as CSV": ("p.csv", WHOLE["parquet"]),
    "CSV as a parquet file": ("p.parquet", WHOLE["csv"]),
    "controls": ("p.jsonl", LINES + pair(prompt="\x00\x1b]0;x\x07\u202e\x9b31m", system="\r" * 99)),
    "empty names": ("p.jsonl", LINES + pair(**{"": 1, "\0": 2, "a\nb": 3, ".": 4})),
}  # fmt: skip


@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=[pytest.mark.slow] * (i % 3 > 0)) for i, name in enumerate(TEXTS)]
)
def test_hostile_contents(victim: Victim, case: str) -> None:
    name, data = TEXTS[case]
    attack(victim, name, data() if callable(data) else data)


NAMES = [
    b"a\nb.jsonl", b"a\x1b[2J.jsonl", b"..jsonl", b"-p.jsonl", b"--force.jsonl", b"\xff\xfe.jsonl", b"[a-z]*.jsonl",
    b"x" * 249 + b".jsonl", b"~root.jsonl", b"a\xe2\x80\xaeb.jsonl", b"$(touch x).jsonl", b"<b>&amp;.jsonl", b" .jsonl",
    b"hf:x.jsonl", b"prefcurate:x.jsonl",
]  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (i > 2)) for i, n in enumerate(NAMES)])
def test_hostile_file_names(victim: Victim, name: bytes) -> None:
    attack(victim, os.fsdecode(name), LINES)


def test_sources_that_are_not_files(victim: Victim) -> None:
    folder = victim.folder
    (folder / "self.jsonl").symlink_to("self.jsonl")
    (folder / "gone.jsonl").symlink_to("nowhere")
    (folder / "folder.jsonl").mkdir()
    (folder / "zero.jsonl").symlink_to("/dev/zero")
    os.mkfifo(folder / "fifo.jsonl")
    missing = (
        "self.jsonl",
        "gone.jsonl",
        "folder.jsonl",
        "fifo.jsonl",
        "zero.jsonl",
        "/dev/zero",
        "/dev/null",
        "/proc",
    )
    for name in (
        *missing,
        "",
        " ",
        ".",
        "..",
        "/",
        "x" * 300,
        "x/" * 3_000,
        "~nobody/x",
        "a\0b",
        "http://127.0.0.1:9/x",
    ):
        done = victim("clean", "--", name, "-o", "NONE", seconds=20) if "\0" not in name else None
        assert done is None or done.check().code == 2, name


def attack(victim: Victim, name: str, data: bytes) -> None:
    folder = victim.folder
    place, line = folder / "in", ("clean", "-o", "../RUN", "--force", "--set", "source.max_bad_rows=1")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / name).write_bytes(data)
    before = contents(folder, "RUN")
    done = victim(*line, "--", name, cwd=place, seconds=30).check()
    assert contents(folder, "RUN") == before
    assert done.code in (0, 1, 2), done.err
    if done.code == 0:
        counts = json.loads((folder / "RUN/manifest.json").read_bytes())["counts"]
        ledger = pl.read_parquet(folder / "RUN/ledger.parquet", columns=["kept"])
        assert counts["rows"] == counts["kept"] + counts["dropped"]
        assert counts["ledger"] == ledger.height
        assert ledger["kept"].sum() == counts["kept"]


@pytest.mark.slow
def test_all_formats_give_the_same_pairs(victim: Victim) -> None:
    for kind, data in WHOLE.items():
        attack(victim, f"whole.{kind}.gz", PACKED[".gz"](data))
        assert json.loads((victim.folder / "RUN/manifest.json").read_bytes())["counts"]["kept"] == len(ROWS)
