"""Duplicate resolution: a pair is written "A>B", so its flip is "B>A"; rows are numbered in order."""

from typing import Any

import polars as pl

from curate.dedup.resolve import DUPLICATES, resolve_duplicates


def pairs(*ids: str, prompts: str | None = None, **columns: Any) -> pl.DataFrame:
    """Build pairs; `prompts` names the prompt of each row by a letter, by default one prompt for all."""
    return pl.DataFrame(
        {
            "row": pl.Series(range(len(ids)), dtype=pl.UInt64),
            "pair_id": pl.Series(ids, dtype=pl.String),
            "flipped_id": pl.Series([">".join(reversed(i.split(">"))) for i in ids], dtype=pl.String),
            "prompt_id": pl.Series(list(prompts or "p" * len(ids)), dtype=pl.String),
            **columns,
        }
    )


def drops(frame: pl.DataFrame, **options: Any) -> list[tuple[Any, ...]]:
    """Return (row, rule, value, pair_id of duplicate_of) of every dropped row."""
    dropped = resolve_duplicates(frame, **options)
    assert dropped.schema == DUPLICATES
    ids = dict(frame.select("row", "pair_id").rows())
    return [(row, rule, value, ids[duplicate_of]) for row, rule, value, duplicate_of in dropped.rows()]


def test_different_pairs_are_all_kept() -> None:
    assert drops(pairs("A>B", "A>C", "B>C")) == []


def test_of_equal_pairs_the_first_is_kept() -> None:
    assert drops(pairs("A>B", "C>D", "A>B", "A>B")) == [
        (2, "duplicate_pair", None, "A>B"),
        (3, "duplicate_pair", None, "A>B"),
    ]


def test_the_first_is_the_lowest_row_not_the_first_in_the_frame() -> None:
    assert drops(pairs("A>B", "A>B").reverse()) == [(1, "duplicate_pair", None, "A>B")]


def test_of_equal_pairs_the_best_is_kept_and_ties_go_to_the_first() -> None:
    frame = pairs("A>B", "A>B", "A>B", "A>B", score=[1.0, 3.0, 3.0, 2.0])
    assert [row for row, *_ in drops(frame, best="score")] == [0, 2, 3]


def test_null_and_nan_are_the_lowest() -> None:
    frame = pairs("A>B", "A>B", "C>D", "C>D", "E>F", "E>F", score=[None, -1.0, float("nan"), 0.0, None, None])
    assert [row for row, *_ in drops(frame, best="score")] == [0, 2, 5]


def test_best_can_be_an_integer() -> None:
    assert [row for row, *_ in drops(pairs("A>B", "A>B", words=[5, 9]), best="words")] == [0]


def test_contradictions_drop_both_sides_with_reference_to_each_other() -> None:
    assert drops(pairs("A>B", "C>D", "B>A")) == [
        (0, "contradiction", None, "B>A"),
        (2, "contradiction", None, "A>B"),
    ]


def test_contradictions_can_be_kept() -> None:
    assert drops(pairs("A>B", "B>A", "A>B"), contradictions="keep") == [(2, "duplicate_pair", None, "A>B")]


def test_twice_one_way_and_once_the_other() -> None:
    assert drops(pairs("A>B", "A>B", "B>A")) == [
        (0, "contradiction", None, "B>A"),
        (1, "duplicate_pair", None, "A>B"),
        (2, "contradiction", None, "A>B"),
    ]


def test_twice_one_way_with_the_best_second() -> None:
    assert drops(pairs("B>A", "A>B", "A>B", score=[1, 1, 2]), best="score") == [
        (0, "contradiction", None, "A>B"),
        (1, "duplicate_pair", None, "A>B"),
        (2, "contradiction", None, "B>A"),
    ]


def test_max_pairs_per_prompt_keeps_the_first_and_value_counts_them() -> None:
    frame = pairs("A>B", "X>Y", "A>C", "A>D", prompts="pqpp")
    assert drops(frame, max_pairs_per_prompt=1) == [
        (2, "max_pairs_per_prompt", 3.0, "A>B"),
        (3, "max_pairs_per_prompt", 3.0, "A>B"),
    ]
    assert drops(frame, max_pairs_per_prompt=3) == []


def test_max_pairs_per_prompt_keeps_the_best() -> None:
    frame = pairs("A>B", "A>C", "A>D", "A>E", score=[None, 1.0, 2.0, 1.0])
    assert drops(frame, best="score", max_pairs_per_prompt=2) == [
        (0, "max_pairs_per_prompt", 4.0, "A>D"),
        (3, "max_pairs_per_prompt", 4.0, "A>D"),
    ]


