"""The form of a text: code fences, markdown, reasoning blocks, and texts that stop in the middle."""

import polars as pl

from curate.signals.base import RESPONSES, Signal
from curate.signals.length import lines
from curate.signals.patterns import pattern

# Lines that need no full stop: list items, headings, quotes, table rows, fences, labels, lines that end in a link or a
# hashtag, and quotations with their author.
NOT_RUNNING = r"""^\s*(?:[-*+•>|#`~=\[]|\d+[.)]|\*\*|https?://)|https?://\S+\z|[#@]\S+\z| \| |["”] ?[-–—~(]"""
RUNNING_CHARS = 60
LAST_CHARS = 300  # of a text: enough to judge its last line


def open_fence(text: pl.Expr) -> pl.Expr:
    """Contains a code fence (```) that is opened and not closed."""
    return text.str.count_matches(r"(?m)^[ \t]*(?:[-*>][ \t]+|[0-9]+\.[ \t]+)?```") % 2 == 1


def think(text: pl.Expr) -> pl.Expr:
    """Contains the tag of a reasoning block, opening or closing: <think>, <thinking> or <reasoning>."""
    return text.str.contains(r"(?i)</?(?:think|thinking|reasoning)>")


def markdown_share(text: pl.Expr) -> pl.Expr:
    """Share of lines that start with markdown syntax: heading, list item, quote, table row, fence."""
    marked = text.str.count_matches(r"(?m)^[ \t]*(?:#{1,6} |[-*+] |[0-9]+[.)] |> |\||```)")
    return (marked / lines(text)).cast(pl.Float32)


def ends_midsentence(text: pl.Expr) -> pl.Expr:
    """
    Stops inside a sentence: the last line is running text of 60 characters or more and ends with a comma, with a word
    that cannot end a sentence ("and", "the"), or without a full stop although its other sentences have one.
    """
    # Most texts end in a full stop. For them `last` is null, and the patterns skip nulls.
    end = text.str.strip_chars_end().str.tail(LAST_CHARS)
    open_end = end.str.tail(1).str.contains(r"[\p{L},]")
    last = pl.when(open_end).then(end).str.extract(r"([^\n]*)\z", 1)
    running = (last.str.len_chars() >= RUNNING_CHARS) & ~last.str.contains(NOT_RUNNING)
    comma = last.str.ends_with(",")
    dangling = last.str.tail(20).str.to_lowercase().str.contains(pattern("dangling"))
    unstopped = last.str.tail(1).str.contains(r"[\p{Ll}\p{Lo}]") & last.str.contains(r"[\p{Ll}\p{N}][.!?][\"”’')]? ")
    stops = (running & (comma | dangling | unstopped)).fill_null(value=False)
    return pl.when(text.is_not_null()).then(stops & ~open_fence(text))


TEXT = (
    Signal.of_text(open_fence),
    Signal.of_text(think),
    Signal.of_text(markdown_share, charted=("chosen",), on_card=("chosen",)),
)
RESPONSE = (Signal.of_text(ends_midsentence, RESPONSES),)
