"""
Time and memory of a push: unique copies of the real annotations, cleaned into a run, pushed to the loopback Hub from a
separate process. Only the push is measured: seconds, and peak memory above that of the process with its libraries
loaded.

    python tests/benchmarks/publish.py --copies 78     a million pairs
    python tests/benchmarks/publish.py --run RUN       an existing run
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.clean import SHARED, clean, write_copies  # noqa: E402
from tests.hub_server import WRITE, HubServer  # noqa: E402

PROGRAM = """
import json, pathlib, sys, time
import curate.publish.push, datasets, detect_secrets, mlcroissant, polars, pyarrow.parquet
from huggingface_hub import HfApi

def peak():  # of this process: what `resource` gives includes the one that started it
    return int(pathlib.Path("/proc/self/status").read_text("ascii").split("VmHWM:")[1].split()[0]) / 1024

before, started = peak(), time.perf_counter()
settings = ["publish.license=mit", "publish.source_license=mit"]
done = curate.publish.push.push(sys.argv[1], "me/set", settings=settings)
took = time.perf_counter() - started
print(json.dumps({"changed": done.changed, "seconds": took, "start": before, "above": peak() - before}))
"""


def main() -> None:
    """Generate and clean the pairs if needed, then push them twice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1] if __doc__ else None)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    if not options.run and not SHARED.is_file():
        sys.exit(f"skipped: {SHARED.name} is not beside the repository, in ../shared/data")
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or Path(folder) / "RUN"
        if not options.run:
            write_copies(Path(folder) / "pairs.parquet", options.copies)
            clean(Path(folder) / "pairs.parquet", run)
        shards = sorted((run / "data").iterdir())
        kept = json.loads((run / "manifest.json").read_text("utf-8"))["counts"]["kept"]
        print(f"{kept:,} pairs, {sum(s.stat().st_size for s in shards) / 1e6:,.0f} MB, {len(shards)} shards")
        with HubServer() as hub:
            for what in ("first push", "the same again"):
                found = push(hub.url, run, folder)
                print(
                    f"{what}: {found['seconds']:.1f} s, {found['above']:,.0f} MB above the {found['start']:,.0f} MB "
                    f"of the start, {'one commit' if found['changed'] else 'no commit'}"
                )


def push(url: str, run: Path, home: str) -> dict[str, float]:
    """Return seconds and megabytes of one push, in a separate process."""
    settings = {"HF_ENDPOINT": url, "HF_HOME": home, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": WRITE}
    command = [sys.executable, "-c", PROGRAM, str(run)]
    done = subprocess.run(command, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
