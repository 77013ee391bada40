"""Differences between two texts, word by word."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.report.differences import differences

TEXTS = st.text(alphabet="ab c日本\n.", max_size=80)


@pytest.mark.parametrize(
    ("one", "two", "parts"),
    [
        ("red tea", "tea", ([("red", True), (" tea", False)], [("tea", False)])),
        (
            "I like Indonesian dishes, please",
            "I like Georgian  dishes, please",
            (
                [("I like ", False), ("Indonesian", True), (" dishes, please", False)],
                [("I like ", False), ("Georgian", True), ("  dishes, please", False)],
            ),
        ),
        ("お茶を買う", "お水を買う", (
            [("お", False), ("茶", True), ("を買う", False)], [("お", False), ("水", True), ("を買う", False)],
        )),
        ("the same", "the same", ([("the same", False)], [("the same", False)])),
        ("nothing alike here", "other words only", ([("nothing alike here", False)], [("other words only", False)])),
        ("a b c d e f", "f e d c b a", ([("a b c d e f", False)], [("f e d c b a", False)])),
        ("", "", ([], [])),
    ],
)  # fmt: skip
def test_words_that_differ_are_marked(one: str, two: str, parts: object) -> None:
    assert differences(one, two, 100) == parts


@given(TEXTS, TEXTS)
def test_the_parts_are_the_text(one: str, two: str) -> None:
    for text, parts in zip((one, two), differences(one, two, 1000), strict=True):
        assert "".join(part for part, _ in parts) == text


@given(TEXTS, TEXTS, st.integers(1, 40))
def test_what_is_shown_is_bounded(one: str, two: str, most: int) -> None:
    for parts in differences(one, two, most):
        assert sum(len(part) for part, _ in parts) <= most + len(
            "… (80 characters, the same in both)  … (80 more characters)"
        )


def test_a_late_difference_is_shown() -> None:
    start = "same words " * 1000
    one, two = differences(f"{start}red", f"{start}blue", 400)
    assert one == [("… (10,800 characters, the same in both) ", False), (f"{start[-200:]}", False), ("red", True)]
    assert two[-1] == ("blue", True)


@pytest.mark.parametrize(("one", "two"), [("a b " * 250_000, "b a " * 250_000), ("x" * 10**6, "x" * 10**6 + "y")])
def test_long_and_hostile_texts_take_little_time(one: str, two: str) -> None:
    started = time.perf_counter()
    differences(one, two, 1500)
    assert time.perf_counter() - started < 1
