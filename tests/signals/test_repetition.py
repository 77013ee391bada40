"""Repetition compared with the same definitions in plain Python, on texts of few words, where much repeats."""

from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.signals.repetition import ABOUT, repetition
from curate.text.tokens import words

Row = dict[str, float | None]


def measured(*texts: str | None) -> list[Row]:
    series = pl.Series(texts, dtype=pl.String)
    rows: list[Row] = repetition(series, words(series)).to_dicts()
    return rows


def test_the_columns_are_those_of_about() -> None:
    assert set(measured("a")[0]) == set(ABOUT)


def test_a_text_that_repeats_one_phrase() -> None:
    assert measured("one two three four " * 5) == [
        {
            "words": 20,
            "mean_word_chars": pytest.approx(3.75),
            "distinct_word_share": pytest.approx(0.2),
            "top_2gram_share": 0.5,
            "top_3gram_share": pytest.approx(0.75),
            "top_4gram_share": 1.0,
            "dup_5gram_share": 1.0,
            "dup_10gram_share": 1.0,
            "dup_line_share": None,
        }
    ]


def test_a_text_that_repeats_nothing() -> None:
    assert measured(" ".join(f"w{i:02}" for i in range(20))) == [
        {
            "words": 20,
            "mean_word_chars": 3.0,
            "distinct_word_share": 1.0,
            "top_2gram_share": 0.0,
            "top_3gram_share": 0.0,
            "top_4gram_share": 0.0,
            "dup_5gram_share": 0.0,
            "dup_10gram_share": 0.0,
            "dup_line_share": None,
        }
    ]


def test_shares_need_twenty_words() -> None:
    short, enough = measured("a b " * 9 + "a", "a b " * 10)
    shares = [name for name in ABOUT if "gram" in name]
    assert [short[name] for name in shares] == [None] * 5
    assert [enough[name] for name in shares] == [1.0] * 5


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("a\nb\na\n\n a \nb", 0.6),
        ("a\nb\nc\nd", 0.0),
        ("a\na\na", None),
        ("a\na\na\n \n", None),
        ("a\nA\nb\nc", 0.0),
    ],
)
def test_dup_line_share(text: str, share: float | None) -> None:
    assert measured(text)[0]["dup_line_share"] == pytest.approx(share)


def test_a_character_is_a_word_in_scripts_without_spaces() -> None:
    assert measured("你好，世界。你好")[0]["words"] == 6
    assert measured("你好" * 10)[0]["top_2gram_share"] == 1.0


def test_null_is_not_measured_and_an_empty_text_has_no_words() -> None:
    null, empty = measured(None, "")
    assert list(null.values()) == [None] * len(ABOUT)
    assert empty == dict.fromkeys(ABOUT) | {"words": 0}


# ---- the same in plain Python ----

WORDS = ["a", "b", "no", "É", "don’t", "don't", "日"]
GAPS = [" ", "  ", ", ", "\n", "\n\n", '." (', "¿"]
TEXTS = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)), max_size=70).map(
    lambda parts: "".join(word + gap for word, gap in parts)
)
FEW_WORDS = st.lists(st.sampled_from(["a ", "b ", "c\n"]), min_size=15, max_size=120).map("".join)


def plain_words(text: str) -> list[str]:
    for mark in '\n,."(¿':
        text = text.replace(mark, " ")
    return text.lower().replace("’", "'").replace("日", " 日 ").split()


def plain(text: str | None) -> Row:
    if text is None:
        return dict.fromkeys(ABOUT)
    found = plain_words(text)
    total = len(found)
    row: Row = dict.fromkeys(ABOUT) | {"words": total}
    if total:
        row["mean_word_chars"] = sum(map(len, found)) / total
        row["distinct_word_share"] = len(set(found)) / total
    if total >= 20:
        for n in (2, 3, 4):
            most = max(ngrams(found, n).values())
            row[f"top_{n}gram_share"] = min(most * n / total, 1) if most > 1 else 0
        for n in (5, 10):
            row[f"dup_{n}gram_share"] = sum(c for c in ngrams(found, n).values() if c > 1) / (total - n + 1)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) >= 4:
        row["dup_line_share"] = 1 - len(set(lines)) / len(lines)
    return row


def ngrams(found: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(found[i : i + n]) for i in range(len(found) - n + 1))


def approximately(row: Row) -> dict[str, Any]:
    return {name: None if value is None else pytest.approx(value, abs=1e-6) for name, value in row.items()}


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.none() | TEXTS | FEW_WORDS, max_size=4))
def test_repetition_agrees_with_plain_python(texts: list[str | None]) -> None:
    assert measured(*texts) == [approximately(plain(text)) for text in texts]
