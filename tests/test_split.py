"""A split is a function of the prompt's id and the salt alone."""

import polars as pl
import pytest

from curate.split import split

# The first 13 hex digits of sha256("0|a"), … over 16**13:
# a 0.197, b 0.477, c 0.113, d 0.781, e 0.526, é 0.674, f 0.243, g 0.108
IDS = ["a", "b", "c", "d", "e", "é", "f", "g"]


def sides(ids: list[str], *, test: float, salt: str = "0") -> list[str]:
    return split(pl.DataFrame({"prompt_id": ids}, schema={"prompt_id": pl.String}), test=test, salt=salt).to_list()


@pytest.mark.parametrize(
    ("salt", "test", "on_test"),
    [
        ("0", 0.25, "acfg"),
        ("0", 0.2, "acg"),
        ("0", 0.11, "g"),
        ("0", 0.6, "abcefg"),
        ("1", 0.25, "bég"),
        ("0", 0.0, ""),
        ("0", 1.0, "abcdeéfg"),
    ],
)
def test_sides_are_pinned(salt: str, test: float, on_test: str) -> None:
    assert sides(IDS, test=test, salt=salt) == ["test" if i in on_test else "train" for i in IDS]


def test_a_prompts_pairs_are_all_on_one_side() -> None:
    assert sides(["a", "b", "a", "b", "a"], test=0.25) == ["test", "train", "test", "train", "test"]


def test_adding_rows_moves_no_other_row() -> None:
    few = dict(zip(IDS, sides(IDS, test=0.25), strict=True))
    more = [f"new {i}" for i in range(100)] + IDS[::-1]
    assert dict(zip(more, sides(more, test=0.25), strict=True)).items() >= few.items()


def test_a_larger_share_only_moves_rows_to_test() -> None:
    ids = [str(i) for i in range(200)]
    small, large = (sides(ids, test=test) for test in (0.1, 0.3))
    assert {pair for pair in zip(small, large, strict=True) if pair[0] != pair[1]} == {("train", "test")}


def test_the_share_that_comes_out_is_about_the_one_asked_for() -> None:
    on_test = sides([str(i) for i in range(5_000)], test=0.1).count("test")
    assert 440 <= on_test <= 560


def test_no_rows_no_sides() -> None:
    empty = split(pl.DataFrame(schema={"prompt_id": pl.String}), test=0.1, salt="0")
    assert (empty.name, str(empty.dtype), len(empty)) == ("split", "String", 0)
