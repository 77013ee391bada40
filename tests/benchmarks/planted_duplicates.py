"""
What each way finds of duplicates whose place is known, kind by kind, and how often what it says is true.

    python -m tests.benchmarks.planted_duplicates

The edits are made to AlpacaEval's longer prompts (../shared/data); paraphrases, translations and lookalikes are written
by hand (tests/planted_duplicates). Vectors are those of all-MiniLM-L6-v2. A way found a row when it puts it together
with the text that it was made from. Recall is of what any way finds at its default threshold (columns marked *);
precision is the share of the rows that these say anything of, of which all that they say is true.
"""

import os
import re
import sys

import numpy as np
import polars as pl

from curate.dedup.semantic import embed, guarded, semantic
from curate.embedding import load_encoder
from tests.data import SHARED
from tests.planted_duplicates import (
    SENTENCE,
    Way,
    contradictions,
    counted,
    in_clusters,
    in_evals,
    nearly_same_words,
    planted,
    same_words,
)

WORDS, SENTENCES = 30, 3  # of the prompts that are edited, at least
DEFAULTS = ("exact words*", "near 0.8*", "semantic 0.9*", "decontamination*")


def main() -> None:
    """Print the table."""
    if not (SHARED / "alpaca_eval_outputs.parquet").is_file():
        sys.exit("skipped: the real texts are not beside the repository, in ../shared/data")
    base = real_prompts()
    answers = pl.read_parquet(SHARED / "alpaca_eval_outputs.parquet", columns=["output"]).to_series()
    answers = answers.unique().sort()
    rows = planted(base, answers.filter(answers.str.len_chars().is_between(300, 1500)).to_list())
    ways: dict[str, Way] = {
        "exact words*": same_words,
        "near 0.8*": nearly_same_words,
        "near 0.7": lambda texts: nearly_same_words(texts, 0.7),
        **by_vectors([0.9, 0.8, 0.7]),
    }
    found = {way: in_clusters(rows, cluster(rows.get_column("text"))) for way, cluster in ways.items()}
    found["decontamination*"] = in_evals(rows)
    overall = counted(rows, {way: found[way] for way in DEFAULTS}).select("kind", "recall", "precision")
    each = counted(rows, found).drop("recall", "precision")
    print(f"{len(base)} real prompts, {len(rows):,} texts in all; load {os.getloadavg()[0]:.1f}\n")
    columns = ["kind", "planted", *found, "recall", "precision"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in each.join(overall, on="kind", maintain_order="left").select(columns).rows():
        print(f"| {' | '.join(shown(value) for value in row)} |")
    of_pairs = [contradictions(base, way) for way in ways.values()]
    best = max(of_pairs[list(ways).index(way)] for way in DEFAULTS if way in ways)
    cells = [*map(str, of_pairs), "–", f"{best / len(base):.2f}", "–"]
    print(f"| contradictory copies (pairs) | {len(base)} | {' | '.join(cells)} |")
    print("\n| way | rows said to be duplicates | of which all that is said is true |\n|---|---|---|")
    for way, said in found.items():
        right, every = truths(rows, said)
        print(f"| {way} | {every} | {right / max(every, 1):.3f} |")


def real_prompts() -> list[str]:
    """AlpacaEval's longer prompts, in an order of their own; of some that are alike themselves, the first."""
    instructions = pl.read_parquet(SHARED / "alpaca_eval_outputs.parquet", columns=["instruction"]).to_series()
    texts = instructions.unique().sort()
    cluster = nearly_same_words(texts, 0.5)
    texts = texts.filter(pl.Series(cluster == np.arange(len(texts))))
    return [
        text
        for text in texts
        if len(text.split()) >= WORDS and len(SENTENCE.split(text)) >= SENTENCES and re.search("[a-z]", text)
    ]


def by_vectors(thresholds: list[float]) -> dict[str, Way]:
    """Clusters around a middle, at each of these thresholds; texts are encoded once."""
    encoder = load_encoder()
    kept: dict[tuple[str, ...], np.ndarray] = {}

    def way(threshold: float) -> Way:
        def cluster(texts: pl.Series) -> np.ndarray:
            key = tuple(texts)
            vectors = kept.setdefault(key, embed([texts], encoder) if key not in kept else np.empty(0))
            clusters = guarded(semantic(vectors, threshold=threshold), vectors, threshold)
            labels = np.arange(len(texts), dtype=np.uint64)
            labels[clusters.get_column("row").to_numpy()] = clusters.get_column("cluster").to_numpy()
            return labels

        return cluster

    return {f"semantic {threshold}{'*' * (threshold == 0.9)}": way(threshold) for threshold in thresholds}


def truths(rows: pl.DataFrame, said: list[set[str]]) -> tuple[int, int]:
    """Of the planted rows that are said to be duplicates those of which only the truth is said, and all of them."""
    planted_rows = rows.with_row_index("row").filter(pl.col("kind") != "original").select("row", "origin", "kind")
    every = [(origin, said[row], kind) for row, origin, kind in planted_rows.rows() if said[row]]
    # A lookalike's origin is itself: nothing else is a copy of it.
    return sum(found == {origin} and not kind.startswith("look") for origin, found, kind in every), len(every)


def shown(value: object) -> str:
    """A number as it is, a share with two digits, nothing as a dash."""
    return "–" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
