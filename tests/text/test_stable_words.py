"""Stable word hashes: which words are equal, and that hashes never change."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text import stable_words as hashing
from curate.text.stable_words import runs
from tests.plain_overlap import words_of


def hashes_of(*texts: str | None) -> list[list[int]]:
    """Return the word hashes of every text."""
    found: list[list[int]] = []
    for _, words in runs(pl.Series(texts, dtype=pl.String)):
        found += [words.hashes[start:stop].tolist() for start, stop in pairwise(words.offsets)]
    return found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The QUICK, brown-fox!", "the quick brown fox"),
        ("don't don’t DON`T", "don t don t don t"),
        ("snake_case(x)==y2", "snake case x y2"),
        (" \t\nwhat…is—this ", "what is this"),
        ("Übermäßig ÉTÉ", "übermäßig été"),
        ("e\u0301te\u0301", "été"),  # composed or not
        ("Ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("ﬁne", "fine"),
        ("天气很好", "天 气 很 好"),
        ("Python 3で書く", "python 3 で 書 く"),
        ("สวัสดี", "ส ว ั ส ด ี"),
        ("हिन्दी भाषा", "हिन्दी भाषा"),
        ("ok 👍🏽 1️⃣ ❤️", "ok 1"),
        ("🎉🎉 !!! ---", ""),
        ("a\x00b\x10c@d[e{", "a b c d e"),
        ("", ""),
    ],
)
def test_word_boundaries(text: str, words: str) -> None:
    assert hashes_of(text) == hashes_of(words)
    assert len(hashes_of(text)[0]) == len(words.split())
    assert words_of(text) == words.split()


def test_words_of_different_letters_are_different() -> None:
    words = [
        "a",
        "b",
        "ab",
        "ba",
        "a1",
        "aa",
        "abcdefgh",
        "abcdefghi",
        "abcdefghabcdefgh",
        "一",
        "丠",
        "р",
        "ѡ",
        "é",
        "200000000",
        "1000000000",
    ]
    hashes = hashes_of(*words)
    assert len({one for (one,) in hashes}) == len(words)


def test_a_hash_covers_the_first_64_bytes_the_last_8_and_the_length() -> None:
    long = "x" * 100
    other = [long[:80] + "y" + long[81:], "y" + long[1:], long[:-1] + "y", long + "x", long[:63] + "y" + long[64:]]
    (first, same, *different) = (one for (one,) in hashes_of(long, *other))
    assert same == first
    assert first not in different
    assert len(set(different)) == 4


def test_hashes_never_change() -> None:
    """Saved indexes contain them: a change requires a new VERSION."""
    assert hashing.VERSION == 1
    words = next(runs(pl.Series(["Hello, wörld of incomprehensibilities 世"])))[1]
    assert words.hashes.tolist() == PINNED
    assert words.windows(3).tolist()[:1] == PINNED_WINDOW
    assert words.wholes(np.array([0])).tolist() == PINNED_WHOLE


PINNED = [17784872659964804860, 13688154788194661506, 13010248573285145406, 16636984071471009182, 1987866821298342115]
PINNED_WINDOW = [488210379996627460]
PINNED_WHOLE = [11105398968395426225]


def test_null_and_empty_texts_have_no_words_and_the_input_is_not_modified() -> None:
    texts = pl.Series(["É", None, "", "a"])
    assert [len(words) for words in hashes_of(*texts)] == [1, 0, 0, 1]
    list(runs(texts))
    assert texts.to_list() == ["É", None, "", "a"]
    assert list(runs(pl.Series([], dtype=pl.String))) == []


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_windows_differ_by_words_and_order(size: int) -> None:
    letters = [chr(ord("a") + number) for number in range(20)]
    text = " ".join(letters)
    ((_, words),) = runs(pl.Series([text]))
    windows = words.windows(size).tolist()
    assert len(windows) == len(set(windows)) == 20 - size + 1
    for place in (0, 20 - size):
        ((_, alone),) = runs(pl.Series([" ".join(letters[place : place + size])]))
        assert alone.windows(size).tolist() == [windows[place]]
        assert size == 1 or alone.windows(size + 1).tolist() == []
    ((_, turned),) = runs(pl.Series([" ".join(reversed(letters))]))
    assert size == 1 or not set(turned.windows(size).tolist()) & set(windows)


ALPHABET = st.sampled_from([*"aB1 \n.'_-é²ß漢เ👍ｗ\u0301", "longerthaneight", "É"])


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(ALPHABET, max_size=30).map("".join), max_size=6))
def test_agrees_with_splitting_into_strings(texts: list[str]) -> None:
    expected = [[one for (one,) in hashes_of(*words)] for words in map(words_of, texts)]
    assert hashes_of(*texts) == expected


@pytest.mark.parametrize("size", [1, 7, 40])
def test_runs_consist_of_whole_texts(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["one two", "", "three" * 20, "四 five", None, "six"]
    together = hashes_of(*texts)
    monkeypatch.setattr(hashing, "RUN_BYTES", size)
    assert hashes_of(*texts) == together
    starts = [start for start, _ in runs(pl.Series(texts))]
    assert starts[0] == 0
    assert len(starts) > 1
