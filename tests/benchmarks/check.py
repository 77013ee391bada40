"""
Speed and memory of `curate check` on the real annotations, and on about 100,000 pairs made from them.

    python tests/benchmarks/check.py                 1 and 8 copies
    python tests/benchmarks/check.py --copies 78     a million pairs

The copies are those of `clean.py`: each has its number at the start of every text. Seconds are those of the whole
command, including the start of the process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.clean import SHARED, write_copies

PROGRAM = (
    "import resource, sys\n"
    "from curate.cli import main\n"
    "try:\n"
    "    main()\n"
    "finally:\n"
    "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)\n"
)


def main() -> None:
    """Print a table of sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1] if __doc__ else None)
    parser.add_argument("--copies", type=int, nargs="*", default=[1, 8])
    options = parser.parse_args()
    if not SHARED.is_file():
        sys.exit(f"skipped: {SHARED.name} is not beside the repository, in ../shared/data")
    print(f"{os.cpu_count()} cores\n\n{'copies':>6} {'rows':>9} {'MB':>7} {'seconds':>8} {'peak MB':>8} {'codes':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for copies in options.copies:
            source = Path(folder) / f"{copies}.parquet"
            megabytes = write_copies(source, copies)
            started = time.perf_counter()
            command = [sys.executable, "-c", PROGRAM, "check", str(source), "--json", "--fail-on", "never"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds = time.perf_counter() - started
            found = json.loads(done.stdout)
            codes = len({one["code"] for one in found["findings"]})
            peak = int(done.stderr.split()[-1])
            print(f"{copies:>6} {found['rows']:>9,} {megabytes:>7.0f} {seconds:>8.1f} {peak:>8,} {codes:>6}")


if __name__ == "__main__":
    main()
