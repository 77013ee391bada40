"""
Near-duplicates: speed, accuracy and memory, compared with rensa, datasketch and datatrove in one run.

    python tests/benchmarks/near.py --others ../others/bin/python       everything, on 100 MB
    python tests/benchmarks/near.py --megabytes 400 --parts growth      only the growth, with more text

The text is real (AlpacaEval's outputs), in copies with words exchanged: 30 % in most texts, 2 % in every fifth, which
makes it a near-duplicate. The other tools get fewer of the same texts, with the same three-word shingles, in a separate
environment (`pip install '.[bench]'`), since datatrove needs an older xxhash. Every measurement is a separate process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from curate.dedup.clusters import components
from curate.dedup.near_edges import near_edges
from curate.engine import sliced

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
THRESHOLD = 0.8
LIGHT, HEAVY = 0.02, 0.3  # share of the words exchanged: one is a near-duplicate, the other is not
BLOCK = 2_000  # texts
SHARES = {
    "rensa": 20,
    "rensa, single words": 20,
    "rensa, single words, text by text": 20,
    "datasketch": 4,
    "datatrove": 6,
}  # megabytes for each other tool
PARTS = ("growth", "others", "quality")


def main() -> None:
    """Print a table for each part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--others", type=Path, help="a Python that has the other tools; without it they are skipped")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one)))
        return
    if not SHARED.is_dir():
        sys.exit(f"skipped: {SHARED} is not there")
    with tempfile.TemporaryDirectory() as folder:
        texts = corpus(options.megabytes)
        if "growth" in options.parts:
            speeds = growth(texts, Path(folder))
            if "others" in options.parts and options.others:
                others(texts, Path(folder), options.others, speeds)
        if "quality" in options.parts:
            quality(5_000)


def corpus(megabytes: float) -> pl.Series:
    """Return this much real text, in copies with words exchanged; the same for the same size."""
    outputs = pl.read_parquet(SHARED / "alpaca_eval_outputs.parquet").get_column("output")
    answers = pl.read_parquet(SHARED / "alpaca_eval_annotations.parquet").get_column("output_2").alias("output")
    real = pl.concat([outputs, answers]).unique(maintain_order=True)
    chance = np.random.default_rng(7)
    copies = [real]
    while sum(copy.str.len_bytes().sum() for copy in copies) < megabytes * 1e6:
        copies.append(edited(real, chance))
    texts = pl.concat(copies).sample(fraction=1, shuffle=True, seed=7)
    return texts.filter(texts.str.len_bytes().cum_sum() <= megabytes * 1e6).rechunk()


def edited(texts: pl.Series, chance: np.random.Generator) -> pl.Series:
    """Return the texts with words exchanged for words of other texts."""
    words = texts.str.split(" ")
    counts = words.list.len().to_numpy()
    flat = words.explode()
    shares = np.where(chance.random(len(texts)) < 0.2, LIGHT, HEAVY)
    places = np.flatnonzero(chance.random(len(flat)) < np.repeat(shares, counts))
    flat = flat.scatter(places, flat.gather(chance.integers(0, len(flat), len(places))))
    rows = pl.DataFrame({"row": np.repeat(np.arange(len(texts)), counts), "output": flat})
    return rows.group_by("row", maintain_order=True).agg(pl.col("output").str.join(" ")).get_column("output")


def measured(path: Path) -> dict[str, Any]:
    """Measure the whole stage: seconds, edges, and memory beyond the texts."""
    similar = pl.Series(["a text to warm up with", "a text to warm up with!!", "a text to warm up with it"])
    components(len(similar), near_edges(sliced(similar), threshold=0.5))  # loads libraries, as for the other tools
    texts = list(blocks(path))
    before = memory("VmRSS")
    started, worked = time.perf_counter(), time.process_time()
    edges = near_edges([block for one in texts for block in sliced(one)], threshold=THRESHOLD)
    clusters = len(np.unique(components(sum(map(len, texts)), edges)))
    seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    taken = memory("VmHWM") - before
    return {"seconds": seconds, "cpu": cpu, "edges": len(edges), "clusters": clusters, "bytes": taken}


