"""Antisymmetric models: differences in, probabilities and AUCs out."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curate.errors import InputError
from curate.findings.crossfit import probability
from curate.findings.linear import accuracy, auc, auc_interval, coefficients_of, fit_linear

VALUES = st.floats(-10, 10, width=32)
SCORES = st.lists(st.integers(-3, 3), min_size=2, max_size=12)


def probabilities(x: np.ndarray, groups: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    return fit_linear(x, groups, weights).probabilities


def signs(count: int, seed: int) -> np.ndarray:
    """Return labels of a coin."""
    return np.random.default_rng(seed).choice([-1.0, 1.0], count)


def test_what_decides_always_is_found() -> None:
    x = np.array([[float(n % 7 + 1), 0.0] for n in range(50)])
    fit = fit_linear(x, np.arange(50))
    assert auc(fit.scores) == 1.0
    assert fit.probabilities.min() > 0.6
    assert (fit.coefficients[:, 0] > 0).all()
    assert (fit.coefficients[:, 1] == 0).all()  # a feature that is 0 everywhere


def test_a_coin_is_not_predicted() -> None:
    contain = []
    for seed in range(20):
        x = np.random.default_rng(seed).normal(size=(400, 3)) * signs(400, seed)[:, None]
        fit = fit_linear(x, np.arange(400))
        low, high = auc_interval(fit.scores, np.arange(400), draws=200)
        contain.append(low < 0.5 < high)
        assert np.abs(fit.probabilities - 0.5).max() < 0.3
    assert sum(contain) >= 16


def test_a_prompt_is_never_in_its_own_model() -> None:
    """One feature per group, which only pairs of the group have: nothing of it holds for other groups."""
    groups = np.repeat(np.arange(10), 6)
    assert (probabilities(np.eye(10)[groups], groups) == 0.5).all()
    assert (probabilities(np.eye(10)[groups], np.arange(60)) > 0.5).all()


def test_fewer_groups_than_folds() -> None:
    fit = fit_linear(np.ones((6, 1)), np.array([4, 4, 4, 6, 6, 7]))
    assert len(fit.coefficients) == 3
    assert [len(set(fit.fold[at])) for at in (slice(3), slice(3, 5), slice(5, 6))] == [1, 1, 1]
    assert len(fit_linear(np.ones((6, 1)), np.arange(6), folds=2).coefficients) == 2


def test_too_few_groups() -> None:
    with pytest.raises(InputError, match="at least 2 groups of prompts, found 1"):
        fit_linear(np.ones((3, 1)), np.zeros(3, int))


def test_pairs_that_differ_in_nothing() -> None:
    fit = fit_linear(np.zeros((6, 2)), np.arange(6))
    assert fit.probabilities.tolist() == [0.5] * 6
    assert (auc(fit.scores), accuracy(fit.scores)) == (0.5, 0.5)
    assert auc_interval(fit.scores, np.arange(6)) == (0.5, 0.5)
    assert probabilities(np.empty((6, 0)), np.arange(6)).tolist() == [0.5] * 6


def test_weights_decide_which_pairs_count() -> None:
    x, up = np.array([[1.0]] * 30 + [[-1.0]] * 30), np.repeat([1.0, 0.0], 30)
    assert coefficients_of(x)[0] == pytest.approx(0, abs=1e-6)
    assert coefficients_of(x, up)[0] > 1
    assert coefficients_of(x, 1 - up)[0] < -1
    found = probabilities(x, np.arange(60), up)
    assert found[30:].max() < 0.1
    assert found[:30].min() > 0.9
    assert (probabilities(x, np.arange(60), 0 * up) == 0.5).all()


def test_contributions_sum_up_to_the_score() -> None:
    x = np.random.default_rng(3).normal(size=(40, 3)) + 0.5
    fit = fit_linear(x, np.arange(40))
    assert fit.contributions(x, 0) + fit.contributions(x, 1) + fit.contributions(x, 2) == pytest.approx(fit.scores)
    assert fit.contributions(x, 1) == pytest.approx(x[:, 1] * fit.coefficients[fit.fold, 1])


def test_models_that_are_too_sure_are_calibrated() -> None:
    random = np.random.default_rng(0)
    x = np.hstack([random.normal(0.3, 1, (120, 1)), random.normal(size=(120, 30))])
    fit = fit_linear(x, np.arange(120))
    assert 0 <= fit.slope < 0.6
    assert np.abs(fit.probabilities - 0.5).mean() < np.abs(probability(fit.scores) - 0.5).mean()


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([1, 2], 1.0), ([-1, -2], 0.0), ([0, 0], 0.5), ([1, -1], 0.5), ([2, -1], 1.0), ([1], 0.5), ([], 0.5)],
)
def test_auc(scores: list[float], expected: float) -> None:
    assert auc(np.array(scores, float)) == expected


def test_accuracy() -> None:
    assert accuracy(np.array([0.0, 1.0, -1.0, 2.0])) == 0.625
    assert accuracy(np.array([1.0, -1.0]), np.array([3.0, 1.0])) == 0.75
    assert accuracy(np.array([])) == 0.5


def test_what_holds_for_no_other_prompt_makes_no_label_improbable() -> None:
    """Every prompt has one value of its own sign, so that the others always say the opposite."""
    x = np.array([[1.0], [-1.0]] * 3)
    fit = fit_linear(x, np.arange(6), folds=6)
    assert auc(fit.scores) == 0.0
    assert (fit.slope, set(fit.probabilities)) == (0.0, {0.5})


@given(SCORES, st.data())
def test_auc_is_the_share_of_the_pairs_of_pairs(scores: list[int], data: Any) -> None:
    weights = np.array(data.draw(st.lists(st.integers(1, 4), min_size=len(scores), max_size=len(scores))), float)
    pairs = [(i, j) for i in range(len(scores)) for j in range(len(scores)) if i != j]
    above = sum(weights[i] * weights[j] * (0.5 + np.sign(scores[i] + scores[j]) / 2) for i, j in pairs)
    expected = above / sum(weights[i] * weights[j] for i, j in pairs)
    assert auc(np.array(scores, float), weights) == pytest.approx(expected)


@given(SCORES)
def test_auc_of_swapped_sides_is_its_complement(scores: list[int]) -> None:
    s = np.array(scores, float)
    assert auc(-s) == pytest.approx(1 - auc(s))
    assert accuracy(-s) == pytest.approx(1 - accuracy(s))


def test_the_interval_is_over_groups() -> None:
    scores = np.random.default_rng(1).normal(0.5, 1, 200)
    low, high = auc_interval(scores, np.arange(200))
    wide = auc_interval(np.repeat(scores[:20], 10), np.repeat(np.arange(20), 10))
    assert low < auc(scores) < high
    assert wide[1] - wide[0] > 1.5 * (high - low)


@given(arrays(np.float64, 5, elements=VALUES), arrays(np.float64, 5, elements=VALUES))
def test_swapped_sides_have_the_other_probability(x: np.ndarray, coefficients: np.ndarray) -> None:
    score = x @ coefficients
    assert -x @ coefficients == -score
    assert probability(np.array([-score]))[0] == pytest.approx(1 - probability(np.array([score]))[0], abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(arrays(np.float64, (12, 2), elements=VALUES), st.permutations(range(12)))
def test_neither_the_order_nor_the_sides_change_what_is_learned(x: np.ndarray, order: list[int]) -> None:
    """If all sides are swapped, the model is too, so that the label is as probable as before."""
    groups = np.arange(12) // 2
    found = probabilities(x, groups)
    assert probabilities(x[order], groups[order]) == pytest.approx(found[order], abs=1e-3)
    assert probabilities(-x, groups) == pytest.approx(found, abs=1e-3)
