"""Shingles: word n-grams, one set per text."""

from itertools import pairwise

import polars as pl
import pytest

from curate.text.shingles import HASH_BITS, shingle_sets, shingles


def found(*texts: str | None, size: int = 3) -> list[list[int]]:
    """Return the shingles of every text."""
    flat, offsets = shingles(pl.Series(texts, dtype=pl.String), size=size)
    return [flat[start:stop].tolist() for start, stop in pairwise(offsets)]


def test_three_consecutive_words() -> None:
    text, middle, last = found("One two three, four five.", "two three four", "three four five")
    assert text[1:] == middle + last
    assert len(text) == 3


def test_word_order_matters() -> None:
    one, other = found("a b c", "c b a")
    assert one != other


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_short_text_is_one_shingle(size: int) -> None:
    texts = [" ".join("abcdefg"[:count]) for count in range(8)]
    shingled = found(*texts, size=size)
    assert [len(each) for each in shingled] == [max(count - size + 1, min(count, 1)) for count in range(8)]
    short = [each[0] for each in shingled[1 : size + 1]]
    assert len(set(short)) == (1 if size == 1 else len(short))


@pytest.mark.parametrize("size", [4, 5, 8, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_block_with_fewer_words_than_a_shingle(size: int, count: int) -> None:
    assert [len(each) for each in found(" ".join("abc"[:count]), size=size)] == [min(count, 1)]


def test_blank_and_null_texts_have_none() -> None:
    assert found("", None, " \n") == [[], [], []]
    assert found() == []


def test_characters_are_the_words_of_scripts_without_spaces() -> None:
    text, part = found("我喜欢吃苹果", "喜欢吃")
    assert len(text) == 4
    assert part[0] == text[1]


def test_shingles_do_not_reach_into_the_next_text() -> None:
    texts = ["a b c d", "e", "", "f g", "h i j"]
    assert found(*texts) == [found(text)[0] for text in texts]


def test_sets_are_sorted_and_distinct() -> None:
    texts = pl.Series(["a b c a b c a b c", "", "x y z", "a b c"])
    hashes, offsets = shingle_sets(texts)
    sets = [hashes[start:stop].tolist() for start, stop in pairwise(offsets)]
    assert [len(each) for each in sets] == [3, 0, 1, 1]
    assert all(each == sorted(set(each)) for each in sets)
    assert sets[3][0] in sets[0]
    assert hashes.max() < 1 << int(HASH_BITS)