def memory(what: str) -> int:
    """Return this process's bytes, now (VmRSS) or at its peak (VmHWM; that of `resource` includes the parent's)."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split(f"{what}:")[1].split()[0]) * 1024


def blocks(path: Path) -> Iterator[pl.Series]:
    """Yield the texts of a file in blocks."""
    for batch in pq.ParquetFile(path).iter_batches(BLOCK):
        yield pl.Series(pl.from_arrow(batch.column(0)))


def growth(texts: pl.Series, folder: Path) -> tuple[float, float]:
    """Measure a quarter and all of the texts; return megabytes per second of all, by wall clock and CPU time."""
    print(f"{os.cpu_count()} cores\n")
    print("| texts | MB | seconds | MB/s | MB per CPU second | edges | clusters | memory, MB | load |")
    print("|---|---|---|---|---|---|---|---|---|")
    runs: list[dict[str, Any]] = []
    for some in (texts.head(len(texts) // 4), texts):
        path = folder / "texts.parquet"
        some.to_frame().write_parquet(path, row_group_size=BLOCK)
        command = [sys.executable, __file__, "--one", str(path)]
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        size = float(some.str.len_bytes().sum()) / 1e6
        runs.append(done | {"rows": len(some), "speed": size / done["seconds"], "cpu_speed": size / done["cpu"]})
        print(
            f"| {len(some):,} | {size:.0f} | {done['seconds']:.2f} | {runs[-1]['speed']:.1f} | "
            f"{runs[-1]['cpu_speed']:.1f} | {done['edges']:,} | {done['clusters']:,} | "
            f"{done['bytes'] / 1e6:.0f} | {os.getloadavg()[0]:.1f} |"
        )
    less, more = runs
    seconds, cpu = (more[what] / less[what] for what in ("seconds", "cpu"))
    print(f"\nseconds for four times the rows: {seconds:.2f} x (CPU {cpu:.2f})")
    print(f"memory per additional row: {(more['bytes'] - less['bytes']) / (more['rows'] - less['rows']):.0f} bytes\n")
    return more["speed"], more["cpu_speed"]


def others(texts: pl.Series, folder: Path, python: Path, speeds: tuple[float, float]) -> None:
    """Measure each other tool on the first megabytes of the same texts."""
    print("| tool | MB | seconds | MB/s | ours is faster by | by CPU seconds | load |\n|---|---|---|---|---|---|---|")
    for tool, megabytes in SHARES.items():
        some = texts.filter(texts.str.len_bytes().cum_sum() <= megabytes * 1e6)
        path = folder / "texts.jsonl"
        pl.DataFrame({"id": pl.int_range(len(some), eager=True).cast(pl.String), "text": some}).write_ndjson(path)
        command = [str(python), str(Path(__file__).with_name("near_others.py")), tool, str(path), str(THRESHOLD)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds, cpu = map(float, done.stdout.split())
        size = float(some.str.len_bytes().sum()) / 1e6
        print(
            f"| {tool} | {size:.1f} | {seconds:.2f} | {size / seconds:.2f} | {speeds[0] * seconds / size:.1f} x "
            f"| {f'{speeds[1] * cpu / size:.1f} x' if cpu else 'not counted'} | {os.getloadavg()[0]:.1f} |"
        )
    print()


def quality(count: int) -> None:
    """Print recall and precision against all pairs of real texts, half of them edits of the others."""
    sys.path.insert(0, str(ROOT))
    from tests.dedup.edits import compare, planted

    originals = corpus(20).unique(maintain_order=True).head(count // 2).to_list()
    texts = planted(originals, seed=7)
    table = compare(texts, near_edges(sliced(texts.get_column("text")), threshold=THRESHOLD), THRESHOLD)
    print(f"{len(texts):,} texts, threshold {THRESHOLD}, against the similarity of every pair\n")
    print("| pairs | similar | found | recall | in one cluster | precision |\n|---|---|---|---|---|---|")
    for kind, total, found, clustered, precision in table.rows():
        print(f"| {kind} | {total:,} | {found:,} | {found / total:.4f} | {clustered / total:.4f} | {precision:.4f} |")


if __name__ == "__main__":
    main()
