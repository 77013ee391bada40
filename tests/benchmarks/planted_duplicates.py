"""
Recall of each method on planted duplicates, by kind, and its precision.

    python -m tests.benchmarks.planted_duplicates

The edits are made to AlpacaEval's longer prompts (../shared/data); paraphrases, translations and lookalikes are written
by hand (tests/planted_duplicates). Vectors are from all-MiniLM-L6-v2. A method finds a row if it groups it with its
original; columns marked * use the default threshold. Precision is the share of the reported rows for which everything
reported is true. For decontamination the originals are the eval set.
"""

import re
import sys

import numpy as np
import polars as pl

from curate.dedup.semantic_edges import semantic_edges, star_clusters
from curate.embeddings.cache import embed
from curate.embeddings.encoder import load_encoder
from tests.data import SHARED
from tests.planted_duplicates import (
    SENTENCE,
    Method,
    contradictions,
    counted,
    in_clusters,
    in_evals,
    nearly_same_words,
    planted,
    same_words,
    truths,
)

WORDS, SENTENCES = 30, 3  # at least, of a prompt that is edited


def main() -> None:
    """Print the table."""
    if not (SHARED / "alpaca_eval_outputs.parquet").is_file():
        sys.exit("skipped: the real texts are not beside the repository, in ../shared/data")
    base = real_prompts()
    answers = pl.read_parquet(SHARED / "alpaca_eval_outputs.parquet", columns=["output"]).to_series()
    answers = answers.unique().sort()
    rows = planted(base, answers.filter(answers.str.len_chars().is_between(300, 1500)).to_list())
    methods: dict[str, Method] = {
        "exact words*": same_words,
        "near 0.8*": nearly_same_words,
        "near 0.7": lambda texts: nearly_same_words(texts, 0.7),
        **by_vectors([0.9, 0.8, 0.7]),
    }
    found = {name: in_clusters(rows, cluster(rows.get_column("text"))) for name, cluster in methods.items()}
    found["decontamination*"] = in_evals(rows)
    print(f"{len(base)} real prompts, {len(rows):,} texts in all\n")
    print(f"| kind | planted | {' | '.join(found)} |\n|---|{'--:|' * (len(found) + 1)}")
    for kind, count, *recalled in counted(rows, found).iter_rows():
        print(f"| {kind} | {count} | {' | '.join(f'{share / count:.2f}' for share in recalled)} |")
    of_pairs = [f"{contradictions(base, method) / len(base):.2f}" for method in methods.values()]
    print(f"| contradictory copies (pairs) | {len(base)} | {' | '.join([*of_pairs, '–'])} |")
    precision = [right / max(every, 1) for right, every in (truths(rows, reported) for reported in found.values())]
    print(f"| **precision** over all kinds | | {' | '.join(f'{share:.3f}' for share in precision)} |")


def real_prompts() -> list[str]:
    """Return AlpacaEval's longer prompts, sorted; of similar ones only the first."""
    instructions = pl.read_parquet(SHARED / "alpaca_eval_outputs.parquet", columns=["instruction"]).to_series()
    texts = instructions.unique().sort()
    cluster = nearly_same_words(texts, 0.5)
    texts = texts.filter(pl.Series(cluster == np.arange(len(texts))))
    return [
        text
        for text in texts
        if len(text.split()) >= WORDS and len(SENTENCE.split(text)) >= SENTENCES and re.search("[a-z]", text)
    ]


def by_vectors(thresholds: list[float]) -> dict[str, Method]:
    """Return methods that form star clusters at each of these thresholds; texts are encoded once."""
    encoder = load_encoder()
    kept: dict[tuple[str, ...], np.ndarray] = {}

    def method(threshold: float) -> Method:
        def cluster(texts: pl.Series) -> np.ndarray:
            key = tuple(texts)
            vectors = kept.setdefault(key, embed([texts], encoder) if key not in kept else np.empty(0))
            clusters = star_clusters(semantic_edges(vectors, threshold=threshold), vectors, threshold)
            labels = np.arange(len(texts), dtype=np.uint64)
            labels[clusters.get_column("row").to_numpy()] = clusters.get_column("cluster").to_numpy()
            return labels

        return cluster

    return {f"semantic {threshold}{'*' * (threshold == 0.9)}": method(threshold) for threshold in thresholds}


if __name__ == "__main__":
    main()
