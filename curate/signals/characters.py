"""The character classes of a text. Shares are of all characters, and null for an empty text."""

import polars as pl

from curate.signals.base import Signal


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return (part / pl.when(whole > 0).then(whole)).cast(pl.Float32)


def _count(text: pl.Expr, pattern: str) -> pl.Expr:
    return text.str.count_matches(pattern)


def _symbols(text: pl.Expr) -> pl.Expr:
    return _count(text, r"[^\p{L}\p{M}\p{N}\s]")


def alpha_share(text: pl.Expr) -> pl.Expr:
    """Share of letters of any script, including combining marks."""
    # Letters are most of any text, and counting all other characters is four times as fast. Of white space, three
    # characters are found by a scan of bytes, the whole class only by the regex engine.
    spaces = _count(text, "[ \n\t]") + _count(text, r"[\s--[ \n\t]]")
    others = _count(text, r"\p{N}") + _symbols(text) + spaces
    return _share(text.str.len_chars() - others, text.str.len_chars())


def digit_share(text: pl.Expr) -> pl.Expr:
    """Share of digits and other number characters."""
    return _share(_count(text, r"\p{N}"), text.str.len_chars())


def symbol_share(text: pl.Expr) -> pl.Expr:
    """Share of punctuation and symbols: neither letter, digit nor white space."""
    return _share(_symbols(text), text.str.len_chars())


def upper_share(text: pl.Expr) -> pl.Expr:
    """Share of upper-case letters."""
    return _share(_count(text, r"\p{Lu}"), text.str.len_chars())


def control_chars(text: pl.Expr) -> pl.Expr:
    """Number of replacement characters (U+FFFD), NUL and other control characters except white space."""
    return _count(text, "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ufffe\uffff]")


def zero_width(text: pl.Expr) -> pl.Expr:
    """Number of invisible characters that no script needs: zero-width space, word joiner, byte-order mark."""
    return _count(text, "[\u200b\u2060\ufeff\u180e]")


TEXT = (
    Signal.of_text(alpha_share, charted=("chosen",)),
    Signal.of_text(digit_share),
    Signal.of_text(symbol_share, charted=("chosen",)),
    Signal.of_text(upper_share),
    Signal.of_text(control_chars, counted=True),
    Signal.of_text(zero_width, counted=True),
)
