"""
Threads and Ray, side by side: seconds, memory of the command and of its largest worker, growth with the input.

    python tests/benchmarks/scale.py                              100 and 400 MB, threads and Ray on all cores
    python tests/benchmarks/scale.py --megabytes 100 400 1600     growth
    python tests/benchmarks/scale.py --workers 1 2 4 8 16         speed-up of Ray, on a machine with as many cores

The input is the AlpacaEval annotations in copies, each text made unique by its number (see clean.py), in 16 files. All
runs of one input contain the same bytes; this is checked.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl

from tests.benchmarks.clean import SHARED, TEXTS
from tests.data import contents

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
MB_PER_COPY = 41.0
FILES = 16
WIDTHS = (6, 10, 8, 7, 8, 6, 6, 8, 11)


def main() -> None:
    """Print a line per input, options, engine and number of workers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--megabytes", type=float, nargs="*", default=[100, 400], help="of text")
    parser.add_argument("--workers", type=int, nargs="*", default=[os.cpu_count() or 1], help="of Ray")
    parser.add_argument("--options", nargs="*", default=["", "--near"], help="of the command; '' = none")
    parser.add_argument("--no-threads", action="store_true", help="Ray alone")
    options = parser.parse_args()
    if not SHARED.is_file():
        sys.exit(f"skipped: {SHARED.name} is not beside the repository, in ../shared/data")
    engines = [*([] if options.no_threads else [("threads", None)]), *(("ray", count) for count in options.workers)]
    heads = ("MB", "options", "engine", "workers", "seconds", "MB/s", "ratio", "peak MB", "of a worker")
    print(f"{os.cpu_count()} cores\n\n" + line(*heads))
    for megabytes, more in product(options.megabytes, options.options):
        with tempfile.TemporaryDirectory() as folder:
            size = write_files(Path(folder) / "source", round(megabytes / MB_PER_COPY) or 1)
            compare(Path(folder), size, more, engines)


def compare(folder: Path, megabytes: float, more: str, engines: list[tuple[str, int | None]]) -> None:
    """Run the command with each engine on the same input, print a line for each, and compare what they wrote."""
    first: dict[str, bytes] = {}
    seconds_of_first = 0.0
    for engine, workers in engines:
        out = folder / f"{engine}-{workers}" / "RUN"
        how = ["--engine", engine, *(["--workers", str(workers)] if workers else []), *more.split()]
        seconds, peak, of_worker = run([str(folder / "source"), "--out", str(out), *how])
        found = contents(out)
        first, seconds_of_first = first or found, seconds_of_first or seconds
        speed, ratio = f"{megabytes / seconds:.1f}", f"{seconds / seconds_of_first:.2f}"
        shown = (f"{megabytes:.0f}", more, engine, workers or "", f"{seconds:.1f}", speed, ratio, peak, of_worker or "")
        print(line(*shown), flush=True)
        assert found == first, "the engines wrote different bytes"


def line(*fields: object) -> str:
    return " ".join(f"{field!s:>{width}}" for field, width in zip(fields, WIDTHS, strict=True))


def write_files(folder: Path, copies: int) -> float:
    """Write the copies into FILES files; return the megabytes of text."""
    folder.mkdir()
    one = pl.read_parquet(SHARED)
    total = 0
    for number in range(copies):
        mark = "" if number == 0 else f"#{number} "
        copy = one.with_columns((pl.lit(mark) + pl.col(name)).alias(name) for name in TEXTS)
        total += copy.select(pl.sum_horizontal(pl.col(*TEXTS).str.len_bytes()).sum()).item()
        per_file = -(-len(copy) * copies // FILES)
        for start in range(0, len(copy), per_file):
            part = copy.slice(start, per_file)
            part.write_parquet(folder / f"{number:04}-{start:06}.parquet", row_group_size=5_000)
    return total / 1e6


def run(arguments: list[str]) -> tuple[float, int, int]:
    """Run `curate clean`; return its seconds, its peak memory in MB, and that of its largest worker (0: none)."""
    command = [sys.executable, "-m", "curate", "clean", *arguments, "--json"]
    started, ended, largest = time.perf_counter(), threading.Event(), [0]

    def watch() -> None:
        while not ended.wait(0.5):
            largest[0] = max(largest[0], *worker_memory(), 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    finally:
        ended.set()
        watcher.join()
    manifest: dict[str, Any] = json.loads(done.stdout)
    return time.perf_counter() - started, manifest["peak_memory_mb"]["total"], largest[0]


def worker_memory() -> list[int]:
    """Return the resident memory of every worker of Ray on this machine in MB, without what it shares with others."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("cmdline").read_bytes().startswith(b"ray::"):
                _, resident, shared, *_ = process.joinpath("statm").read_text().split()
                found.append((int(resident) - int(shared)) * PAGE >> 20)
        except OSError:  # it ended
            continue
    return found


if __name__ == "__main__":
    main()
