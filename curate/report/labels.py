"""Label noise on the report: what it was learnt from, pairs by verdict, and the labels that are least confident."""

from typing import TYPE_CHECKING, Any

import polars as pl

from curate.report.topics import first_words
from curate.schema.message import shown_turns

if TYPE_CHECKING:
    from curate.report.summary import Summary

LEAST = 20  # pairs that are shown
SHOWN_CHARS = 600  # of an answer


def label_tables(summary: "Summary") -> dict[str, list[dict[str, Any]]]:
    """Return tables by title; empty where the recipe does not estimate label noise."""
    facts = summary.run.manifest.label_noise
    if facts is None:
        return {}
    return {
        "Heads": [
            {"head": head["head"], "weight": head["weight"], "agrees with the labels": f"{float(head['agrees']):.1%}"}
            for head in facts.heads
        ],
        "Pairs by verdict": [{"verdict": verdict, "pairs": count} for verdict, count in facts.verdicts.items()],
    }


def least_confident(summary: "Summary") -> list[dict[str, Any]]:
    """Return the pairs of least confidence, with the beginnings of their texts; none where nothing was estimated."""
    if summary.run.manifest.label_noise is None:
        return []
    signals = summary.run.signals.scan("place").select("place", "label_confidence")
    least = signals.drop_nulls().sort("label_confidence", "place").head(LEAST).collect()
    wanted = pl.col("place").is_in(least.get_column("place").implode())
    ledger = summary.run.ledger.select("source_row", "kept").with_row_index("place").filter(wanted).collect()
    names = ("prompt", "chosen", "rejected", "tools")
    texts = summary.run.stage("pairs").scan("place").select("place", *names).filter(wanted).collect()
    rows = least.join(ledger, on="place").join(texts, on="place").sort("label_confidence", "place").to_dicts()
    return [
        {
            "prompt": first_words(shown_turns(row, "prompt")[-1]["content"] if row["prompt"] else ""),
            **{side: first_words(" ".join(t["content"] for t in shown_turns(row, side)), SHOWN_CHARS)
               for side in ("chosen", "rejected")},
            "confidence": round(row["label_confidence"], 3),
            "row": row["source_row"],
            "is": "kept" if row["kept"] else "dropped",
        }
        for row in rows
    ]  # fmt: skip
