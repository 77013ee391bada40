"""Marks of form: code fences, markdown, reasoning blocks, a text that stops in the middle."""

import polars as pl

from curate.signals.length import lines

# A line that needs no full stop: list item, heading, quote, table row, fence, label, link, signature.
FORMAL_LINE = r"^\s*(?:[-*+•>|#`~=\[]|\d+[.)]|\*\*|https?://)"
LAST_CHARS = 300  # enough of a text's end to judge its last line by


def open_fence(text: pl.Expr) -> pl.Expr:
    """A code fence (```) that is opened and not closed."""
    return text.str.count_matches(r"(?m)^[ \t]*(?:[-*>][ \t]+|[0-9]+\.[ \t]+)?```") % 2 == 1


def think(text: pl.Expr) -> pl.Expr:
    """Holds a reasoning block: <think>, <thinking> or <reasoning>, opened or closed."""
    return text.str.contains(r"(?i)</?(?:think|thinking|reasoning)>")


def markdown_share(text: pl.Expr) -> pl.Expr:
    """Share of the lines that begin as markdown: heading, list item, quote, table row, fence."""
    marked = text.str.count_matches(r"(?m)^[ \t]*(?:#{1,6} |[-*+] |[0-9]+[.)] |> |\||```)")
    return (marked / lines(text)).cast(pl.Float32)


def ends_midsentence(text: pl.Expr) -> pl.Expr:
    """The last line is running text of 60 characters or more and ends in a letter, digit, comma or opening bracket."""
    last = text.str.strip_chars_end().str.tail(LAST_CHARS).str.extract(r"([^\n]*)\z", 1)
    stops = last.str.contains(r"[\p{Ll}\p{Lo}\p{N},;(\-–]\z")
    running = (last.str.len_chars() >= 60) & ~last.str.contains(FORMAL_LINE) & ~last.str.contains(r"https?://\S+\z")
    return stops & running & ~open_fence(text)


TEXT = (open_fence, think, markdown_share)
RESPONSE = (ends_midsentence,)
