"""Intervals, checked against textbook figures and properties they must have."""

import math

import numpy as np
import polars as pl
import pytest

from train.evaluation.intervals import Estimate, difference, length_controlled, mean, proportion


def test_wilson_of_independent_values() -> None:
    values = pl.Series([1.0] * 8 + [0.0] * 2)
    found = proportion(values, pl.int_range(10, eager=True))
    assert found is not None
    assert (found.mean, found.n, found.clusters) == (0.8, 10, 10)
    assert (round(found.low, 2), round(found.high, 2)) == (0.49, 0.94)


def test_pairs_of_one_prompt_count_once() -> None:
    values = pl.Series(([1.0] * 10 + [0.0] * 10) * 5)
    alone = proportion(values, pl.int_range(100, eager=True))
    together = proportion(values, pl.Series([n // 10 for n in range(100)]))
    ten = proportion(pl.Series([1.0, 0.0] * 5), pl.int_range(10, eager=True))
    assert alone is not None
    assert together is not None
    assert ten is not None
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert together.high - together.low == pytest.approx(ten.high - ten.low, rel=0.1)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_values_are_not_certain(value: float) -> None:
    found = proportion(pl.Series([value] * 20), pl.Series([n // 10 for n in range(20)]))
    assert found is not None
    assert found.high - found.low > 0.5  # only two prompts


def test_only_nulls() -> None:
    nothing, groups = pl.Series([None, None], dtype=pl.Float64), pl.Series([0, 1])
    assert proportion(nothing, groups) is None
    assert mean(nothing, groups) is None
    assert length_controlled(nothing, nothing, groups) is None


def test_mean_and_difference() -> None:
    found = mean(pl.Series([1.0, 2.0, 3.0, 4.0, None]), pl.int_range(5, eager=True))
    assert found is not None
    half = 1.959964 * math.sqrt(5 / 3 / 4)
    assert (found.mean, found.low, found.high) == pytest.approx((2.5, 2.5 - half, 2.5 + half))
    assert difference(Estimate(0.8, 0.7, 0.9, 1, 1), Estimate(0.6, 0.5, 0.7, 1, 1)) == pytest.approx(
        (0.2, 0.2 - math.sqrt(0.02), 0.2 + math.sqrt(0.02))
    )


def test_a_win_rate_due_to_length_vanishes_at_equal_length() -> None:
    random = np.random.default_rng(0)
    longer = random.normal(50, 100, 400)  # mostly longer, and the longer one mostly wins
    wins = pl.Series((random.random(400) < 1 / (1 + np.exp(-3 * np.tanh(longer / 100)))).astype(float))
    groups = pl.int_range(400, eager=True)
    plain, controlled = proportion(wins, groups), length_controlled(wins, pl.Series(longer), groups)
    assert plain is not None
    assert controlled is not None
    assert plain.low > 0.55
    assert controlled.low < 0.5 < controlled.high
    same = length_controlled(wins, pl.Series([0.0] * 400), groups)
    assert same is not None
    assert same.mean == pytest.approx(plain.mean, abs=1e-3)


def test_only_wins_stays_finite() -> None:
    found = length_controlled(pl.Series([1.0] * 5), pl.Series([1.0, 2.0, 3.0, 4.0, 5.0]), pl.int_range(5, eager=True))
    assert found is not None
    assert 0.9 < found.mean < 1
