"""The tables of an audit and its remedies: frames of lengths, models and groups in, tables out."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from curate.findings.features import Features, model_features, surface_features
from curate.findings.remedies import models_balanced, remedy_table, weights_of
from curate.findings.shortcuts import Told, auc_table, feature_table, length_share, win_rates
from curate.selection.ranked import length_balanced

NOTHING = Features((), np.empty((0, 0)))


def pairs(chosen: list[int], rejected: list[int], **columns: list[Any]) -> pl.DataFrame:
    """Return pairs of these lengths; each prompt is one of its own."""
    count = len(chosen)
    frame = pl.DataFrame(
        {
            "pair_id": [f"{n:03}" for n in range(count)],
            "source": ["s"] * count,
            "group": np.arange(count),
            "prompt_language": ["en"] * count,
            "chosen_model": pl.Series([None] * count, dtype=pl.String),
            "rejected_model": pl.Series([None] * count, dtype=pl.String),
            "margin": pl.Series([None] * count, dtype=pl.Float64),
            "chosen_chars": pl.Series(chosen, dtype=pl.UInt32),
            "rejected_chars": pl.Series(rejected, dtype=pl.UInt32),
        }
    )
    return frame.with_columns(pl.Series(name, values) for name, values in columns.items())


def told(frame: pl.DataFrame) -> Told:
    return Told.of(surface_features(frame), frame.get_column("group").to_numpy())


def tables(frame: pl.DataFrame) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the rows of aucs and remedies by name."""
    found, surface, models = told(frame), surface_features(frame), model_features(frame)
    aucs, remedies = (make(found, frame, surface, models) for make in (auc_table, remedy_table))
    return {row["what"]: row for row in aucs.to_dicts()}, {row["remedy"]: row for row in remedies.to_dicts()}


