"""The peak memory of `curate convert` depends on its blocks, not on the size of the input."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.sources.test_bounds import command

SMALL, LARGE = 40_000, 160_000  # rows of 3 KB: 120 and 480 MB of text
ROOM_MB = 150  # a run differs from the next by up to 60 MB
SIDES = ("prompt", "chosen", "rejected")


def write_pairs(path: Path, count: int) -> Path:
    """Write rows that differ; not compressed, and in dictionaries, so that all of a large file is looked at first."""
    schema = pa.schema([(name, pa.string()) for name in SIDES])
    options = {"compression": "none", "data_page_size": 1 << 16}
    with pq.ParquetWriter(path, schema, **options) as writer:
        for start in range(0, count, 1000):
            texts = [f"{number} of a thousand words, " * 40 for number in range(start, start + 1000)]
            columns = [texts, [f"So {text}" for text in texts], [f"No {text}" for text in texts]]
            writer.write_table(pa.table(dict(zip(SIDES, columns, strict=True))))
    return path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read from POSIX")
@pytest.mark.parametrize(
    ("form", "kind"), [("trl", "parquet"), ("trl", "jsonl"), ("kto", "jsonl"), ("sharegpt", "parquet")]
)
def test_memory_of_the_command(tmp_path: Path, form: str, kind: str) -> None:
    peaks = []
    for count in (SMALL, LARGE):
        source, out = write_pairs(tmp_path / "in.parquet", count), tmp_path / f"{count}.{kind}"
        code, error, peak = command("convert", source, "--to", form, "--out", out)
        assert (code, error) == (0, "")
        peaks.append(peak)
    assert peaks[1] - peaks[0] < ROOM_MB, peaks
