"""Held-out accuracy and margin, overall and by slices of the data where they may differ."""

from typing import Any

import polars as pl

from curate.signals import measure
from train.evaluation import intervals

MIN_SLICE_PAIRS = 10  # smaller slices are not shown: their intervals are too wide to be useful

# How far the tuned model moved towards chosen relative to the reference, in nats: DPO's reward margin without beta.
margin = (pl.col("tuned_chosen") - pl.col("reference_chosen")) - (
    pl.col("tuned_rejected") - pl.col("reference_rejected")
)
correct = pl.when(margin == 0).then(0.5).otherwise((margin > 0).cast(pl.Float64))
# For the reference alone: whether it gives chosen a higher log-prob than rejected.
reference_margin = pl.col("reference_chosen") - pl.col("reference_rejected")


def score_pairs(pairs: pl.DataFrame, logps: pl.DataFrame) -> pl.DataFrame:
    """
    Add margins, correctness and slices to the log-probs of pairs.

    in : PAIR; the log-probs of `log_probs`, one row per pair
    out: pair_id, prompt_id, the log-probs, margin (nats), correct and reference_correct (1, 0, 0.5 = tie), and the
         slices: source, language (of the prompt), longer (chosen, rejected or neither), length (terciles of chosen, in
         words), and cluster if PAIR has it; margin and correct are null without log-probs
    """
    measured = measure(pairs).select("prompt_language", "chosen_words", "chosen_chars", "rejected_chars")
    names = [name for name in ("cluster",) if name in pairs.columns]
    both = pl.concat([pairs.select("pair_id", "prompt_id", "source", *names), logps, measured], how="horizontal")
    longer = (pl.col("chosen_chars").cast(pl.Int64) - pl.col("rejected_chars").cast(pl.Int64)).sign()
    return both.select(
        "pair_id",
        "prompt_id",
        *logps.columns,
        margin=margin,
        correct=correct,
        reference_correct=pl.when(reference_margin == 0).then(0.5).otherwise((reference_margin > 0).cast(pl.Float64)),
        source="source",
        language="prompt_language",
        longer=longer.replace_strict({1: "chosen", -1: "rejected", 0: "neither"}, return_dtype=pl.String),
        length=_terciles("chosen_words"),
        **{name: pl.col(name).cast(pl.String) for name in names},
    )


def slices(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Return accuracy and margin with intervals, one dict per slice: all pairs, then every slice of ten or more."""
    parts = [("all", "", rows)]
    for name in ("source", "language", "longer", "length", "cluster"):
        if name in rows.columns and rows.get_column(name).n_unique() > 1:
            groups = rows.filter(pl.col(name).is_not_null()).partition_by(name, as_dict=True)
            parts += [
                (name, str(value), part) for (value,), part in sorted(groups.items()) if len(part) >= MIN_SLICE_PAIRS
            ]
    return [
        {"slice": name, "value": value, "pairs": len(part), **_metrics(part)}
        for name, value, part in parts
        if part.get_column("margin").count()
    ]


def _metrics(part: pl.DataFrame) -> dict[str, Any]:
    prompts = part.get_column("prompt_id")
    return {
        "accuracy": intervals.proportion(part.get_column("correct"), prompts),
        "margin": intervals.mean(part.get_column("margin"), prompts),
        "reference_accuracy": intervals.proportion(part.get_column("reference_correct"), prompts),
    }


def _terciles(name: str) -> pl.Expr:
    low, high = (pl.col(name).quantile(share, "nearest") for share in (1 / 3, 2 / 3))
    words = pl.col(name)
    return (
        pl.when(words <= low)
        .then(pl.lit("1 short"))
        .when(words <= high)
        .then(pl.lit("2 medium"))
        .when(words > high)
        .then(pl.lit("3 long"))
    )
