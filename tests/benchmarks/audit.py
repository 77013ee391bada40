"""
What a model could learn from the real data without reading it, before and after the remedies of `curate audit`.

    python tests/benchmarks/audit.py                 the annotations
    python tests/benchmarks/audit.py FILE FILE       these files

Each file is cleaned by the default rules first. Seconds are those of the audit of the finished run, without its start.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import curate
from tests.benchmarks.clean import SHARED


def main() -> None:
    """Print AUCs and remedies of each file as Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1] if __doc__ else None)
    parser.add_argument("files", type=Path, nargs="*", default=[SHARED])
    for file in parser.parse_args().files:
        if not file.is_file():
            print(f"skipped: {file} is not there")
            continue
        with tempfile.TemporaryDirectory() as folder:
            run = curate.clean(file, out=Path(folder) / "RUN")
            started = time.perf_counter()
            found = curate.audit(run)
            seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"\n{file.name}: {len(found.pairs):,} pairs, {seconds:.1f} s, {peak:,} MB, {os.cpu_count()} cores\n")
        print("| a model of | features | pairs | AUC | told right |\n|---|---:|---:|---:|---:|")
        for row in found.auc.to_dicts():
            auc = f"{row['auc']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
            print(f"| {row['what']} | {row['features']} | {row['pairs']:,} | {auc} | {row['accuracy']:.0%} |")
        print("\n| remedy | rows lost | kept | worth | AUC | by names | chosen longer |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for row in found.remedies.to_dicts():
            auc = f"{row['auc']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
            by_name = "–" if row["model_auc"] is None else f"{row['model_auc']:.2f}"
            sizes = f"{row['lost']:,} | {row['kept']:,} | {row['effective']:,}"
            print(f"| {row['remedy']} | {sizes} | {auc} | {by_name} | {row['longer']:.0%} |")


if __name__ == "__main__":
    main()
