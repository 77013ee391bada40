"""Label confidence: flips are found, mirrored pairs get the opposite, and nothing is said where nothing is known."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import RecipeError
from curate.findings.crossfit import crossfitted, folds_of, logistic, probability, scaled
from curate.findings.label_noise import NOISE, Evidence, label_noise

pytest.importorskip("sklearn")


def evidence(wrong: np.ndarray, *, models: bool = False, seed: int = 0) -> Evidence:
    """Return pairs in which the better answer is mostly the longer one with more lists; `wrong` ones are swapped."""
    count, random = len(wrong), np.random.default_rng(seed)
    better = random.normal(1.0, 1.0, size=(count, 2))
    worse = random.normal(-1.0, 1.0, size=(count, 2))
    sides = np.where(wrong[:, None], worse, better), np.where(wrong[:, None], better, worse)
    signals = pl.DataFrame(
        {
            f"{side}_{name}": values[:, n]
            for side, values in zip(("chosen", "rejected"), sides, strict=True)
            for n, name in enumerate(("chars", "markdown_share"))
        }
    )
    names = [("good", "bad") if not swapped else ("bad", "good") for swapped in wrong]
    pairs = pl.DataFrame(
        {
            "pair_id": [f"p{n}" for n in range(count)],
            "prompt_id": [f"q{n % (count // 2)}" for n in range(count)],
            "chosen_model": [name if models else None for name, _ in names],
            "rejected_model": [name if models else None for _, name in names],
        },
        schema_overrides={"chosen_model": pl.String, "rejected_model": pl.String},
    )
    texts = (pl.Series(["same words"] * count), pl.Series(["same words"] * count))
    return Evidence(pairs, signals, texts, None, pairs.get_column("prompt_id"))


def flips(count: int = 400, rate: float = 0.1) -> np.ndarray:
    return np.random.default_rng(7).random(count) < rate


def test_flipped_pairs_are_the_least_confident() -> None:
    wrong = flips()
    found = label_noise(evidence(wrong))
    assert found.rows.schema == NOISE
    confidence: np.ndarray = found.rows.get_column("label_confidence").to_numpy()
    least = np.argsort(confidence)[: wrong.sum()]
    assert wrong[least].mean() > 0.7
    assert confidence[~wrong].mean() > 0.8
    verdicts = found.rows.get_column("label_verdict")
    assert np.mean((verdicts == "reversed").to_numpy()[wrong]) > 0.6
    assert np.mean((verdicts == "agrees").to_numpy()[~wrong]) > 0.8
    losses = -np.log(confidence)
    assert found.rows.get_column("heldout_loss").to_numpy() == pytest.approx(losses)


def test_the_confidence_is_calibrated() -> None:
    wrong = flips(2000, 0.2)
    found = label_noise(evidence(wrong))
    confidence = found.rows.get_column("label_confidence").to_numpy()
    sure = np.maximum(confidence, 1 - confidence)
    for low, high in ((0.6, 0.75), (0.75, 0.9)):
        inside = (sure >= low) & (sure < high)
        assert inside.sum() > 50
        # Of the pairs whose heads say 80 %, 80 % are labelled that way.
        assert np.mean(confidence[inside] > 0.5) == pytest.approx(sure[inside].mean(), abs=0.12)


def test_pairs_of_two_like_answers_are_ambiguous_and_not_reversed() -> None:
    given_ = evidence(flips())
    alike = pl.Series(np.arange(400) % 10 == 0)
    signals = given_.signals.with_columns(
        pl.when(alike).then(f"chosen_{name}").otherwise(f"rejected_{name}").alias(f"rejected_{name}")
        for name in ("chars", "markdown_share")
    )
    found = label_noise(Evidence(given_.pairs, signals, given_.texts, None, given_.groups)).rows
    assert found.filter(alike).get_column("label_verdict").unique().to_list() == ["ambiguous"]
    assert found.filter(alike).get_column("label_confidence").to_numpy() == pytest.approx(0.5)


def test_models_are_evidence_where_they_are_known() -> None:
    wrong = flips(200)
    with_models = label_noise(evidence(wrong, models=True))
    assert "models" in [head["head"] for head in with_models.heads]
    assert "models" not in [head["head"] for head in label_noise(evidence(wrong)).heads]
    least = np.argsort(with_models.rows.get_column("label_confidence").to_numpy())[: wrong.sum()]
    assert wrong[least].all()


@pytest.mark.parametrize(("column", "is_used"), [("margin", True), ("chosen_chars", False)])
def test_a_score_counts_only_where_it_may_disagree(column: str, is_used: bool) -> None:
    wrong = flips(200)
    given_ = evidence(wrong)
    scores = pl.Series("margin", np.where(wrong, -1.0, 1.0) if is_used else np.ones(200))
    pairs = given_.pairs.with_columns(scores)
    found = label_noise(Evidence(pairs, given_.signals, given_.texts, None, given_.groups))
    assert ("scores" in [head["head"] for head in found.heads]) == is_used, column


def test_other_labels_of_the_same_answers_count() -> None:
    wrong = np.zeros(200, bool)
    given_ = evidence(wrong)
    # Rows 0 to 2 prefer x over y, row 3 prefers y.
    ids = ["xy", "xy", "xy", "yx", *(f"p{n}" for n in range(4, 200))]
    flipped = ["yx", "yx", "yx", "xy", *(f"r{n}" for n in range(4, 200))]
    pairs = given_.pairs.with_columns(pair_id=pl.Series(ids), flipped_id=pl.Series(flipped))
    empty = given_.signals.with_columns(pl.all() * 0.0)
    found = label_noise(Evidence(pairs, empty, given_.texts, None, given_.groups))
    assert [head["head"] for head in found.heads][-1] == "other labels"
    confidence = found.rows.get_column("label_confidence")
    assert confidence[3] <= confidence[4] <= confidence[0]


@pytest.mark.parametrize(("count", "prompts"), [(0, 1), (99, 50), (150, 1)])
def test_too_little_to_learn_from(count: int, prompts: int) -> None:
    given_ = evidence(np.zeros(max(count, 2), bool))
    pairs = given_.pairs.head(count).with_columns(prompt_id=pl.Series([f"q{n % prompts}" for n in range(count)]))
    texts = (given_.texts[0].head(count), given_.texts[1].head(count))
    small = Evidence(pairs, given_.signals.head(count), texts, None, pairs.get_column("prompt_id"))
    with pytest.raises(RecipeError, match="too few to learn from; expected 100 or more"):
        label_noise(small)


def test_answers_that_do_not_differ_at_all() -> None:
    given_ = evidence(np.zeros(120, bool))
    same = given_.signals.with_columns(pl.all() * 0.0)
    found = label_noise(Evidence(given_.pairs, same, given_.texts, None, given_.groups)).rows
    assert found.get_column("label_confidence").to_numpy() == pytest.approx(0.5)
    assert found.get_column("label_verdict").unique().to_list() == ["ambiguous"]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_a_model_says_the_opposite_of_a_mirrored_pair(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(60, 3)) + 0.5
    folds = folds_of(pl.Series([f"g{n % 20}" for n in range(60)]))
    fit = logistic(scaled(x), 1.0)(np.flatnonzero(folds != 0))
    rows = np.flatnonzero(folds == 0)
    mirrored = logistic(-scaled(x), 1.0)(np.flatnonzero(folds != 0))(rows)
    assert fit(rows) == pytest.approx(mirrored, abs=1e-4)  # fitted on mirrored pairs, asked about mirrored ones
    assert probability(fit(rows)) + probability(-fit(rows)) == pytest.approx(1)


@given(st.permutations(range(24)))
def test_folds_do_not_depend_on_the_order_of_rows(order: list[int]) -> None:
    groups = pl.Series([f"g{n % 7}" for n in range(24)])
    folds = folds_of(groups)
    assert (folds_of(groups[order]) == folds[order]).all()
    assert set(folds) == {0, 1, 2, 3, 4}
    for _, rows in pl.DataFrame({"group": groups, "fold": folds}).group_by("group"):
        assert rows.get_column("fold").n_unique() == 1
    assert (crossfitted(logistic(np.ones((24, 1)), 1.0), np.zeros(24, np.int64)) == 0).all()
