"""Surface features: signals of both sides in, differences out."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.findings.features import WORDING, model_features, surface_features, surface_sides, wording
from curate.signals import SIGNALS


def test_counts_by_logarithm_shares_and_flags_as_they_are() -> None:
    frame = pl.DataFrame(
        {
            "chosen_words": pl.Series([3, 0], dtype=pl.UInt32),
            "rejected_words": pl.Series([1, 0], dtype=pl.UInt32),
            "chosen_digit_share": [0.5, 0.25],
            "rejected_digit_share": [0.25, 1.0],
            "chosen_refusal": [True, False],
            "rejected_refusal": [False, True],
        }
    )
    found = surface_features(frame)
    assert found.names == ("words", "digit_share", "refusal")
    assert found.x.round(6).tolist() == [[0.693147, 0.25, 1.0], [0.0, -0.75, -1.0]]


def test_what_no_pair_differs_in_and_what_is_no_surface_is_left_out() -> None:
    both = {"repeats_prompt": [True], "language_confidence": [0.5], "chars": [4], "score": [1.0]}
    frame = pl.DataFrame(
        {f"chosen_{name}": value for name, value in both.items()}
        | {"rejected_repeats_prompt": [False], "rejected_language_confidence": [0.1], "rejected_chars": [4]}
        | {"chosen_model": ["a"], "rejected_model": ["b"], "margin": [1.0]}
    )
    assert surface_features(frame).names == ()
    assert surface_features(frame).x.shape == (1, 0)


@pytest.mark.parametrize("value", [None, float("nan")])
def test_what_one_side_lacks_tells_nothing(value: float | None) -> None:
    frame = pl.DataFrame({"chosen_x": [value, 1.0], "rejected_x": [0.75, 0.75]}, strict=False)
    assert surface_features(frame).x.tolist() == [[0.0], [0.25]]


def test_both_sides_of_what_can_be_counted() -> None:
    frame = pl.DataFrame(
        {
            "chosen_language": ["en", "de"],
            "rejected_language": ["en", "en"],
            "chosen_words": pl.Series([3, None], dtype=pl.UInt32),
            "rejected_words": pl.Series([1, 7], dtype=pl.UInt32),
            "chosen_refusal": [True, False],
            "rejected_refusal": [True, True],
            "chosen_score": [1.0, 2.0],
            "rejected_score": [0.0, 0.0],
        }
    )
    found = surface_sides(frame)
    assert found.names == ("words", "refusal")
    assert found.chosen.round(6).tolist() == [[1.386294, 1.0], [0.0, 0.0]]
    assert found.rejected.round(6).tolist() == [[0.693147, 1.0], [0.0, 1.0]]
    assert surface_sides(frame.select("chosen_language")).chosen.shape == (2, 0)


def test_languages_of_a_hundredth_of_the_pairs() -> None:
    frame = pl.DataFrame(
        {
            "chosen_language": ["en"] * 100 + ["de"] * 100 + ["fr"],
            "rejected_language": ["de"] * 99 + [None] + ["en"] * 101,
        }
    )
    found = surface_features(frame)
    assert found.names == ("language=en", "language=de")
    assert found.x[[0, 99, 100, 200]].tolist() == [[1, -1], [0, 0], [-1, 1], [-1, 0]]


def test_names_of_models() -> None:
    frame = pl.DataFrame({"chosen_model": ["a", "b", "a", None], "rejected_model": ["b", "a", "a", "b"]})
    found = model_features(frame)
    assert found.names == ("model=a", "model=b")
    assert found.x.tolist() == [[1, -1], [-1, 1], [0, 0], [0, 0]]


def test_rare_models_and_those_after_the_fifty_most_frequent_have_no_feature() -> None:
    rare = pl.DataFrame({"chosen_model": ["a"] * 99 + ["b"], "rejected_model": ["c"] * 98 + ["d", "b"]})
    assert model_features(rare).names == ("model=a", "model=c")  # b is there twice, but on both sides of one pair
    twice = pl.DataFrame({"chosen_model": ["a"] * 100, "rejected_model": ["c"] * 97 + ["d", "b", "b"]})
    assert model_features(twice).names == ("model=a", "model=c", "model=b")
    ring = [f"{n:02}" for n in range(60)]
    many = pl.DataFrame({"chosen_model": ring, "rejected_model": [*ring[1:], ring[0]]})
    assert model_features(many).names == tuple(f"model={name}" for name in ring[:50])


def test_words_are_for_signals() -> None:
    assert WORDING.keys() <= SIGNALS.keys()
    assert {name for name in SIGNALS if "gram_share" in name} <= WORDING.keys()


def test_parts_of_features() -> None:
    frame = pl.DataFrame(
        {f"{side}_{n}": [float(side == "chosen"), 0.0] for side in ("chosen", "rejected") for n in "abc"}
    )
    found = surface_features(frame)
    assert found.without("b").names == ("a", "c")
    assert found.only(["c", "a"]).names == ("a", "c")
    assert found.of(np.array([False, True])).names == ()
    assert found.only("a").beside(found.only("b")).x.tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("name", "more", "less"),
    [
        ("chars", "longer", "shorter"),
        ("language=de", "language de", "language other than de"),
        ("invalid_arguments", "more invalid arguments", "less invalid arguments"),
    ],
)
def test_wording(name: str, more: str, less: str) -> None:
    assert (wording(name, more=True), wording(name, more=False)) == (more, less)


NUMBERS = st.one_of(st.none(), st.floats(0, 1e6, width=32))
SIDE = st.tuples(NUMBERS, st.integers(0, 1000), st.booleans(), st.sampled_from(["en", "de", None]))


@given(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=20))
def test_swapped_sides_change_the_sign(pairs: list[tuple[tuple[Any, ...], tuple[Any, ...]]]) -> None:
    schema = {"share": pl.Float64, "count": pl.UInt32, "flag": pl.Boolean, "language": pl.String}

    def frame(places: tuple[int, int]) -> pl.DataFrame:
        sides = zip(("chosen", "rejected"), places, strict=True)
        return pl.DataFrame(
            {f"{side}_{name}": pl.Series([pair[at][n] for pair in pairs], dtype=dtype)
             for side, at in sides for n, (name, dtype) in enumerate(schema.items())}
        )  # fmt: skip

    one, swapped = surface_features(frame((0, 1))), surface_features(frame((1, 0)))
    assert one.names == swapped.names
    assert np.array_equal(one.x, -swapped.x)
