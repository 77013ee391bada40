"""Figures about the answers of a run, for its manifest, card and report."""

from typing import Any

import polars as pl

from curate.rundir.stage import Stage


def answer_report(answers: Stage) -> list[dict[str, Any]]:
    """
    Per model: number of answers, of failed and cut-off ones and of those without text with their most frequent problem,
    mean length in tokens.
    """
    finish = pl.col("finish_reason")
    silent = pl.col("response").is_null() & finish.is_not_null() & (finish != "length")
    rows = answers.scan().group_by("model", maintain_order=True).agg(
        answers=pl.len(),
        failed=(pl.col("response").is_null() & finish.is_null()).sum(),
        cut_off=(finish == "length").sum(),
        without_text=silent.sum(),
        problem=pl.col("error").filter(pl.col("response").is_null()).drop_nulls().mode(maintain_order=True).first(),
        on_policy=pl.col("on_policy").any(),
        mean_tokens=pl.col("output_tokens").mean().round(1),
    )  # fmt: skip
    return rows.collect().to_dicts()
