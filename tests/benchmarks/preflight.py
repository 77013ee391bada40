"""
Seconds of the preflight's tokenizing compared with TRL's own on the same rows, which must give the same tokens.

    python tests/benchmarks/preflight.py --model ID_OR_FOLDER RUN [RUN …] [--rows 2000]
"""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path

from curate.rundir.result import open_run
from tests.train.test_tokens import by_trl
from train.models import end_tokens, load_tokenizer
from train.tokens import tokens

SIDES = ("prompt", "chosen", "rejected")


def main() -> None:
    """Print a table, one row per run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("runs", nargs="+", type=Path)
    options = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d}\n\n| run | rows | TRL, s | preflight, s | times | the same |")
    print("|---|--:|--:|--:|--:|---|")
    for run in options.runs:
        pairs = open_run(run).train.head(options.rows).select(*SIDES).collect()
        tokenizer = load_tokenizer(options.model)
        stop = end_tokens(options.model, tokenizer)
        started = time.perf_counter()
        ours = tokens(pairs, tokenizer, stop)
        between = time.perf_counter()
        theirs = by_trl(pairs, load_tokenizer(options.model))
        seconds, trl = between - started, time.perf_counter() - between
        same = all(ours[f"{side}_tokens"].to_list() == [len(row[f"{side}_ids"]) for row in theirs] for side in SIDES)
        figures = (
            run.name,
            len(pairs),
            f"{trl:.1f}",
            f"{seconds:.1f}",
            f"{trl / seconds:.1f}",
            "yes" if same else "NO",
        )
        print(f"| {' | '.join(map(str, figures))} |")


if __name__ == "__main__":
    main()
