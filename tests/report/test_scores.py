"""Scores of generated answers by model and aspect."""

from typing import Any

import polars as pl

from curate.report.scores import ASPECT, by_model, chart_of


def answer(model: str | None, score: float | None, **aspects: float) -> dict[str, Any]:
    return {
        "model": model,
        "score": score,
        "scores": [{"aspect": name, "score": value} for name, value in {"overall": score, **aspects}.items()],
    }


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"model": pl.String, "score": pl.Float64, "scores": pl.List(ASPECT)})


def test_means_by_model_and_aspect() -> None:
    answers = frame(
        answer("a", 0.25, honesty=2.0, clarity=4.0),
        answer("b", 0.75, honesty=5.0),
        answer("a", 0.5, honesty=3.0),
        answer("b", None),
        answer("b", float("nan")),
    )
    assert by_model(answers, {"chosen": {"b": 2}, "rejected": {"a": 1, "b": 1}}) == [
        {"model": "b", "answers": 3, "judged": 1, "score, mean": "0.75", "honesty, mean": "5", "clarity, mean": "–",
         "chosen": 2, "rejected": 1},
        {"model": "a", "answers": 2, "judged": 2, "score, mean": "0.375", "honesty, mean": "2.5",
         "clarity, mean": "4", "chosen": 0, "rejected": 1},
    ]  # fmt: skip


def test_nothing_was_judged() -> None:
    assert by_model(frame(), {}) == []
    assert by_model(frame(answer("a", None)), {}) == []
    assert chart_of(frame(*[answer("a", 0.5)] * 9)) is None


def test_the_chart_counts_answers_by_model() -> None:
    drawn = chart_of(frame(*[answer("a", 0.5)] * 6, *[answer(None, 1.0)] * 4))
    assert drawn is not None
    assert drawn.table == [
        {"from": 0.5, "to": 0.5 + 0.5 / 36, "unknown": 0, "a": 6},
        {"from": 1 - 0.5 / 36, "to": 1.0, "unknown": 4, "a": 0},
    ]  # fmt: skip
    assert "4 unknown" in drawn.svg
