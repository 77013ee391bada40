"""Character classes. Every share is tested with a text that has some, and one that only seems to."""

from collections.abc import Callable

import polars as pl
import pytest

from curate.signals.characters import (
    TEXT,
    alpha_share,
    control_chars,
    digit_share,
    symbol_share,
    upper_share,
    zero_width,
)

Signal = Callable[[pl.Expr], pl.Expr]


def value(signal: Signal, text: str | None) -> float | None:
    measured: float | None = (
        pl.DataFrame({"text": [text]}, schema={"text": pl.String}).select(signal(pl.col("text"))).item()
    )
    return measured


@pytest.mark.parametrize(
    ("signal", "text", "share"),
    [
        (alpha_share, "abc1 .", 0.5),
        (alpha_share, "éçñ你", 1.0),
        (alpha_share, "e\u0301", 1.0),  # a letter and its combining mark
        (alpha_share, "1 + 1 = 2", 0.0),
        (digit_share, "a1²Ⅷ", 0.75),
        (digit_share, "one two", 0.0),
        (symbol_share, "a, b", 0.25),
        (symbol_share, "$€🙂¿", 1.0),
        (symbol_share, "é 1\n", 0.0),
        (upper_share, "AÉb ", 0.5),
        (upper_share, "aéß你", 0.0),
    ],
)
def test_shares_are_of_all_characters(signal: Signal, text: str, share: float) -> None:
    assert value(signal, text) == share


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a\x00b\ufffd\x7f\x1b\x9f\uffff", 6),
        ("white space is none: \t\n\v\f\r\x85\u00a0", 0),
        ("nor is an emoji: 👩\u200d💻", 0),
    ],
)
def test_control_chars(text: str, count: int) -> None:
    assert value(control_chars, text) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("\ufeffa\u200bb\u2060\u180e", 4),
        ("joiners are needed: 👩\u200d💻 می\u200cخواهم", 0),
        ("plain text", 0),
    ],
)
def test_zero_width(text: str, count: int) -> None:
    assert value(zero_width, text) == count


@pytest.mark.parametrize("signal", [signal.function for signal in TEXT])
def test_null_is_not_measured(signal: Signal) -> None:
    assert value(signal, None) is None


@pytest.mark.parametrize("signal", [alpha_share, digit_share, symbol_share, upper_share])
def test_an_empty_text_has_no_shares(signal: Signal) -> None:
    assert value(signal, "") is None


@pytest.mark.parametrize("signal", [control_chars, zero_width])
def test_an_empty_text_has_a_count_of_zero(signal: Signal) -> None:
    assert value(signal, "") == 0
