"""MinHash sketches: bands from the threshold, minima that estimate the similarity, the same in every run."""

import numpy as np
import polars as pl
import pytest

from curate.dedup.minhash import MISS_RATE, SLOTS, banding, digests, joined, make_plan, sketch
from curate.errors import InputError
from curate.text.shingles import shingles


@pytest.mark.parametrize("threshold", [0.04, 0.1, 0.3, 0.5, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99, 1.0])
def test_bands_hardly_miss_a_pair_at_the_threshold(threshold: float) -> None:
    bands, rows, slots = banding(threshold)
    assert (1 - threshold**rows) ** bands <= MISS_RATE
    assert bands * rows <= slots <= SLOTS[-1]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (1, (1, 64, 64)),  # as many rows as there are minima
        (0.9, (8, 7, 64)),
        (0.8, (12, 5, 64)),  # the default
        (0.75, (13, 4, 64)),
        (0.7, (17, 4, 128)),  # 64 minima would allow three rows, which are too few
        (0.5, (35, 3, 128)),
        (0.05, (90, 1, 128)),
    ],
)
def test_bands_rows_and_minima_of_a_threshold(threshold: float, expected: tuple[int, int, int]) -> None:
    assert banding(threshold) == expected


@pytest.mark.parametrize("threshold", [0.03, 1e-3, 1e-30])
def test_a_very_low_threshold_gets_the_most_bands(threshold: float) -> None:
    assert banding(threshold) == (128, 1, 128)


def test_bands_can_be_given() -> None:
    plan = make_plan(0.8, 3, (20, 4), seed=1)
    assert (plan.bands, plan.rows, plan.slots) == (20, 4, 80)
    assert sketch(pl.Series(["a b c d"]), plan).keys.shape == (1, 20)


def test_the_least_and_greatest_values() -> None:
    plan = make_plan(1.0, 1, (1, 1), seed=1)
    assert (plan.threshold, plan.size, plan.bands, plan.rows, plan.slots) == (1.0, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0.0, 3, None), "threshold is 0, expected more than 0 and at most 1"),
        ((1.1, 3, None), "threshold is 1.1, expected more than 0 and at most 1"),
        ((0.8, 0, None), "shingle_size is 0, expected 1 or more"),
        ((0.8, 3, (0, 5)), "bands is (0, 5), expected (bands, minima per band), each 1 or more"),
    ],
)
def test_values_out_of_range(arguments: tuple[float, int, tuple[int, int] | None], said: str) -> None:
    with pytest.raises(InputError) as error:
        make_plan(*arguments, seed=1)
    assert str(error.value) == said


def test_minima_estimate_the_similarity() -> None:
    words = [f"w{number}" for number in range(1200)]
    texts = pl.Series([" ".join(words[:1000]), " ".join(words[200:])])  # 996 shingles of 1,198 in all; 798 shared
    minima = digests(shingles(texts), slots=2048, seed=3)
    assert abs(np.mean(minima[0] == minima[1]) - 798 / 1198) < 0.04


def test_a_sketch_is_small() -> None:
    whole = sketch(pl.Series(["a b c d e f g"] * 10), make_plan(0.8, 3, None, seed=1))
    assert sum(getattr(whole, name).nbytes for name in ("fingerprints", "counts", "keys", "minima")) == 10 * 172


def test_a_sketch_does_not_depend_on_the_block() -> None:
    texts = ["one two three four", "", "x", "one two three four", "ONE two, three four!", "x"]
    plan = make_plan(0.8, 3, None, seed=1)
    whole = sketch(pl.Series(texts), plan)
    parts = joined((sketch(pl.Series([text]), plan) for text in texts), plan)
    for name in ("fingerprints", "counts", "keys", "minima"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))
    assert len(joined([], plan).fingerprints) == 0
