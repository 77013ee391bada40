"""Held-out accuracy and margin, overall and for the parts of the data in which a model may be different."""

from typing import Any

import polars as pl

from curate.signals import measure
from train.evaluation import intervals

FEWEST = 10  # pairs below which a slice is not shown: its interval would say nothing

# margin: how much the tuned model moved towards chosen, against the reference, in nats; DPO's reward without beta.
margin = (pl.col("tuned_chosen") - pl.col("reference_chosen")) - (
    pl.col("tuned_rejected") - pl.col("reference_rejected")
)
correct = pl.when(margin == 0).then(0.5).otherwise((margin > 0).cast(pl.Float64))
# The same for the reference by itself, which has no reference: does it find chosen the more probable answer?
by_itself = pl.col("reference_chosen") - pl.col("reference_rejected")


def scored(pairs: pl.DataFrame, logps: pl.DataFrame) -> pl.DataFrame:
    """
    in : PAIR; log-probs row for row
    out: pair_id, prompt_id, the log-probs, margin (nats), correct (1, 0, 0.5 = tie), and the slices: source, language
         (of the prompt), longer (which side), length (thirds of chosen, in words), cluster where there is one.
    """
    measured = measure(pairs).select("prompt_language", "chosen_words", "chosen_chars", "rejected_chars")
    names = [name for name in ("cluster",) if name in pairs.columns]
    both = pl.concat([pairs.select("pair_id", "prompt_id", "source", *names), logps, measured], how="horizontal")
    longer = (pl.col("chosen_chars").cast(pl.Int64) - pl.col("rejected_chars").cast(pl.Int64)).sign()
    side = longer.replace_strict({1: "chosen", -1: "rejected", 0: "neither"}, return_dtype=pl.String)
    return both.select(
        "pair_id",
        "prompt_id",
        *logps.columns,
        margin=margin,
        correct=correct,
        reference_correct=pl.when(by_itself == 0).then(0.5).otherwise((by_itself > 0).cast(pl.Float64)),
        source="source",
        language="prompt_language",
        longer=side,
        length=_thirds("chosen_words"),
        **{name: pl.col(name).cast(pl.String) for name in names},
    )


def slices(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Accuracy and margin with their intervals: all pairs first, then every slice of ten pairs or more."""
    parts = [("all", "", rows)]
    for name in ("source", "language", "longer", "length", "cluster"):
        if name in rows.columns and rows.get_column(name).n_unique() > 1:
            groups = rows.filter(pl.col(name).is_not_null()).partition_by(name, as_dict=True)
            parts += [(name, str(value), part) for (value,), part in sorted(groups.items()) if len(part) >= FEWEST]
    return [
        {"slice": name, "value": value, "pairs": len(part), **_figures(part)}
        for name, value, part in parts
        if part.get_column("margin").count()
    ]


def _figures(part: pl.DataFrame) -> dict[str, Any]:
    groups = part.get_column("prompt_id")
    right = intervals.share(part.get_column("correct"), groups)
    moved = intervals.mean(part.get_column("margin"), groups)
    before = intervals.share(part.get_column("reference_correct"), groups)
    return {"accuracy": right, "margin": moved, "reference_finds_chosen_likelier": before}


def _thirds(name: str) -> pl.Expr:
    low, high = (pl.col(name).quantile(share, "nearest") for share in (1 / 3, 2 / 3))
    words = pl.col(name)
    return (
        pl.when(words <= low)
        .then(pl.lit("1 short"))
        .when(words <= high)
        .then(pl.lit("2 middle"))
        .when(words > high)
        .then(pl.lit("3 long"))
    )
