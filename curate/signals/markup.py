"""The form of a text: code fences, markdown, reasoning blocks, and texts that stop in the middle."""

import polars as pl

from curate.signals.base import RESPONSES, Signal
from curate.signals.length import lines
from curate.signals.patterns import pattern

# Lines that need no full stop: list items, headings, quotes, table rows, fences, labels, lines that end in a link or a
# hashtag, and quotations with their author.
NOT_RUNNING = (
    r"""^\s*(?:[-*+•>|#`~=\[]|\d+[.)]|\*\*|https?://)|https?://\S+\z|[#@]\S+\z| \| |["”] ?[-–—~(]|[.!?] [-–—~]"""
)
RUNNING_CHARS = 60
STOP = r"[\p{Ll}\p{N}][.!?][\"”’')]? "
# Most characters after the last full stop, by how many there are: a longer rest is mostly a whole sentence that only
# lacks its own, unless the writer sets them everywhere.
UNSTOPPED_CHARS = {1: 60, 3: 100}
# What a sentence may well end with: "what you are talking about", "anything else I can help you with".
STRANDED = (
    r"\b(?:what|who|whom|which|anything|something|nothing|everything|anyone|someone|things?)\b[^.!?,;:]{0,40}"
    r"\b(?:i|you|we|they|he|she|it)(?:['’][a-z]+)? (?:[a-z]+ ){1,3}(?:about|with|for|from|of)\z"
).replace(r"\b", r"(?-u:\b)")
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
    that cannot end a sentence ("and", "the"), or without a full stop within 60 characters after one (100 after three).
    """
    # Most texts end in a full stop. For them `last` is null, and the patterns skip nulls.
    end = text.str.strip_chars_end().str.tail(LAST_CHARS)
    open_end = end.str.tail(1).str.contains(r"[\p{L},]")
    last = pl.when(open_end).then(end).str.extract(r"([^\n]*)\z", 1)
    lowered = last.str.to_lowercase()
    complete = last.str.contains(NOT_RUNNING) | lowered.str.contains(STRANDED)
    running = (last.str.len_chars() >= RUNNING_CHARS) & ~complete
    comma = last.str.ends_with(",")
    dangling = lowered.str.tail(20).str.contains(pattern("dangling"))
    stops, rest = last.str.count_matches(STOP), last.str.extract(r"\s+([^.!?]*)\z").str.len_chars()
    short = pl.any_horizontal((stops >= least) & (rest <= most) for least, most in UNSTOPPED_CHARS.items())
    unstopped = last.str.tail(1).str.contains(r"[\p{Ll}\p{Lo}]") & short
    cut = (running & (comma | dangling | unstopped)).fill_null(value=False)
    return pl.when(text.is_not_null()).then(cut & ~open_fence(text))


TEXT = (
    Signal.of_text(open_fence),
    Signal.of_text(think),
    Signal.of_text(markdown_share, charted=("chosen",), on_card=("chosen",)),
)
RESPONSE = (Signal.of_text(ends_midsentence, RESPONSES),)
