"""The length of a text."""

import polars as pl

from curate.signals.length import chars, empty, lines

TEXTS = pl.DataFrame({"text": ["não 🙂", "one\ntwo\n", "", " \t\n\u00a0", "\u200b", None]})


def test_chars_are_code_points() -> None:
    assert TEXTS.select(chars(pl.col("text"))).to_series().to_list() == [5, 8, 0, 4, 1, None]


def test_lines_are_one_more_than_line_breaks() -> None:
    assert TEXTS.select(lines(pl.col("text"))).to_series().to_list() == [1, 3, 1, 2, 1, None]


def test_empty_is_white_space_only() -> None:
    assert TEXTS.select(empty(pl.col("text"))).to_series().to_list() == [False, False, True, True, False, None]
