"""Word hashes for signals: equal hashes mean equal words, per row."""

import polars as pl
import pytest

from curate.text.blocks import CHUNK_BYTES
from curate.text.tokens import HASH_BITS, distinct, maybe_repeated, row_of, text_lines, words

Rows = list[list[str]]


def same_words(one: str, other: str) -> bool:
    """Return whether two texts have the same words in the same order."""
    first, second = (words(pl.Series([text])).hashes.tolist() for text in (one, other))
    return bool(first == second)


@pytest.mark.parametrize(
    ("text", "apart"),
    [
        ("Hello, World!", "hello world"),
        ("(yes) [no] **so** `x`", "yes no so x"),
        ("a\tb\nc\u00a0d\r\ne", "a b c d e"),
        ("a\u2003b\u2028c\vd\x85e", "a b c d e"),
        ("¿Qué? «sí» ¡no!", "qué sí no"),
        ("  spaces   between  ", "spaces between"),
        ("don’t", "don't"),
        ("你好，世界。", "你 好 世 界"),
        ("ab你c", "ab 你 c"),
        ("ありがとう", "あ り が と う"),
        ("ขอบคุณ", "ข อ บ ค ุ ณ"),
        ("ÁRVORE", "árvore"),
    ],
)
def test_word_boundaries(text: str, apart: str) -> None:
    assert same_words(text, apart)


@pytest.mark.parametrize(
    ("one", "other"), [("a b", "b a"), ("don't", "dont"), ("well-known", "well known"), ("a", "á")]
)
def test_different_words(one: str, other: str) -> None:
    assert not same_words(one, other)


def test_counts_rows_and_characters() -> None:
    tokens = words(pl.Series(["one two", None, "", "...", "你好", "three"]))
    assert tokens.counts.tolist() == [2, 0, 0, 0, 2, 1]
    assert tokens.rows.tolist() == [0, 0, 4, 4, 5]
    assert tokens.chars.tolist() == [6, 0, 0, 0, 2, 5]


def test_a_character_of_several_bytes_counts_once() -> None:
    tokens = words(pl.Series(["don’t", "¿Qué?", "naïve “café” 😀", "e\u0301", "Straße—ÁRVORE"]))
    assert tokens.chars.tolist() == [5, 3, 10, 2, 13]


def test_the_words_of_megabytes_of_text_are_those_of_each_text() -> None:
    texts = [f"Word{n} and MORE “{n}” 你好 " * (n % 300) for n in range(600)]
    whole, alone = words(pl.Series(texts)), [words(pl.Series([text])) for text in texts]
    assert sum(map(len, texts)) > 2 * CHUNK_BYTES
    assert len(list(whole.spans())) > 2
    assert whole.counts.tolist() == [tokens.counts[0] for tokens in alone]
    assert whole.hashes.tolist() == [value for tokens in alone for value in tokens.hashes.tolist()]
    vocabulary = [row << int(HASH_BITS) | key for row, tokens in enumerate(alone) for key in tokens.vocabulary.tolist()]
    assert whole.vocabulary.tolist() == vocabulary


@pytest.mark.parametrize("texts", [[], [None], ["", None]])
def test_without_words(texts: list[str | None]) -> None:
    tokens = words(pl.Series(texts, dtype=pl.String))
    assert tokens.counts.tolist() == [0] * len(texts)
    assert tokens.vocabulary.tolist() == []


def test_the_vocabulary_is_distinct_per_row() -> None:
    tokens = words(pl.Series(["a b A", "a", None, "b b"]))
    assert row_of(tokens.vocabulary).tolist() == [0, 0, 1, 3]


def test_lines_are_stripped() -> None:
    lines = text_lines(pl.Series([" a b \n\n \na b\nA b", None, ""]))
    assert lines.counts.tolist() == [3, 0, 0]
    assert lines.hashes[0] == lines.hashes[1] != lines.hashes[2]


def test_distinct_counts_within_a_row() -> None:
    tokens = words(pl.Series(["x y x x", "x"]))
    keys, times = distinct(tokens.rows, tokens.hashes)
    assert row_of(keys).tolist() == [0, 0, 1]
    assert sorted(times.tolist()) == [1, 1, 3]


def test_maybe_repeated_never_misses_a_repetition() -> None:
    tokens = words(pl.Series(["x y x z", "x"]))
    assert maybe_repeated(tokens.rows, tokens.hashes)[[0, 2]].tolist() == [True, True]
    assert maybe_repeated(tokens.rows[:0], tokens.hashes[:0]).tolist() == []
