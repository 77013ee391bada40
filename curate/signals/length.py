"""The length of a text. Words are counted in `repetition`, which needs them anyway."""

import polars as pl

from curate.signals.base import Signal


def chars(text: pl.Expr) -> pl.Expr:
    """Number of characters (Unicode code points)."""
    return text.str.len_chars()


def lines(text: pl.Expr) -> pl.Expr:
    """Number of lines; an empty text has one."""
    return text.str.count_matches("\n", literal=True) + 1


def empty(text: pl.Expr) -> pl.Expr:
    """Is empty or contains only white space."""
    return ~text.str.contains(r"\S")


TEXT = tuple(map(Signal.of_text, (chars, lines, empty)))
