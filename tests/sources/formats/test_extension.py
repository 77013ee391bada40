"""
A custom format: an object with `fields` and `to_pairs`, added in one line, is read by the command.

in : ask: str | stars: list of {text, stars}, of which the most and the fewest stars are the pair
out: PAIR
"""

import sys
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.sources.columns import Field
from curate.sources.formats import FORMATS, detect
from curate.sources.formats.comparison import orient
from curate.sources.raw_block import Columns
from tests.data import write_jsonl


def fields(columns: Columns) -> dict[str, Field] | None:
    if not {"ask", "first", "second", "stars"} <= set(columns):
        return None
    return {
        "prompt": Field("ask", "text"),
        "response_a": Field("first", "text"),
        "response_b": Field("second", "text"),
        "stars": Field("stars", "number", needed=False),
    }


def to_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    better = pl.when(pl.col("stars") > 0).then(pl.lit("a")).when(pl.col("stars") < 0).then(pl.lit("b"))
    return orient(frame, better)


ROWS = [
    {"ask": "Which tea?", "first": "Green tea, brewed cool.", "second": "Tea is a drink.", "stars": 2},
    {"ask": "Which coffee?", "first": "Coffee is a drink.", "second": "A light roast, ground fresh.", "stars": -1},
    {"ask": "Which water?", "first": "Still water.", "second": "Tap water.", "stars": 0},
]


@pytest.mark.slow
def test_the_command_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "stars", sys.modules[__name__])
    write_jsonl(tmp_path / "p.jsonl", ROWS)
    run = tmp_path / "RUN"
    arguments = ["clean", str(tmp_path / "p.jsonl"), "-o", str(run), "--set", "split.test=0"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "format stars" in done.output
    train = pl.read_parquet(run / "data" / "train-*.parquet")
    chosen = train["chosen"].list.first().struct.field("content").to_list()
    assert chosen == ["Green tea, brewed cool.", "A light roast, ground fresh."]
    ledger = pl.read_parquet(run / "ledger.parquet")
    assert ledger["rule"].to_list() == [None, None, "no_preference"]


def test_it_can_be_requested_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "stars", sys.modules[__name__])
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    assert detect(columns, "stars").name == "stars"
