"""Splits depend on prompts, clusters and salt: sizes are met, clusters stay whole, row order does not matter."""

from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.selection.splits import split

# The first 13 hex digits of sha256("0|a"), … over 16**13:
# a 0.197, b 0.477, c 0.113, d 0.781, e 0.526, é 0.674, f 0.243, g 0.108
IDS = ["a", "b", "c", "d", "e", "é", "f", "g"]


def frame(
    ids: list[str], clusters: list[int] | None = None, strata: Sequence[str | None] | None = None
) -> pl.DataFrame:
    numbers = clusters or [sorted(set(ids)).index(i) for i in ids]
    stratum = {} if strata is None else {"stratum": pl.Series(strata, dtype=pl.String)}
    return pl.DataFrame(
        {"prompt_id": pl.Series(ids, dtype=pl.String), "cluster": pl.Series(numbers, dtype=pl.UInt64), **stratum}
    )


def sides(pairs: pl.DataFrame, salt: str = "0", **shares: float) -> list[str]:
    return split(pairs, shares, salt=salt).to_list()


@pytest.mark.parametrize(
    ("salt", "test", "on_test"),
    [
        ("0", 0.25, "cg"),
        ("0", 0.5, "acfg"),
        ("0", 0.1, "g"),
        ("0", 0.05, ""),
        ("0", 0.75, "abcefg"),
        ("1", 0.25, "bg"),
        ("0", 0.0, ""),
    ],
)
def test_splits_are_pinned(salt: str, test: float, on_test: str) -> None:
    assert sides(frame(IDS), salt, test=test) == ["test" if i in on_test else "train" for i in IDS]


def test_a_cluster_is_in_one_split_and_one_too_large_stays_in_train() -> None:
    clusters = [0, 0, 0, 0, 4, 4, 6, 7]
    found = dict(zip(IDS, sides(frame(IDS, clusters), test=0.25), strict=True))
    # Two rows are needed: g (0.108) alone is first, then c's cluster of four, which is too large, then f's.
    assert [i for i in IDS if found[i] == "test"] == ["f", "g"]


def test_the_hash_of_a_cluster_is_that_of_its_first_prompt() -> None:
    assert sides(frame(["c", "d", "a", "b"], [0, 0, 1, 2]), test=0.5) == ["test", "test", "train", "train"]


def test_clusters_are_taken_in_the_order_of_their_hashes_until_the_share_is_met() -> None:
    # Five of nine rows: c (0.113) has three, a (0.197) three, which are too many, and b (0.477) the missing two.
    ids = list("aaabbcccd")
    assert sides(frame(ids), test=0.6) == ["test" if i in "bc" else "train" for i in ids]


def test_a_stratum_is_filled_before_rows_are_taken_from_others() -> None:
    # Of w 1 row is wanted, but d has two. Of x 5 are: c has three, a as many, which are too many, and b two.
    ids = list("ddaaabbccc")
    found = sides(frame(ids, strata=["w"] * 2 + ["x"] * 8), test=0.6)
    assert found == ["test" if i in "bc" else "train" for i in ids]


def test_three_splits_share_nothing() -> None:
    found = sides(frame([str(i) for i in range(1000)]), test=0.1, validation=0.05)
    assert {name: found.count(name) for name in ("train", "validation", "test")} == {
        "train": 850,
        "validation": 50,
        "test": 100,
    }


def test_every_stratum_has_its_share_and_small_ones_add_up() -> None:
    ids = [str(i) for i in range(300)]
    strata = ["en"] * 200 + ["de"] * 60 + [f"x{i // 4}" for i in range(40)]
    found = sides(frame(ids, strata=strata), test=0.1)
    assert [found[:200].count("test"), found[200:260].count("test"), found[260:].count("test")] == [20, 6, 4]


def test_rows_missing_in_a_stratum_are_the_first_of_all_strata() -> None:
    # One row of y is wanted, but its only cluster is of two; g (0.108) is before a (0.197) in x.
    pairs = frame(["a", "g", "b", "b"], [0, 1, 2, 2], ["x", "x", "y", "y"])
    assert sides(pairs, test=0.25) == ["train", "test", "train", "train"]


def test_a_cluster_of_two_strata_is_in_that_of_most_rows_or_the_first() -> None:
    # The cluster of a and b has two rows of each, and is in x. A fifth of six rows is c of x; a quarter, f of y, too.
    ids, strata = ["a", "a", "b", "b", "c", "f"], ["x", "x", "y", "y", "x", "y"]
    pairs = frame(ids, [0, 0, 0, 0, 2, 3], strata)
    assert sides(pairs, test=0.25) == ["train"] * 4 + ["test", "test"]
    assert sides(pairs, test=0.2) == ["train"] * 4 + ["test", "train"]


def test_a_larger_share_only_moves_rows_to_test() -> None:
    pairs = frame([str(i) for i in range(200)])
    small, large = (sides(pairs, test=test) for test in (0.1, 0.3))
    assert {pair for pair in zip(small, large, strict=True) if pair[0] != pair[1]} == {("train", "test")}


@pytest.mark.slow
def test_added_rows_move_few_others() -> None:
    ids = [str(i) for i in range(2000)]
    before, after = sides(frame(ids[:1000]), test=0.1), sides(frame(ids), test=0.1)
    assert sum(a != b for a, b in zip(before, after[:1000], strict=True)) < 30


def test_no_rows() -> None:
    empty = split(frame([], []), {"test": 0.1}, salt="0")
    assert (empty.name, str(empty.dtype), len(empty)) == ("split", "String", 0)


@pytest.mark.slow
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=150),
    st.sampled_from([0.05, 0.1, 0.2]),
    st.sampled_from([0.0, 0.1]),
    st.randoms(use_true_random=False),
)
def test_clusters_stay_whole_sizes_are_met_and_order_does_not_matter(
    sizes: list[int], test: float, validation: float, random: object
) -> None:
    rows = [(f"p{cluster}-{i % 3}", cluster) for cluster, size in enumerate(sizes) for i in range(size)]
    shuffled = sorted(rows, key=lambda _: random.random())  # type: ignore[attr-defined]
    found, again = (
        dict(
            zip(some, sides(frame(*map(list, zip(*some, strict=True))), test=test, validation=validation), strict=True)
        )
        for some in (rows, shuffled)
    )
    assert found == again
    assert len({(cluster, side) for (_, cluster), side in found.items()}) == len(sizes)
    by_row = sides(frame(*map(list, zip(*rows, strict=True))), test=test, validation=validation)
    # Fewer rows are missing than the smallest remaining cluster has: no cluster of train would fit.
    missing = round(test * len(rows)) - by_row.count("test")
    assert missing >= 0
    remaining = [
        size for cluster, size in enumerate(sizes) if all(s == "train" for (_, c), s in found.items() if c == cluster)
    ]
    assert missing < min(remaining, default=1) or missing == 0
