"""Which prompts count as repetitions, and how the search scales."""

import random
import time

import pytest

from pipelines.prompts.novelty import Novelty, grams, plain

LONG = "how do i restore the files of last week from the backup on my second laptop"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How do I  restore it?\n", "how do i restore it"),
        ("„STRASSE“, Straße!", "strasse strasse"),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("snake_case", "snake case"),
        ("क्या यह ठीक है?", "क्या यह ठीक है"),
        ("Don’t!", "don t"),
        (" ?! ", "?!"),
        ("", ""),
    ],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a b c d", {"a b c", "b c d"}),
        ("a b", {"a b"}),
        ("怎样恢复昨天的文件", {"怎样恢复昨", "样恢复昨天", "恢复昨天的", "复昨天的文", "昨天的文件"}),
        ("怎样 恢复 文", {"怎样恢复文"}),
        ("ได้ไหม", {"ได้ไห", "ด้ไหม"}),
        ("こんにちは", {"こんにちは"}),
        ("sql 是 什么 呢", {"sql是什", "ql是什么", "l是什么呢"}),
        ("what does 是 mean", {"what does 是", "does 是 mean"}),
    ],
)
def test_grams(words: str, expected: set[str]) -> None:
    assert grams(words) == expected


@pytest.mark.parametrize(
    ("text", "new"),
    [
        (LONG, False),
        (f"  {LONG.upper()}?! ", False),
        (LONG.replace("second", "third"), False),  # 12 of 18 3-grams
        (LONG.replace("second", "third").replace("week", "year"), True),  # 9 of 21
        ("how do i restore the files of last week", True),
        ("restore", True),
        ("", True),
    ],
)
def test_the_share_of_3_grams_decides(text: str, new: bool) -> None:
    assert Novelty(0.6, [LONG]).add(text) is new


def test_the_bound_itself_is_new() -> None:
    a, b = "a b c d e f", "a b c d e g"  # 3 of 5 3-grams in common
    assert Novelty(0.6, [a]).add(b)
    assert not Novelty(0.59, [a]).add(b)
    assert Novelty(1.0, [a]).add(b)
    assert not Novelty(1.0, [a]).add("A b, c d e f!")


def test_only_added_texts_count() -> None:
    novelty = Novelty(0.6)
    near = LONG.replace("second", "third")
    further = near.replace("week", "year")  # too similar to `near`, not to LONG
    assert [novelty.add(text) for text in (LONG, near, LONG, further, further)] == [True, False, False, True, False]


def test_it_equals_exhaustive_comparison() -> None:
    draw = random.Random(3)
    texts = [" ".join(draw.choices("abcdefgh", k=draw.randint(1, 8))) for _ in range(400)]
    for bound in (0.1, 0.5, 0.7, 1.0):
        novelty, kept, expected = Novelty(bound), dict[str, frozenset[str]](), list[bool]()
        for text in texts:
            mine = grams(text)
            expected.append(
                text not in kept and all(len(mine & other) / len(mine | other) <= bound for other in kept.values())
            )
            if expected[-1]:
                kept[text] = mine
        assert [novelty.add(text) for text in texts] == expected


@pytest.mark.slow
def test_ten_thousand_prompts_with_the_same_beginning_are_compared_quickly() -> None:
    draw = random.Random(4)
    words = [f"w{number}" for number in range(2000)]
    texts = [f"how do i change the {' '.join(draw.choices(words, k=30))}" for _ in range(10_000)]
    started = time.process_time()
    novelty = Novelty(0.7)
    assert all([novelty.add(text) for text in texts])  # noqa: C419 - all must be added
    assert time.process_time() - started < 10
