"""
How well `select.like` finds what twenty examples show: cooking and code among the AlpacaEval annotations.

    python -m tests.benchmarks.relevance

The examples are our own sentences. All 805 prompts were labelled by hand (relevance.json: ids of the prompts that
belong to the topic, and of those that are hard to tell, which count neither way). Precision of the first 100 is that of
the 100 most relevant pairs, as `select: {like: {examples: …, top: 100}}` keeps them; a prompt has about 16 pairs.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

import curate

HERE = Path(__file__).resolve()
SHARED = HERE.parents[3] / "shared" / "data" / "alpaca_eval_annotations.parquet"
TOPICS = json.loads(HERE.with_name("relevance.json").read_text("utf-8"))


def main() -> None:
    """Print a row per topic and number of examples."""
    if not SHARED.is_file():
        sys.exit(f"skipped: {SHARED.name} is not beside the repository, in ../shared/data")
    pairs = curate.filter(curate.read(SHARED)).kept
    print(f"{len(pairs):,} pairs of {pairs['prompt_id'].n_unique():,} prompts\n")
    print(
        "topic    examples  first 100 pairs  prompts in topic  found at 0.5  precision  recall  av. precision  seconds"
    )
    for topic, labels in TOPICS.items():
        for count in (20, 5):
            started = time.perf_counter()
            top = curate.select(pairs, {"like": {"texts": labels["examples"][:count], "top": 100}}).kept
            kept = curate.select(pairs, {"like": {"texts": labels["examples"][:count]}}).kept
            seconds = (time.perf_counter() - started) / 2
            first = judged(top, labels)
            found = judged(kept.unique("prompt_id", maintain_order=True), labels)
            print(
                f"{topic:8} {count:>8} {np.mean(first):>16.2f} {len(labels['yes']):>17} {len(found):>13} "
                f"{np.mean(found):>10.2f} {sum(found) / len(labels['yes']):>7.2f} {average(pairs, labels, count):>14.2f} "
                f"{seconds:>8.1f}"
            )


def judged(pairs: pl.DataFrame, labels: dict[str, list[str]]) -> list[bool]:
    """Return whether each pair belongs to the topic; those that are hard to tell are left out."""
    ids = pairs.filter(~pl.col("prompt_id").is_in(labels["unclear"])).get_column("prompt_id")
    return [one in set(labels["yes"]) for one in ids]


def average(pairs: pl.DataFrame, labels: dict[str, list[str]], count: int) -> float:
    """Return the average precision over the prompts, ranked by relevance."""
    prompts = pairs.unique("prompt_id", maintain_order=True)
    below = curate.select(prompts, {"like": {"texts": labels["examples"][:count], "top": 1}})
    rest = below.dropped.sort("value", descending=True)
    hits = np.array(judged(below.kept, labels) + judged(rest, labels))
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


if __name__ == "__main__":
    main()
