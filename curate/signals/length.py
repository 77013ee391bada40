"""How long a text is. Words are counted in `repetition`, which has them at hand."""

import polars as pl

from curate.signals.base import Signal


def chars(text: pl.Expr) -> pl.Expr:
    """Characters (Unicode code points)."""
    return text.str.len_chars()


def lines(text: pl.Expr) -> pl.Expr:
    """Lines; an empty text has one."""
    return text.str.count_matches("\n", literal=True) + 1


def empty(text: pl.Expr) -> pl.Expr:
    """Nothing but white space."""
    return ~text.str.contains(r"\S")


TEXT = tuple(map(Signal.of_text, (chars, lines, empty)))
