"""
Which planted defects the default rules and each preset drop, and how many good pairs they cost.

    python -m tests.benchmarks.presets

The pairs are those of tests/planted: one kind of defect each, and clean ones. A kind counts as found in a pair that is
dropped, for whatever reason.
"""

import json
import tempfile
from collections import Counter
from pathlib import Path

import polars as pl

import curate
from curate.recipe.presets import NAMES

PLANTED = Path(__file__).resolve().parents[1] / "planted"
CLEAN = "(clean pairs)"


def main() -> None:
    """Print a row per kind: pairs, and how many are dropped by each set of rules."""
    dropped: dict[str, Counter[str]] = {}
    totals: Counter[str] = Counter()
    for preset in (None, *NAMES):
        with tempfile.TemporaryDirectory() as folder:
            sources = [str(PLANTED / name) for name in ("answers.jsonl", "chat.jsonl")]
            run = curate.clean(
                sources, Path(folder) / "RUN", preset=preset, settings=["split.test=0", "source.max_bad_rows=0.05"]
            )
            extra = run.stage("pairs").scan().select("extra")
            rows = pl.concat([run.ledger.select("kept"), extra], how="horizontal").collect()
        kinds = [(json.loads(text)["planted"] or CLEAN, kept) for kept, text in rows.iter_rows() if text is not None]
        totals = Counter(kind for kind, _ in kinds)
        dropped[preset or "defaults"] = Counter(kind for kind, kept in kinds if not kept)
    names = list(dropped)
    print(f"| kind | pairs | {' | '.join(names)} |")
    print(f"|---|{'---:|' * (len(names) + 1)}")
    for kind in [*sorted(kind for kind in totals if kind != CLEAN), CLEAN]:
        print(f"| {kind} | {totals[kind]} | {' | '.join(str(dropped[name][kind]) for name in names)} |")
    planted = sum(count for kind, count in totals.items() if kind != CLEAN)
    shares = [sum(count for kind, count in dropped[name].items() if kind != CLEAN) / planted for name in names]
    print(f"| all planted | {planted} | {' | '.join(f'{share:.0%}' for share in shares)} |")


if __name__ == "__main__":
    main()
