"""
Repetition as in Gopher (Rae et al. 2021, arXiv 2112.11446, table A1), but in words where Gopher counts characters.

Shares are null for texts of fewer than 20 words: a short text repeats nothing or everything.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from curate.signals.base import SIDES, Signal
from curate.text.arrays import GOLDEN
from curate.text.tokens import Tokens, distinct, maybe_repeated, row_of, text_lines

MIN_WORDS = 20
MIN_LINES = 4
TOP = (2, 3, 4)
DUPLICATE = (5, 10)

ABOUT = {
    "words": "Number of words; in scripts without spaces, of characters.",
    "mean_word_chars": "Mean length of a word in characters; null without words.",
    "distinct_word_share": "Distinct words over all words; null without words. Decreases with the length of any text.",
    "top_2gram_share": "Share of words covered by the most frequent 2-gram (0 if none occurs twice).",
    "top_3gram_share": "Share of words covered by the most frequent 3-gram (0 if none occurs twice).",
    "top_4gram_share": "Share of words covered by the most frequent 4-gram (0 if none occurs twice).",
    "dup_5gram_share": "Share of 5-grams that occur more than once.",
    "dup_10gram_share": "Share of 10-grams that occur more than once.",
    "dup_line_share": "Share of non-blank lines that repeat an earlier one; null for fewer than 4 such lines.",
}


def repetition(texts: pl.Series, tokens: Tokens) -> pl.DataFrame:
    """Return one row per text, the columns of ABOUT: `words` u32, all others f32."""
    total = tokens.counts.astype(np.float64)
    enough = tokens.counts >= MIN_WORDS
    unique = np.bincount(row_of(tokens.vocabulary), minlength=len(total))
    columns = {
        "mean_word_chars": _ratio(tokens.chars, total, total > 0),
        "distinct_word_share": _ratio(unique, total, total > 0),
    }
    top = {n: np.zeros(len(total)) for n in TOP}
    repeated = {n: np.zeros(len(total)) for n in DUPLICATE}
    for n, keys, times in _repeated_ngrams(tokens, max(DUPLICATE)):
        if n in TOP:
            np.maximum.at(top[n], row_of(keys), times)
        if n in DUPLICATE:
            np.add.at(repeated[n], row_of(keys), times)
    for n, most in top.items():
        columns[f"top_{n}gram_share"] = np.minimum(_ratio(most * n, total, enough), 1.0)
    for n, times in repeated.items():
        columns[f"dup_{n}gram_share"] = _ratio(times, np.maximum(total - n + 1, 1), enough)
    columns["dup_line_share"] = _dup_lines(texts)
    shares = {name: pl.Series(name, values, dtype=pl.Float32, nan_to_null=True) for name, values in columns.items()}
    words = pl.Series(tokens.counts, dtype=pl.UInt32).set(texts.is_null(), None)
    return pl.DataFrame({"words": words, **shares})


def _repeated_ngrams(tokens: Tokens, longest: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield n = 2, 3, …, the (row, n-gram) keys that occur more than once, and how often; for some rows at a time."""
    ends = np.repeat(np.cumsum(tokens.counts), tokens.counts)
    for start, stop in tokens.spans():
        place, grams = np.arange(start, stop), tokens.hashes[start:stop]
        for n in range(2, longest + 1):
            # The n-gram at a place repeats only if the (n-1)-gram there does, so each round has fewer places to check.
            inside = place + n <= ends[place]
            place, grams = place[inside], grams[inside] * GOLDEN + tokens.hashes[place[inside] + n - 1]
            repeated = maybe_repeated(tokens.rows[place], grams)
            place, grams = place[repeated], grams[repeated]
            keys, times = distinct(tokens.rows[place], grams)
            yield n, keys[times > 1], times[times > 1]


def _dup_lines(texts: pl.Series) -> np.ndarray:
    lines = text_lines(texts)
    unique = np.bincount(row_of(lines.vocabulary), minlength=len(lines.counts))
    total = lines.counts.astype(np.float64)
    return _ratio(total - unique, total, lines.counts >= MIN_LINES)


def _ratio(part: np.ndarray, whole: np.ndarray, where: np.ndarray) -> np.ndarray:
    shares: np.ndarray = np.divide(part, whole, out=np.full(len(whole), np.nan), where=where)
    return shares


CHARTED = {
    "words": ("chosen", "rejected"),
    "distinct_word_share": ("chosen",),
    "top_3gram_share": ("chosen",),
    "dup_5gram_share": ("chosen",),
}
ON_CARD = {"words": SIDES, "distinct_word_share": ("chosen",)}
TEXT = tuple(
    Signal(name, about, repetition, "texts", SIDES, CHARTED.get(name, ()), ON_CARD.get(name, ()))
    for name, about in ABOUT.items()
)
