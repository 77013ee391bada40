"""A user-defined signal: one function and one line, and it is measured, filtered, charted and shown on the card."""

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.errors import RecipeError
from curate.schema import PAIR
from curate.signals import COLUMNS, SIGNALS, Signal, as_signal, measure
from curate.sources import convert
from curate.sources.formats import detect
from tests.data import row, write_jsonl
from tests.staged import block_of


def exclamations(text: pl.Expr) -> pl.Expr:
    """Number of exclamation marks."""
    return text.str.count_matches("!", literal=True)


def longer_by() -> pl.Expr:
    """Number of characters that chosen is longer than rejected."""
    return pl.col("chosen_chars").cast(pl.Int64) - pl.col("rejected_chars")


def model_score(pairs: pl.DataFrame) -> pl.Series:
    return pl.Series([len(text) for text in pairs["chosen_text"]])


def pairs_of(*rows: dict[str, str]) -> pl.DataFrame:
    raw = block_of(*rows)
    return convert(raw, detect(raw.columns), "rows").select(list(PAIR))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Signal:
    signal = Signal.of_text(exclamations, charted=("chosen",), on_card=("chosen",))
    monkeypatch.setitem(SIGNALS, signal.name, signal)
    for column in signal.columns:
        monkeypatch.setitem(COLUMNS, column, signal)
    return signal


def test_the_command_measures_filters_and_shows_it(tmp_path: Path, toy: Signal) -> None:
    rows = [row(n, chosen=f"Answer {n}: it is so.{'!' * n}") for n in range(6)]
    write_jsonl(tmp_path / "p.jsonl", rows)
    run = tmp_path / "RUN"
    sets = ["--set", "rules.max_chosen_exclamations=3", "--set", "split.test=0"]
    done = CliRunner().invoke(app, ["clean", str(tmp_path / "p.jsonl"), "-o", str(run), *sets])
    assert done.exit_code == 0, done.output
    ledger = pl.read_parquet(run / "ledger.parquet")
    dropped = ledger.filter(rule="max_chosen_exclamations")
    assert dropped.select("source_row", "value").rows() == [(4, 4.0), (5, 5.0)]
    assert "Number of exclamation marks." in (run / "report.html").read_text("utf-8")
    assert "chosen_exclamations" in (run / "README.md").read_text("utf-8")
    listed = CliRunner().invoke(app, ["signals", "--json"])
    assert '"signal": "exclamations"' in listed.output


def test_as_signal_decides_by_the_parameters() -> None:
    signals = [as_signal(function) for function in (exclamations, longer_by, model_score)]
    assert [signal.kind for signal in signals] == ["text", "pair", "block"]
    pairs = pairs_of(row(1, chosen="Yes! Yes!", rejected="No."))
    assert measure(pairs, signals).to_dicts() == [
        {
            "prompt_exclamations": 0,
            "chosen_exclamations": 2,
            "rejected_exclamations": 0,
            "longer_by": 6,
            "model_score": 9,
        }
    ]


def test_a_block_is_known_by_its_name_or_by_its_type() -> None:
    def by_name(pairs):
        return pairs["chosen_text"].str.len_chars()

    def by_type(block: pl.DataFrame) -> pl.Series:
        return block["chosen_text"].str.len_chars()

    def by_quoted_type(block: "pl.DataFrame") -> pl.Series:
        return by_type(block)

    assert [as_signal(function).kind for function in (by_name, by_type, by_quoted_type)] == ["block"] * 3


def test_a_signal_is_charted_only_on_request() -> None:
    for signal in (Signal.of_pair(longer_by), Signal.of_text(exclamations)):
        assert (signal.charted_columns, signal.card_columns, signal.counted) == ((), (), False)
    shown = Signal.of_pair(longer_by, charted=True, on_card=True)
    assert (shown.charted_columns, shown.card_columns) == (("longer_by",), ("longer_by",))


def test_only_requested_signals_and_their_dependencies_are_measured() -> None:
    pairs = pairs_of(row(1, chosen="Yes! Yes!", rejected="No."))
    assert measure(pairs, [SIGNALS["chars_ratio"]]).to_dict(as_series=False) == {"chars_ratio": [3.0]}
    assert measure(pairs, []).columns == []


def test_other_signatures_are_an_error() -> None:
    def two(chosen: pl.Expr, rejected: pl.Expr) -> pl.Expr:
        return chosen == rejected

    with pytest.raises(RecipeError, match="expected no parameter, or one: text or pairs"):
        as_signal(two)
    with pytest.raises(RecipeError, match="cannot be a column"):
        as_signal(lambda text: text)
