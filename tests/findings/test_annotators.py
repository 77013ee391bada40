"""Who gave a label: unreliable annotators are found by their other labels, and nothing is said by chance."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import RecipeError
from curate.findings.annotators import annotator_odds
from curate.findings.label_noise import Evidence, label_noise
from curate.stages.label_noise import annotators
from tests.findings.test_label_noise import evidence


def test_labels_of_an_annotator_who_disagrees_with_the_heads_are_less_probable() -> None:
    # Of three annotators with 100 labels each, the heads agree with 90, 90 and 50.
    names = pl.Series(["a", "b", "c"] * 100)
    odds = np.array([2.2 if n // 3 % 10 < (5 if n % 3 == 2 else 9) else -2.2 for n in range(300)])
    found = annotator_odds(names, odds, np.arange(300) // 3 % 5)
    assert found is not None
    # An average annotator is right in 85 %, so that a and b are right in 98 % (the limit), and c in 50 %.
    each = [found[n::3].mean() for n in range(3)]
    assert each == pytest.approx([2.157, 2.157, -1.735], abs=0.1)
    assert np.ptp(found[2::3]) < 0.3  # over the folds


def test_their_labels_in_the_fold_do_not_count() -> None:
    names = pl.Series(["a", "b", "c", "d"] * 100)
    folds = np.repeat([0, 1], 200)
    agrees = np.full(400, 2.2)
    agrees[2:200:4] = -2.2  # c's labels, in fold 0 only
    found = annotator_odds(names, agrees, folds)
    assert found is not None
    assert found[:200] == pytest.approx(0)  # in fold 1 all are alike
    assert found[202::4].max() < -1


def test_few_labels_and_unknown_annotators_say_nothing() -> None:
    names = pl.Series([*(["a", "b"] * 150), "c", *(["d"] * 150), *([None] * 150)], dtype=pl.String)
    odds = np.array([*([2.2] * 300), -2.2, *([2.2, -2.2] * 75), *([-2.2, -2.2, 2.2] * 50)])
    folds = np.arange(len(odds)) % 5
    found = annotator_odds(names, odds, folds)
    assert found is not None
    assert (found[451:] == 0).all()
    assert abs(found[300]) < 0.1 < found[0]
    assert found[301:451].max() < -0.5


@pytest.mark.parametrize("names", [["a"] * 20, [None] * 20, ["a", None] * 10])
def test_one_annotator_is_no_evidence(names: list[str | None]) -> None:
    assert annotator_odds(pl.Series(names, dtype=pl.String), np.ones(20), np.arange(20) % 5) is None


def test_annotators_that_differ_by_chance_say_nothing() -> None:
    random = np.random.default_rng(0)
    shifts = []
    for _ in range(20):
        names = pl.Series(random.integers(0, 20, 2000).astype(str))
        odds = np.where(random.random(2000) < 0.8, 1.386, -1.386)
        found = annotator_odds(names, odds, np.arange(2000) % 5)
        assert found is not None
        shifts.append(np.abs(found).mean())
    assert np.mean(shifts) < 0.05


@given(st.integers(0, 2**32 - 1))
def test_names_and_the_order_of_rows_do_not_matter(seed: int) -> None:
    random = np.random.default_rng(seed)
    who, odds, folds = random.integers(0, 4, 80), random.normal(1, 2, 80), random.integers(0, 3, 80)
    found = annotator_odds(pl.Series([f"w{n}" for n in who]), odds, folds)
    order = random.permutation(80)
    again = annotator_odds(pl.Series([-n for n in who])[order], odds[order], folds[order])
    assert found is not None
    assert again == pytest.approx(found[order], abs=1e-9)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("lead", [0.0, 1e-200, -3.0, 1e9])
def test_heads_that_say_nothing_or_too_much(lead: float) -> None:
    found = annotator_odds(pl.Series(["a", "b"] * 20), np.full(40, lead), np.arange(40) % 5)
    assert found == pytest.approx(0)


def test_heads_that_mostly_disagree_with_the_labels_say_nothing_of_annotators() -> None:
    odds = np.tile([-2.2, -2.2, 2.2, -2.2, 2.2, -2.2], 100)
    assert annotator_odds(pl.Series(["a", "b", "c"] * 200), odds, np.arange(600) % 5) == pytest.approx(0)


def test_label_noise_finds_more_flips_with_annotators() -> None:
    pytest.importorskip("sklearn")
    random = np.random.default_rng(3)
    who = random.integers(0, 10, 1500)
    wrong = random.random(1500) < np.where(who < 2, 0.4, 0.02)
    given_ = evidence(wrong)
    noisy = given_.signals.with_columns(pl.col(name) + random.normal(0, 2, 1500) for name in given_.signals.columns)
    parts = given_.pairs, noisy, given_.texts, None, given_.groups
    without, with_ = label_noise(Evidence(*parts)), label_noise(Evidence(*parts, pl.Series(who)))
    assert [head["head"] for head in with_.heads] == [*(head["head"] for head in without.heads), "annotators"]

    def hits(found: pl.DataFrame) -> float:
        least = np.argsort(found.get_column("label_confidence").to_numpy())[: wrong.sum()]
        return float(wrong[least].mean())

    assert hits(with_.rows) > hits(without.rows) + 0.1


def test_the_column_is_found_by_name_or_named() -> None:
    rows = pl.DataFrame({"extra": ['{"worker_id":7,"meta":{"by":"x"}}', None, '{"worker_id":8}', '{"worker_id":null}']})
    found = annotators(rows, "auto")
    assert found is not None
    assert found.to_list() == ["7", None, "8", None]
    named = annotators(rows, "extra.meta.by")
    assert named is not None
    assert named.to_list() == ["x", None, None, None]
    assert annotators(rows, None) is None
    assert annotators(rows.clear(), "auto") is None
    assert annotators(pl.DataFrame({"extra": ['{"topic":"tea"}']}), "auto") is None
    with pytest.raises(RecipeError, match=r"label_noise.annotator: no row has extra.rater; expected a column"):
        annotators(rows, "extra.rater")
