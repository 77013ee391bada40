"""Threads as an engine, and blocks."""

import time
from collections.abc import Iterator
from functools import partial

import polars as pl
import pytest

from curate.engine import Block, Threads, ahead, sliced, starts_of


def slow_square(number: int) -> int:
    time.sleep(0.02 if number == 0 else 0)
    return number * number


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    assert list(Threads(workers).map(slow_square, iter(range(6)))) == [0, 1, 4, 9, 16, 25]
    assert list(Threads(workers).map(slow_square, [])) == []
    assert list(Threads(workers).map(slow_square, [3])) == [9]


def test_an_error_ends_the_work() -> None:
    done: list[int] = []

    def check(number: int) -> int:
        if number == 1:
            raise ValueError("one")
        done.append(number)
        return number

    with pytest.raises(ValueError, match="one"):
        list(Threads(1).map(check, range(100)))
    assert len(done) < 5


def test_few_items_are_taken_before_they_are_needed() -> None:
    items = iter(range(100))
    results = Threads(2).map(slow_square, items)
    assert next(results) == 0
    assert next(items) <= 5


def test_ahead_yields_the_same_and_raises_the_same() -> None:
    def items() -> Iterator[str]:
        yield from "ab"
        raise ValueError("c")

    found = ahead(items())
    assert [next(found), next(found)] == ["a", "b"]
    with pytest.raises(ValueError, match="c"):
        next(found)


def test_blocks_know_their_rows_and_are_changed_where_they_are_read() -> None:
    read: list[int] = []

    def rows(start: int) -> pl.DataFrame:
        read.append(start)
        return pl.DataFrame({"n": [start, start + 1]})

    blocks = [Block(2, partial(rows, start)).then(lambda frame: frame.get_column("n") * 10) for start in (0, 2)]
    assert starts_of(blocks) == [0, 2, 4]
    assert read == []
    assert [block.read().to_list() for block in blocks] == [[0, 10], [20, 30]]
    assert read == [0, 2]


def test_a_frame_and_a_series_in_slices() -> None:
    assert [block.read().to_list() for block in sliced(pl.Series([1, 2, 3]), 2)] == [[1, 2], [3]]
    assert [block.rows for block in sliced(pl.DataFrame({"a": [1, 2, 3]}), 2)] == [2, 1]
    assert sliced(pl.Series([])) == []