LONGER = pairs([100 + 10 * n for n in range(60)], [50] * 60)
# The longer answer is chosen in 48 of 60 pairs, whatever the ratio.
MOSTLY = pairs(
    [10 if n % 5 == 0 else 20 + n // 5 for n in range(60)], [20 + n // 5 if n % 5 == 0 else 10 for n in range(60)]
)


def test_length_that_always_decides() -> None:
    aucs, remedies = tables(LONGER)
    assert [aucs["all features"][name] for name in ("features", "pairs", "prompts", "auc", "low", "high")] == [
        1, 60, 60, 1.0, 1.0, 1.0
    ]  # fmt: skip
    assert aucs["length alone"]["auc"] == 1.0
    assert aucs["all but length"]["auc"] == 0.5
    assert (remedies["none"]["longer"], remedies["lengths balanced"]["kept"]) == (1.0, 0)
    assert remedies["lengths balanced"]["auc"] is None
    (feature,) = feature_table(told(LONGER), surface_features(LONGER)).to_dicts()
    assert (feature["feature"], feature["chosen"], feature["differs"], feature["alone"]) == (
        "chars",
        "longer",
        1.0,
        1.0,
    )
    assert (feature["coefficient"] > 1, feature["drop"]) == (True, 0.5)


def test_balanced_lengths_tell_nothing_any_more() -> None:
    _, remedies = tables(MOSTLY)
    before, after = remedies["none"], remedies["lengths balanced"]
    assert 0.5 < before["low"] < before["auc"] == pytest.approx(0.8, abs=0.08)
    assert after["auc"] <= 0.5
    assert after["kept"] == length_balanced(MOSTLY)["keep"].sum() == 24
    assert (after["lost"], after["effective"], after["longer"]) == (36, 24, 0.5)
    assert after["how"] == "--set 'select.length_balanced={}'"


def test_weights_make_length_worthless_and_lose_no_row() -> None:
    _, remedies = tables(MOSTLY)
    row = remedies["weighted by 1/p"]
    assert (row["kept"], row["lost"]) == (60, 0)
    assert 30 < row["effective"] < 60
    assert row["auc"] < 0.65
    assert row["longer"] == pytest.approx(0.5, abs=0.1)
    assert weights_of(np.array([0.8, 0.2, 0.0])).tolist() == pytest.approx([3 / 21, 12 / 21, 48 / 21], abs=0.01)


def test_only_pairs_that_are_nearly_certain_are_dropped() -> None:
    _, remedies = tables(LONGER)
    sure = np.abs(told(LONGER).fit.probabilities - 0.5) > 0.45  # type: ignore[union-attr]
    assert remedies["certain ones dropped"]["lost"] == sure.sum() > 0
    assert tables(MOSTLY)[1]["certain ones dropped"]["lost"] == 0


def test_pairs_of_equal_length() -> None:
    """Within 10 % in 20 of 40 pairs, and there the number of lines decides."""
    lines = {"chosen_lines": [3] * 40, "rejected_lines": [1] * 20 + [9] * 20}
    frame = pairs([109] * 20 + [112] * 20, [100] * 40, **lines)
    row = tables(frame)[0]["all but length, lengths equal"]
    assert (row["pairs"], row["features"], row["auc"]) == (20, 1, 1.0)


def test_pairs_that_differ_in_nothing() -> None:
    same = pairs([5] * 10, [5] * 10)
    aucs, remedies = tables(same)
    assert [(row["auc"], row["low"], row["high"], row["features"]) for row in aucs.values()] == [(0.5, 0.5, 0.5, 0)] * 4
    assert {(row["kept"], row["auc"], row["longer"]) for row in remedies.values()} == {(10, 0.5, None)}
    assert feature_table(told(same), surface_features(same)).is_empty()
    assert win_rates(told(same), same).is_empty()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_fewer_pairs_than_folds(count: int) -> None:
    aucs, remedies = tables(LONGER.head(count))
    assert aucs["all features"]["auc"] == 1.0
    assert (remedies["weighted by 1/p"]["auc"] is None) == (count == 2)


def test_features_are_named_by_what_they_tell_alone() -> None:
    columns = {"chosen_a": [0.0, 0.0, 1.0, 0.0] * 10, "rejected_a": [1.0, 1.0, 0.0, 0.0] * 10}
    frame = pairs([9] * 40, [8] * 40, **columns)
    found = feature_table(told(frame), surface_features(frame))
    assert found.select("feature", "chosen", "differs").rows() == [("chars", "longer", 1.0), ("a", "less a", 0.75)]
    assert found["alone"].to_list() == [1.0, 0.6571]
    assert found["coefficient"][1] < 0 < found["coefficient"][0]


def test_win_rates_by_length_source_and_topic() -> None:
    topics = ["tea", "tea", None, "tea", "milk", "tea"]
    frame = pairs([105, 10, 13, 50, 10, 7], [100, 11, 10, 10, 15, 7], source=list("aaabbb"), topic=topics)
    rows = win_rates(told(frame), frame).select("by", "value", "wins", "pairs", "rate").rows()
    assert rows == [
        ("length", "1–1.1 times as long", "the longer", 2, 0.5),
        ("length", "1.25–1.5 times as long", "the longer", 2, 0.5),
        ("length", "over 4 times as long", "the longer", 1, 1.0),
        ("source", "a", "the longer", 3, 0.6667),
        ("source", "b", "the longer", 2, 0.5),
        ("language", "en", "the longer", 5, 0.6),
        ("topic", "tea", "the longer", 3, 0.6667),
        ("topic", "milk", "the longer", 1, 0.0),
    ]
    assert set(win_rates(told(LONGER), LONGER)["accuracy"]) == {1.0}
    assert win_rates(told(frame), frame).row(0)[5:7] == pytest.approx((0.0945, 0.9055), abs=1e-4)


CHOSEN, REJECTED = list("aaaabcc") * 6, list("bbbbacd") * 6


def test_models() -> None:
    frame = pairs([5] * 42, [5] * 42, chosen_model=CHOSEN, rejected_model=REJECTED)
    rows = win_rates(told(frame), frame).select("by", "value", "wins", "pairs", "rate").rows()
    assert rows == [
        ("model", "a", "its own", 30, 0.8), ("model", "b", "its own", 30, 0.2),
        ("model", "c", "its own", 6, 1.0), ("model", "d", "its own", 6, 0.0),
    ]  # fmt: skip
    assert "models capped at 6" in tables(frame.filter(pl.col("chosen_model") != "a"))[1]
    assert len(tables(frame.filter(chosen_model="a"))[1]) == 4  # a cap on one model is none
    aucs, remedies = tables(frame)
    assert (aucs["all features"]["auc"], aucs["names of the models"]["features"]) == (0.5, 4)
    assert aucs["names of the models"]["low"] > 0.6
    assert remedies["none"]["model_auc"] == aucs["names of the models"]["auc"]
    capped = remedies["models capped at 12"]
    assert (capped["kept"], capped["how"]) == (30, "--set 'select.cap={per: chosen_model, n: 12}'")
    balanced = remedies["models balanced"]
    assert balanced["kept"] == 6 * (1 + 1 + 1)  # one of a over b, b over a, and c over itself
    assert balanced["model_auc"] <= 0.5


def test_balanced_models_keep_unknown_ones() -> None:
    frame = pairs([5] * 4, [5] * 4, chosen_model=["a", None, "b", "a"], rejected_model=["b", "a", "a", "c"])
    assert models_balanced(frame).to_list() == [True, True, True, False]


def test_the_share_of_longer_ones() -> None:
    frame = pairs([5, 7, 9, 1], [5, 6, 8, 2])
    assert length_share(frame) == 0.6667
    assert length_share(frame, np.array([1.0, 1.0, 1.0, 6.0])) == 0.25
    assert length_share(frame.head(1)) is None
