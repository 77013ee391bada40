"""Signals of models: the arithmetic, and what `measure` makes of their columns."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import curate
from curate.signals import measure
from curate.signals.scored import likelihood_columns, relevance_columns, reward_columns
from curate.stages.models import COLUMNS

NAN = math.nan
ROW = {"prompt": "Tea?", "chosen": "Green tea.", "rejected": "No."}


def sigmoid(number: float) -> float:
    return 1 / (1 + math.exp(-number))


def test_one_reward_model_keeps_its_scale() -> None:
    found = reward_columns([np.array([[3.0, 1.0], [-2.0, 0.5], [1.0, NAN]])])
    assert found.drop("reward_strength").rows() == [
        (3.0, 1.0, 2.0, None),
        (-2.0, 0.5, -2.5, None),
        (1.0, None, None, None),
    ]
    strengths = found.get_column("reward_strength").to_list()
    assert strengths == [pytest.approx(0.880797, abs=1e-6), pytest.approx(0.075858, abs=1e-6), None]


def test_several_reward_models_are_standardized() -> None:
    # The answers of the first have mean 2 and deviation 2, those of the second mean 10 and deviation 20.
    one, two = np.array([[4.0, 0.0], [4.0, 0.0]]), np.array([[30.0, -10.0], [-10.0, 30.0]])
    found = reward_columns([one, two])
    assert found.drop("reward_strength").rows() == [(1.0, -1.0, 2.0, 0.0), (0.0, 0.0, 0.0, 2.0)]
    assert found.get_column("reward_strength").to_list() == pytest.approx(
        [(sigmoid(4) + sigmoid(40)) / 2, (sigmoid(4) + sigmoid(-40)) / 2]
    )


def test_a_score_that_one_model_lacks_is_null_and_equal_scores_have_no_spread() -> None:
    found = reward_columns([np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([[NAN, 0.0], [2.0, 1.0]])])
    assert found.row(0, named=True) == {
        "chosen_reward": None, "rejected_reward": pytest.approx(-0.612372, abs=1e-6), "reward_margin": None,
        "reward_std": None, "reward_strength": None,
    }  # fmt: skip
    assert found.row(1, named=True)["reward_margin"] == pytest.approx(0.612372, abs=1e-6)
    nothing = reward_columns([np.full((1, 2), NAN), np.full((1, 2), NAN)])
    assert nothing.row(0) == (None,) * 5


@given(arrays(np.float64, st.tuples(st.integers(1, 8), st.just(2)), elements=st.floats(-1e6, 1e6)))
def test_swapped_sides_give_the_opposite(scores: np.ndarray) -> None:
    one, other = (reward_columns([side, 2 * side + 1]) for side in (scores, scores[:, ::-1]))
    assert np.allclose(one["reward_margin"], -other["reward_margin"])
    assert np.allclose(one["reward_std"], other["reward_std"], atol=1e-9)
    assert np.allclose(one["reward_strength"] + other["reward_strength"], 1)
    assert np.allclose(one["chosen_reward"] - one["rejected_reward"], one["reward_margin"])


def test_likelihood() -> None:
    logps, tokens = np.array([[-2.0, -6.0], [NAN, -1.0], [0.0, -900.0]]), np.array([[2, 3], [0, 4], [0, 1]])
    found = likelihood_columns(logps, tokens)
    assert found.columns == [
        "chosen_logp", "rejected_logp", "chosen_logp_per_token", "rejected_logp_per_token", "chosen_perplexity",
        "rejected_perplexity",
    ]  # fmt: skip
    assert found.rows() == [
        (-2.0, -6.0, -1.0, -2.0, pytest.approx(math.e), pytest.approx(math.e**2)),
        (None, -1.0, None, -0.25, None, pytest.approx(math.exp(0.25))),
        (0.0, -900.0, None, -900.0, None, None),  # exp(900) is infinite
    ]


def test_implicit_gap() -> None:
    ours, reference = np.array([[-2.0, -6.0], [-2.0, -6.0]]), np.array([[-3.0, -4.0], [NAN, -4.0]])
    found = likelihood_columns(ours, np.ones((2, 2)), reference, beta=0.5)
    assert found.get_column("implicit_gap").to_list() == [1.5, None]  # 0.5 * ((-2 + 3) - (-6 + 4))


def test_relevance() -> None:
    prompt, chosen = np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[0.6, 0.8], [1.0, 0.0]])
    assert relevance_columns(prompt, chosen, np.array([[0.0, 0.0], [0.0, 1.0]])).rows() == [(0.6, None), (None, None)]


def test_measure_takes_over_the_columns_of_models() -> None:
    pairs = curate.read([ROW])
    names = list(COLUMNS)
    assert measure(pairs).select(names).row(0) == (None,) * len(names)
    assert measure(pairs).select(names).dtypes == [pl.Float64] * len(names)
    scored = pairs.with_columns(reward_margin=pl.lit(2, pl.Int32), chosen_logp=pl.lit(-1.5, pl.Float32))
    found = measure(scored).row(0, named=True)
    assert (found["reward_margin"], found["chosen_logp"], found["reward_std"]) == (2.0, -1.5, None)


def test_filter_and_dedup_and_signals_of_ones_own_use_them() -> None:
    rows = [{**ROW, "chosen": f"Green tea {n}."} for n in (1, 2)]
    pairs = curate.read(rows).with_columns(reward_margin=pl.Series([0.5, -0.5]), implicit_gap=pl.Series([1.0, 3.0]))
    assert curate.filter(pairs, min_reward_margin=0).kept.get_column("implicit_gap").to_list() == [1.0]
    assert curate.filter(pairs, where="implicit_gap > 2").kept.get_column("reward_margin").to_list() == [-0.5]
    copies = pl.concat([pairs.head(1), pairs.head(1).with_columns(implicit_gap=pl.lit(4.0))])
    assert curate.dedup.exact(copies, keep="implicit_gap").kept.get_column("implicit_gap").to_list() == [4.0]

    def twice() -> pl.Expr:
        return pl.col("reward_margin") * 2

    assert curate.measure(pairs, signals=[twice]).get_column("twice").to_list() == [1.0, -1.0]
