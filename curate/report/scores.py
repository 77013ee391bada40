"""Scores of generated answers, by the model that wrote them and by aspect."""

from collections.abc import Mapping

import polars as pl

from curate.report.bounds import number
from curate.report.charts import Chart, Row, histograms
from curate.report.summary import Summary

MOST_MODELS = 4  # in the chart
OVERALL = "overall"
ASPECT = pl.Struct({"aspect": pl.String, "score": pl.Float64})


def by_model(answers: pl.DataFrame, used: Mapping[str, Mapping[str | None, int]]) -> list[Row]:
    """
    Return a row per model: its answers, how many are judged, the mean score, the mean by aspect, and in how many pairs
    they are used. Models with the highest mean are first; empty where nothing was judged.

    in : model, score, scores of every answer; by side how many pairs have a response of each model
    """
    if answers.get_column("score").null_count() == len(answers):
        return []
    scores = pl.col("score").filter(pl.col("score").is_finite())
    means = answers.group_by("model", maintain_order=True).agg(
        answers=pl.len(), judged=scores.count(), score=scores.mean()
    )
    aspects = (
        answers.select("model", "scores")
        .explode("scores", empty_as_null=False, keep_nulls=False)
        .unnest("scores")
        .filter(pl.col("aspect") != OVERALL)
        .group_by("model", "aspect", maintain_order=True)
        .agg(pl.col("score").mean())
    )
    named = {(model, aspect): mean for model, aspect, mean in aspects.iter_rows()}
    columns = list(dict.fromkeys(aspect for _, aspect in named))
    return [
        {
            "model": row["model"],
            "answers": row["answers"],
            "judged": row["judged"],
            "score, mean": number(row["score"]),
            **{f"{aspect}, mean": number(named.get((row["model"], aspect))) for aspect in columns},
            **{side: counts.get(row["model"], 0) for side, counts in used.items()},
        }
        for row in means.sort("score", "model", descending=[True, False], nulls_last=True).to_dicts()
    ]


def chart_of(answers: pl.DataFrame) -> Chart | None:
    """Return the distribution of the scores, by model where there are a few; None with fewer than ten scores."""
    answers = answers.filter(pl.col("score").is_finite())
    if len(answers) < 10:
        return None
    models = answers.get_column("model").unique().sort().to_list()
    groups = {"all answers": answers.get_column("score")}
    if len(models) <= MOST_MODELS:
        rows = {model: answers.filter(pl.col("model").eq_missing(pl.lit(model))) for model in models}
        groups = {model or "unknown": of_model.get_column("score") for model, of_model in rows.items()}
    return histograms(groups, "score", "answers")


def answers_of(summary: Summary) -> pl.DataFrame:
    """Return model, score and scores of every answer that a run generated; none where its pairs were read."""
    known = summary.run.manifest.stages
    for name in ("judged", "answers"):  # answers that had scores before are not judged
        if name in known and (stage := summary.run.stage(name)).parts():
            return stage.scan().select("model", "score", "scores").collect()
    return pl.DataFrame(schema={"model": pl.String, "score": pl.Float64, "scores": pl.List(ASPECT)})


def used_of(summary: Summary) -> dict[str, dict[str | None, int]]:
    """Return by side how many kept pairs have a response of each model."""
    sides = ("chosen", "rejected")
    models = summary.run.stage("pairs").scan().select(f"{side}_model" for side in sides)
    kept = pl.concat([summary.run.ledger.select("kept"), models], how="horizontal").filter("kept")
    return {side: dict(kept.group_by(f"{side}_model").len().collect().iter_rows()) for side in sides}
