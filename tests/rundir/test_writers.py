"""Shards and the ledger's rows."""

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from curate.rundir import writers
from curate.rundir.file_form import file_schema
from curate.rundir.writers import SplitWriter, arrow_schema, ledger_rows
from curate.schema import LEDGER, PAIR

MESSAGES = [{"role": "user", "content": "é"}]


def pairs(*rows: int) -> pl.DataFrame:
    values = {
        "pair_id": [str(row) for row in rows],
        "source": "s",
        "source_row": rows,
        "prompt": [MESSAGES] * len(rows),
    }
    frame = pl.DataFrame(values, schema_overrides={"prompt": PAIR["prompt"], "source_row": pl.UInt64})
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in PAIR.items() if name not in frame.columns]
    return frame.with_columns(missing).select(list(PAIR))


def test_full_shards_are_closed_and_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "SHARD_BYTES", 100)
    with SplitWriter(tmp_path, "train") as writer:
        for row in range(3):
            writer.write(pairs(row, row + 10))
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "train-00000-of-00003.parquet", "train-00001-of-00003.parquet", "train-00002-of-00003.parquet",
    ]  # fmt: skip
    read = pl.read_parquet(tmp_path / "train-*.parquet")
    assert read.get_column("pair_id").to_list() == ["0", "10", "1", "11", "2", "12"]
    assert (writer.rows, read.schema) == (6, file_schema(frozenset()))


def test_published_types_are_basic_arrow_types(tmp_path: Path) -> None:
    with SplitWriter(tmp_path, "test") as writer:
        writer.write(pairs(1))
    schema = pq.read_schema(tmp_path / "test-00000-of-00001.parquet")
    assert str(schema.field("prompt").type) == "list<element: struct<role: string, content: string>>"
    assert schema.names == [name for name in arrow_schema(PAIR).names if name != "tools"]


def test_a_split_that_was_never_written_leaves_no_file(tmp_path: Path) -> None:
    with SplitWriter(tmp_path, "test"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_rules_come_before_dedup_in_the_ledger() -> None:
    verdicts = pl.DataFrame(
        {
            "stage": [None, "rules", None],
            "rule": [None, "no_tie", None],
            "value": [None, 1.0, None],
            "reasons": [[], ["no_tie"], []],
        },
        schema={"stage": pl.String, "rule": pl.String, "value": pl.Float64, "reasons": pl.List(pl.String)},
    )
    drops = pl.DataFrame(
        {
            "rule": [None, None, "duplicate_pair"],
            "value": [None] * 3,
            "matched": [None, None, "0"],
            "stage": [None, None, "dedup"],
        },
        schema={"rule": pl.String, "value": pl.Float64, "matched": pl.String, "stage": pl.String},
    )
    rows = ledger_rows(pairs(0, 1, 2), verdicts, drops, pl.Series("split", ["train", "test", "train"]))
    assert rows.schema == LEDGER
    assert rows.rows() == [
        ("s", 0, "0", True, "train", None, None, None, None, []),
        ("s", 1, "1", False, None, "rules", "no_tie", 1.0, None, ["no_tie"]),
        ("s", 2, "2", False, None, "dedup", "duplicate_pair", None, "0", ["duplicate_pair"]),
    ]
