"""Selections after papers, by hand-computed values."""

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import RecipeError
from curate.selection import ranked
from curate.selection.ranked import CHOICE


def frame(**columns: list[object]) -> pl.DataFrame:
    rows = len(next(iter(columns.values())))
    return pl.DataFrame({"source": ["a"] * rows, "pair_id": [str(n) for n in range(rows)]} | columns)


def kept(found: pl.DataFrame) -> list[int]:
    assert found.schema == CHOICE
    return [row for row, keep in enumerate(found.get_column("keep")) if keep]


def test_rip_says_which_bound_a_pair_misses() -> None:
    pairs = frame(
        rejected_score=[1.0, 4.0, 4.0, 5.0, None], rejected_chars=[99, 90, 10, 95, 95], margin=[1.0, 5.0, 1.0, 1.0, 1.0]
    )
    found = ranked.rip(pairs)
    assert kept(found) == [3]
    assert found.select("rule", "value").rows() == [
        ("rip_score", 1.0), ("rip_length", 90.0), ("rip_length", 10.0), ("rip_gap", 1.0), ("rip_score", None),
    ]  # fmt: skip
    assert kept(ranked.rip(pairs, score=0, length=0, gap=1)) == [0, 1, 2, 3]


def test_rip_ranks_within_a_source() -> None:
    pairs = frame(rejected_score=[1.0, 2.0, 10.0, 20.0], rejected_chars=[1, 2, 100, 200], margin=[1, 1, 1, 1])
    pairs = pairs.with_columns(source=pl.Series(["a", "a", "b", "b"]))
    assert kept(ranked.rip(pairs)) == [1, 3]


def test_bees_fuses_two_margins() -> None:
    pairs = frame(margin=[0.0, 0.5, 1.0, 1.0], implicit_gap=[1.0, 0.5, 0.0, None])
    found = ranked.bees(pairs, 2, low=0, high=1)
    assert found["value"].round(3).to_list() == [0.5, 0.5, 0.5, 0.99]
    assert 3 in kept(found)
    assert len(kept(found)) == 2
    agreeing = ranked.bees(frame(margin=[0.0, 0.6, 1.0], implicit_gap=[0.0, 0.6, 1.0]), 1, low=0, high=1)
    # 0.6 and 0.6: 0.36 / (0.36 + 0.16)
    assert agreeing["value"].round(3).to_list() == [0.0, 0.692, 1.0]
    with pytest.raises(RecipeError, match=r"low \(0.9\) must be below high \(0.1\)"):
        ranked.bees(pairs, 2, low=0.9, high=0.1)


def test_bees_where_all_margins_are_equal() -> None:
    assert ranked.bees(frame(margin=[2.0, 2.0, None]), 2)["value"].to_list() == [0.5, 0.5, None]


def test_the_smallest_implicit_gaps_above_a_floor() -> None:
    pairs = frame(implicit_gap=[-1.0, 0.0, 0.2, 0.1, 3.0, None])
    found = ranked.implicit_gap(pairs, 2)
    assert kept(found) == [2, 3]
    assert found["value"].to_list() == [-1.0, 0.0, 0.2, 0.1, 3.0, None]
    assert kept(ranked.implicit_gap(pairs, 2, floor=0.15)) == [2, 4]
    assert kept(ranked.implicit_gap(pairs, 1, floor=-2)) == [0]


def test_the_lowest_held_out_losses() -> None:
    assert kept(ranked.selective(frame(heldout_loss=[0.1, 2.0, 0.3, None]), 2)) == [0, 2]


def test_the_quality_of_chosen_comes_first() -> None:
    pairs = frame(chosen_score=[9.0, 8.0, 3.0, 2.0, None], margin=[1.0, 4.0, 9.0, 9.0, 9.0])
    found = ranked.chosen_first(pairs)
    assert kept(found) == [1]
    assert found.select("rule", "value").rows() == [
        ("chosen_first_gap", 0.5), ("chosen_first_gap", 1.0), ("chosen_first_score", 0.5),
        ("chosen_first_score", 0.25), ("chosen_first_score", None),
    ]  # fmt: skip


def test_the_top_is_by_quantiles_within_a_source_and_longest_means_chosen() -> None:
    pairs = frame(margin=[1.0, 2.0, 100.0, 200.0], chosen_chars=[9, 1, 1, 1])
    pairs = pairs.with_columns(source=pl.Series(["a", "a", "b", "b"]))
    assert kept(ranked.top(pairs, 2)) == [1, 3]
    assert kept(ranked.top(pairs.with_columns(source=pl.lit("a")), 2)) == [2, 3]
    assert kept(ranked.top(pairs.with_columns(source=pl.lit("a")), 1, by="longest")) == [0]
    assert kept(ranked.top(frame(margin=[None, None]), 1)) == []


def test_lengths_tell_nothing_after_balancing() -> None:
    # Ratios 2, 2, 2 and 1/2: one longer pair stays for the one that is shorter. 8 has no counterpart. 1 is kept.
    pairs = frame(chosen_chars=[199, 199, 199, 99, 799, 50], rejected_chars=[99, 99, 99, 199, 99, 50])
    found = ranked.length_balanced(pairs)
    assert found["value"].to_list() == [1.0, 1.0, 1.0, -1.0, 3.0, 0.0]
    assert len(kept(found)) == 3
    assert {3, 5} < set(kept(found))
    assert kept(ranked.length_balanced(pairs, seed=1)) == kept(ranked.length_balanced(pairs, seed=1))


LENGTHS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=40)


@given(LENGTHS, st.floats(0.05, 3))
def test_balanced_pairs_have_as_many_longer_as_shorter_answers(lengths: list[tuple[int, int]], width: float) -> None:
    pairs = frame(chosen_chars=[one for one, _ in lengths], rejected_chars=[other for _, other in lengths])
    left = [lengths[row] for row in kept(ranked.length_balanced(pairs, width=width))]
    assert sum(one > other for one, other in left) == sum(one < other for one, other in left)
    assert sum(one == other for one, other in left) == sum(one == other for one, other in lengths)


@given(st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=False, width=32), max_size=30), st.integers(0, 30))
def test_as_many_as_asked_for_of_what_was_measured(values: list[float | None], count: int) -> None:
    measured = [value for value in values if value is not None and not math.isnan(value)]
    pairs = pl.DataFrame(
        {"source": ["a"] * len(values), "pair_id": [str(n) for n in range(len(values))], "margin": values},
        schema_overrides={"margin": pl.Float64, "pair_id": pl.String, "source": pl.String},
    )
    found = ranked.top(pairs, count)
    assert len(kept(found)) == min(count, len(measured))
    chosen = [value for row, value in enumerate(values) if row in kept(found) and value is not None]
    dropped = [value for row, value in enumerate(values) if row not in kept(found) and value in measured]
    assert max(dropped, default=-math.inf) <= min(chosen, default=math.inf)


@given(st.permutations(range(12)))
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    pairs = frame(margin=[n % 3 for n in range(12)], chosen_chars=[n * 7 % 5 for n in range(12)],
                  rejected_chars=[n * 3 % 5 for n in range(12)])  # fmt: skip
    mixed = pairs[order]
    for choose in (
        lambda one: ranked.top(one, 5),
        lambda one: ranked.random(one, 5, seed=3),
        ranked.length_balanced,
        lambda one: ranked.bees(one, 4),
    ):
        ids = [set(one.filter(choose(one)["keep"])["pair_id"]) for one in (pairs, mixed)]
        assert ids[0] == ids[1]
