"""Word hashes for near-duplicates: which differences count, and that hashes never change."""

from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.text.normalized_words import words
from tests.dedup.edits import plain_words


def hashes(*texts: str) -> list[list[int]]:
    """Return the word hashes of every text."""
    flat, offsets = words(pl.Series(texts, dtype=pl.String))
    return [flat[start:stop].tolist() for start, stop in pairwise(offsets)]


@pytest.mark.parametrize(
    ("text", "apart"),
    [
        ("Hello, World!", "hello world"),
        ("  well-known\t**facts**\r\n\n", "well known facts"),
        ("it's it’s", "it s it s"),
        ("snake_case x.y", "snake case x y"),
        ("ÁRVORE ΟΔΟΣ Привет", "árvore οδος привет"),
        ("cafe\u0301", "café"),
        ("ＦＵＬＬ　ｗｉｄｔｈ １２", "full width 12"),
        ("zero\u200bwidth soft\u00adhyphen", "zerowidth softhyphen"),
        ("yes 👍️ no ❤️", "yes no"),
        ("“quoted” – dashed… §", "quoted dashed"),
        ("你好，世界。ab你c", "你 好 世 界 ab 你 c"),
        ("ありがとう", "あ り が と う"),
        ("ขอบคุณ", "ข อ บ ค ุ ณ"),
        ("𠀀𠀁", "𠀀 𠀁"),
        ("a\x00b\x7fc", "a b c"),
        ("1 - 2 × 3", "1-2*3"),
        ("x - y, 3 - z, -4", "x y 3 z 4"),
        ("2**3", "2 3"),
    ],
)
def test_word_boundaries(text: str, apart: str) -> None:
    assert hashes(text) == hashes(apart)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a b", "b a"),
        ("dont", "don t"),
        ("a", "á"),
        ("2 + 2", "2 - 2"),
        ("2 + 2", "2 2"),
        ("3*4", "3/4"),
        ("10^{2}", "10 2"),
        ("a" * 8, "a" * 9),
        ("a" * 16 + "b", "a" * 16 + "c"),
        ("a" * 8 + "b" * 8, "b" * 8 + "a" * 8),
        ("ab" * 20, "ba" * 20),
    ],
)
def test_different_words(one: str, other: str) -> None:
    first, second = hashes(one, other)
    assert first != second


def test_a_text_without_words_is_one_word_and_a_blank_one_has_none() -> None:
    exact = hashes("!!!", "???", "!!!", "❤️", "❤", "👍", "!!! ", "👍\u3000👎", "\u3000!\u00a0")
    assert [len(found) for found in exact] == [1] * 9
    assert len({found[0] for found in exact}) == 7  # emoji selectors are invisible, as are joiners
    assert hashes("", " ", "\n\t\u3000\u00a0", "\u200b\ufe0f", "\x00\x1f", "\u2003\u2028") == [[]] * 6


def test_words_do_not_depend_on_neighbouring_texts() -> None:
    texts = ["2", "+ 2", "- 3", "", "ab", "cd", "é", "漢", "漢字", "!", "1 *", "4", "x" * 50]
    alone = [hashes(text)[0] for text in texts]
    assert hashes(*texts) == alone
    assert hashes(*texts[::-1]) == alone[::-1]


def test_hashes_never_change() -> None:
    """Published clusters depend on them: changing these numbers changes the method."""
    assert hashes("Hello, wonderful international 漢字 2+2 !", "👍") == [
        [
            2618193241597299054,
            12536004936599235722,
            7347219120089573401,
            16808974419270841606,
            15894971291557938891,
            13477024926058894539,
            10451216379200822465,
            13477024926058894539,
        ],
        [1132284368610086680],
    ]


def test_the_input_is_not_modified() -> None:
    texts = pl.Series(["É", "a"])
    words(texts)
    assert texts.to_list() == ["É", "a"]


# Letters, marks, digits, signs and spaces of several scripts, without those whose lower case depends on position.
CHARACTERS = st.sampled_from("aZ09 .,-+*/^%<>=\n_é\u0301Éñ漢あกุकि़ب–“×👍\u200d\ufe0f\u200b½²ﬁＡß")


@given(st.lists(st.text(CHARACTERS, max_size=30), max_size=5))
def test_agrees_with_plain_python(texts: list[str]) -> None:
    found = hashes(*texts)
    expected = [plain_words(text) for text in texts]
    assert [len(each) for each in found] == [len(each) for each in expected]
    pairs = {
        (word, code)
        for codes, text in zip(found, expected, strict=True)
        for code, word in zip(codes, text, strict=True)
    }
    assert len(pairs) == len({word for word, _ in pairs}) == len({code for _, code in pairs})


def test_spaces_around_a_sign_are_ignored() -> None:
    sums = pl.Series(["2+2", "2 + 2", "2  +  2", "2   +\t 2", "2-2", "2"])
    hashes, offsets = words(sums)
    first, *others = (hashes[a:b].tolist() for a, b in pairwise(offsets))
    assert [other == first for other in others] == [True, True, True, False, False]
