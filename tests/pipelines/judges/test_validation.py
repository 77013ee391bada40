"""Agreement of verdicts with labels, and the difference of two rubrics; expected values are computed by hand."""

from typing import Any

import polars as pl
import pytest

from curate.recipe.load import make_recipe
from pipelines.inputs import answers_of, labels_of
from pipelines.judges.base import VERDICTS
from pipelines.judges.validation import figures, gain, outcomes
from pipelines.labelled import read_labelled
from tests.data import row, write_jsonl

WORDS = ("amber", "basil", "cedar", "dune", "ember", "fjord")


@pytest.fixture
def held_out(tmp_path: Any) -> pl.DataFrame:
    """Five labelled pairs; the chosen answer of the last is the shorter one."""
    texts = [{"prompt": f"What is {word}?", "chosen": f"Yes, {word}.", "rejected": "No."} for word in WORDS[:4]]
    texts.append({"prompt": f"What is {WORDS[4]}?", "chosen": "No.", "rejected": "Yes, at length."})
    path = write_jsonl(tmp_path / "p.jsonl", [row(0, **text) for text in texts])
    return read_labelled(make_recipe({"source": {"paths": [str(path)]}}), {"held out": 5}).parts["held out"]


def rated(pairs: pl.DataFrame, *scores: tuple[float | None, float | None]) -> pl.DataFrame:
    """Return VERDICTS: a rating of the chosen and of the rejected answer of every pair, in the order of the prompts."""
    places = pairs.select(pl.col("prompt").list.first().struct.field("content").rank("ordinal") - 1).to_series()
    answers = answers_of(pairs).select("candidate_id", "source", "source_row")
    values = [score for place in places for score in scores[place]]
    unusable = [value is None for value in values]
    return answers.with_columns(
        pl.Series("score", values, dtype=pl.Float64),
        pl.Series("raw", ["Hm." if each else None for each in unusable], dtype=pl.String),
        pl.Series("error", ["it holds no JSON object" if each else None for each in unusable], dtype=pl.String),
        judge=pl.lit("openai:judge"), method=pl.lit("rubric"), rubric=pl.lit("tone"), rubric_hash=pl.lit("f" * 16),
        aspect=pl.lit("tone"), reason=pl.lit(None, pl.String), other_id=pl.lit(None, pl.String),
        shown_first=pl.lit(None, pl.Boolean),
    ).select(list(VERDICTS))  # fmt: skip


def test_outcomes_and_figures(held_out: pl.DataFrame) -> None:
    candidates, labels = answers_of(held_out), labels_of(held_out)
    verdicts = rated(held_out, (5, 1), (4, 3), (3, 3), (None, 2), (2, 4))
    prompts = held_out.get_column("prompt").list.first().struct.field("content")
    found = dict(zip(prompts, outcomes(candidates, verdicts, labels), strict=True))
    assert found == {
        "What is amber?": 1.0,
        "What is basil?": 1.0,
        "What is cedar?": 0.5,
        "What is dune?": 0.5,
        "What is ember?": 0.0,
    }
    got = figures(candidates, verdicts, labels)
    assert {name: got[name] for name in got if name != "kappa"} == {
        "rubric_hash": "f" * 16, "pairs": 5, "agreement": 0.6, "decided": 3, "ties": 1, "unusable": 1,
        "decided_agreement": 2 / 3, "position_consistency": None, "length_bias": 1.0,
        "problem": "it holds no JSON object",
    }  # fmt: skip


def test_verdicts_that_decide_nothing(held_out: pl.DataFrame) -> None:
    verdicts = rated(held_out, *[(3, 3)] * 5)
    got = figures(answers_of(held_out), verdicts, labels_of(held_out))
    assert (got["agreement"], got["decided"], got["ties"]) == (0.5, 0, 5)
    assert [got[name] for name in ("decided_agreement", "kappa", "length_bias", "problem")] == [None] * 4


def test_a_comparison_counts_if_both_orders_agree(held_out: pl.DataFrame) -> None:
    pairs = labels_of(held_out)
    # better shown first wins, better shown second wins; then: always the first; always the second; missing; loses twice
    scores = [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (1.0, None), (0.0, 0.0)]
    rows = [
        {
            "judge": "openai:judge", "method": "pairwise", "rubric": "pairwise", "rubric_hash": "f" * 16,
            "source": source, "source_row": number, "candidate_id": better, "other_id": worse,
            "shown_first": shown_first, "score": score,
            "raw": None if score is not None else "Hm.", "error": None if score is not None else "no JSON",
        }
        for (source, number, better, worse), both in zip(pairs.rows(), scores, strict=True)
        for shown_first, score in zip((True, False), both, strict=True)
    ]  # fmt: skip
    verdicts = pl.DataFrame(rows, schema=VERDICTS)
    assert outcomes(answers_of(held_out), verdicts, pairs).to_list() == [1.0, 0.5, 0.5, 0.5, 0.0]
    got = figures(answers_of(held_out), verdicts, pairs)
    assert [got[name] for name in ("decided", "ties", "unusable", "position_consistency")] == [2, 2, 1, 0.5]


@pytest.mark.parametrize(
    ("new", "old", "mean", "low", "high"),
    [
        # n = 4 + 2: center 2/6, mean square (2 + 1)/6, half width 1.959964 √((1/2 − 1/9)/6)
        ([1, 1, 0, 1], [0, 0, 0, 1], 0.5, -0.16565, 0.83232),
        # center 0.5/6, mean square (0.25 + 1)/6, half width 1.959964 √((1.25/6 − 1/144)/6)
        ([1, 1, 0.5, 0], [1, 1, 0, 0], 0.125, -0.27575, 0.44241),
        ([1, 0], [0, 1], 0.0, -0.84869, 0.84869),
        ([1] * 98, [0] * 98, 1.0, 0.94628, 1.0),
        ([0], [0], 0.0, -0.65332, 0.65332),
    ],
)
def test_gain(new: list[float], old: list[float], mean: float, low: float, high: float) -> None:
    found = gain(pl.Series(new, dtype=pl.Float64), pl.Series(old, dtype=pl.Float64))
    assert found == pytest.approx({"mean": mean, "low": low, "high": high}, abs=1e-5)


def test_four_of_a_hundred_are_not_enough_and_six_are() -> None:
    """As by the exact sign test: p = 0.125 and 0.031."""
    for wins, sure in ((4, False), (6, True)):
        found = gain(pl.Series([1.0] * wins + [0.0] * (100 - wins)), pl.Series([0.0] * 100))
        assert (found["low"] > 0) == sure