def test_max_pairs_per_prompt_ignores_duplicates_and_contradictions() -> None:
    frame = pairs("A>B", "A>B", "C>D", "D>C", "E>F")
    assert drops(frame, max_pairs_per_prompt=2) == [
        (1, "duplicate_pair", None, "A>B"),
        (2, "contradiction", None, "D>C"),
        (3, "contradiction", None, "C>D"),
    ]


def test_row_numbers_need_not_be_consecutive() -> None:
    frame = pairs("A>B", "C>D", "A>B").with_columns(row=pl.Series([7, 20, 300], dtype=pl.UInt64))
    assert drops(frame) == [(300, "duplicate_pair", None, "A>B")]


def test_no_rows() -> None:
    assert drops(pairs(), max_pairs_per_prompt=1) == []


def test_a_vote_decides_contradictions_and_equal_pairs_count() -> None:
    assert drops(pairs("A>B", "B>A", "A>B"), contradictions="vote") == [
        (1, "contradiction", None, "A>B"),
        (2, "duplicate_pair", None, "A>B"),
    ]


def test_an_even_vote_drops_both() -> None:
    assert [rule for _, rule, *_ in drops(pairs("A>B", "B>A"), contradictions="vote")] == ["contradiction"] * 2


def test_votes_without_exact_count_every_pair_once() -> None:
    frame = pairs("A>B", "A>B", "B>A")
    assert drops(frame, exact=False, contradictions="vote") == [(2, "contradiction", None, "A>B")]
    assert len(drops(frame, exact=False)) == 3


def test_contradictions_refer_to_the_first_pair_of_the_other_side() -> None:
    dropped = resolve_duplicates(pairs("A>B", "A>B", "B>A", "B>A"), exact=False)
    assert dropped.get_column("duplicate_of").to_list() == [2, 2, 0, 0]


# Responses with the same number are similar: 1 for A and A', 2 for B and B'.
LIKE = {"group": [0, 0, 0, 9], "chosen_cluster": [1, 1, 2, 1], "rejected_cluster": [2, 2, 1, 2]}


def similar_responses(ids: list[str], prompts: str) -> pl.DataFrame:
    return pairs(*ids, prompts=prompts).with_columns(pl.Series(k, v, pl.UInt64) for k, v in LIKE.items())


def test_similar_responses_of_a_group_are_one_pair_and_can_contradict() -> None:
    frame = similar_responses(["A>B", "A'>B'", "B''>A''", "A>B"], "pqrs")
    assert drops(frame, exact=False) == [
        (0, "near_contradiction", None, "B''>A''"),
        (1, "duplicate_responses", None, "A>B"),
        (2, "near_contradiction", None, "A>B"),
    ]
    assert [row for row, *_ in drops(frame, exact=False, contradictions="keep")] == [1]


def test_equal_pairs_of_a_pair_count_in_the_vote_of_a_group() -> None:
    frame = similar_responses(["A>B", "A>B", "B'>A'", "X>Y"], "ppqs")
    assert drops(frame, contradictions="vote") == [
        (1, "duplicate_pair", None, "A>B"),
        (2, "near_contradiction", None, "A>B"),
    ]


def test_a_cluster_keeps_prompts_with_all_their_pairs() -> None:
    frame = pairs(
        "A>B", "A>C", "D>E", "F>G", "H>I", prompts="ppqrs", near=pl.Series([0, 0, 0, 0, None], dtype=pl.UInt64)
    )
    assert drops(frame, clusters={"near": ("prompt_id", 1)}) == [
        (2, "near_duplicate", None, "A>B"),
        (3, "near_duplicate", None, "A>B"),
    ]
    assert [row for row, *_ in drops(frame, clusters={"near": ("prompt_id", 2)})] == [3]


def test_a_cluster_keeps_single_pairs_and_the_best_of_them() -> None:
    near = pl.Series([0, 0, 0], dtype=pl.UInt64)
    frame = pairs("A>B", "A>C", "D>E", prompts="ppq", near=near, margin=[1.0, None, 2.0])
    assert drops(frame, best="margin", clusters={"near": ("row", 1)}) == [
        (0, "near_duplicate", None, "D>E"),
        (1, "near_duplicate", None, "D>E"),
    ]
    assert [row for row, *_ in drops(frame, best="margin", clusters={"near": ("prompt_id", 1)})] == [0, 1]


def test_similar_pairs_count_in_the_vote_of_a_group() -> None:
    frame = similar_responses(["A>B", "A'>B'", "B''>A''", "X>Y"], "pqrs")
    assert drops(frame, contradictions="vote") == [
        (1, "duplicate_responses", None, "A>B"),
        (2, "near_contradiction", None, "A>B"),
    ]
