"""Findings of a whole set: intervals and bounds, literal counts in."""

from typing import Any

import polars as pl
import pytest

from curate.findings.bias import beyond, interval, length, models, openings, style, surface, wilson


@pytest.mark.parametrize(
    ("count", "n", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 20, 0, 0.1611), (20, 20, 0.8389, 1), (0, 0, 0, 1)]
)
def test_wilson(count: int, n: int, low: float, high: float) -> None:
    assert wilson(count, n) == pytest.approx((low, high), abs=1e-4)


def test_beyond_is_outside_of_both_bounds() -> None:
    assert [beyond(8, 10, bound) for bound in (0.49, 0.491)] == [True, False]
    assert [beyond(2, 10, bound) for bound in (0.49, 0.491)] == [True, False]
    assert beyond(0, 0, 0) is False  # nothing is known, and its interval touches both
    assert interval(8, 10) == "80% (95 % interval 49% to 94%)"


def pairs(*answers: tuple[str, str]) -> pl.LazyFrame:
    sides = zip(("chosen", "rejected"), zip(*answers, strict=True), strict=True)
    return pl.LazyFrame({side: [[{"content": text}] for text in texts] for side, texts in sides})


def test_a_form_or_an_opening_must_be_frequent() -> None:
    lists = pairs(*[("- jar", "jar")] * 60)
    assert [(one.count, one.of) for one in style(lists, 1200)] == [(60, 60)]
    assert style(lists, 1201) == []
    begun = pairs(*[(f"Sure thing {n}", f"{n} is it") for n in range(60)])
    assert [one.count for one in openings(begun, 6000)] == [60]
    assert openings(begun, 6001) == []


def test_the_five_most_frequent_models_are_named() -> None:
    writers = [(name, "zed") for name, count in zip("abcdefg", range(60, 67), strict=True) for _ in range(count)]
    chosen, rejected = zip(*writers, strict=True)
    found = models(pl.LazyFrame({"chosen_model": chosen, "rejected_model": rejected}))
    assert [(one.what[1:4].strip("' "), one.count) for one in found] == [
        ("zed", 441), ("g", 66), ("f", 65), ("e", 64), ("d", 63)
    ]  # fmt: skip


def signals(**columns: list[Any]) -> pl.LazyFrame:
    return pl.LazyFrame(columns)


def test_length() -> None:
    lengths = signals(chosen_chars=[30] * 45 + [10] * 15 + [7], rejected_chars=[10] * 45 + [30] * 15 + [7])
    (found,) = length(lengths)
    assert (found.count, found.of) == (45, 60)  # the pair of equal length does not count
    assert length(signals(chosen_chars=[5, 7], rejected_chars=[5, 0])) == []


def test_features_are_named_by_how_well_they_tell() -> None:
    names = ("a", "b", "c", "d", "e", "f", "g")
    ties = {name: n for n, name in enumerate(names)}  # pairs in which the feature is equal, which count a half
    columns = {f"chosen_{name}": [1] * 100 for name in names}
    columns |= {f"rejected_{name}": [1] * ties[name] + [0] * (100 - ties[name]) for name in names}
    (found,) = surface(signals(**columns))
    assert (found.count, found.of) == (100, 100)
    assert found.what == (
        "each alone tells the sides apart: a (higher for chosen, AUC 1.00), b (higher for chosen, AUC 0.99), "
        "c (higher for chosen, AUC 0.99), d (higher for chosen, AUC 0.98), e (higher for chosen, AUC 0.98) and 2 more"
    )
