"""
Speed, memory and recall of semantic duplicates, without embedding time, compared with semhash on the same vectors.

    python tests/benchmarks/semantic.py                                200,000 vectors and a quarter of them
    python tests/benchmarks/semantic.py --rows 800000 --no-exact       without exact search, so without recall
    python tests/benchmarks/semantic.py --semhash VENV/bin/python      a Python that has semhash, if this one does not

The vectors are mixtures of real sentence embeddings (all-MiniLM-L6-v2); a quarter of them are shifted by the difference
of two others, a little or far, and some are copies. On a busy machine CPU seconds are more reliable than seconds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curate.embeddings.cache import embed
from curate.embeddings.encoder import load_encoder

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "alpaca_eval_annotations.parquet"
BASE = 3_000  # sentences that are embedded
THRESHOLD = 0.9
OURS = """
import sys
import numpy as np
from curate.dedup.semantic_edges import semantic_edges
vectors = np.load(sys.argv[1])
with measured() as result:
    threshold, below, neighbours = float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    edges = semantic_edges(vectors, threshold=threshold, exact_below=below, neighbours=neighbours)
result["duplicates"] = edges.get_column("row_b").n_unique()
if len(sys.argv) > 5:
    edges.write_parquet(sys.argv[5])
"""
SEMHASH = """
import sys
import numpy as np
from semhash import SemHash
vectors = np.load(sys.argv[1])
records = [str(number) for number in range(len(vectors))]
class Model:
    def encode(self, *_args, **_options):
        raise RuntimeError("the vectors are there")
with measured() as result:
    found = SemHash.from_embeddings(vectors, records, Model()).self_deduplicate(threshold=float(sys.argv[2]))
result["duplicates"] = len(found.filtered)
"""
MEASURED = """
import contextlib, json, time
def peak():  # of this process alone, which getrusage's is not
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
@contextlib.contextmanager
def measured():
    before, started, cpu = peak(), time.perf_counter(), time.process_time()
    result = {}
    yield result
    result["seconds"], result["cpu"] = time.perf_counter() - started, time.process_time() - cpu
    result["more_kb"] = peak() - before
"""


def main() -> None:
    """Print a row per method and size, then the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--semhash", default=sys.executable, help="a Python in which semhash is installed")
    parser.add_argument("--no-exact", action="store_true", help="skip exact search, and with it the recall")
    options = parser.parse_args()
    if not SHARED.is_file():
        sys.exit(f"skipped: {SHARED.name} is not beside the repository, in ../shared/data")
    sentences = real_sentences()
    print(f"embedding {len(sentences):,} sentences", file=sys.stderr)
    base = embed([sentences], load_encoder())
    head = f"{'method':<18} {'vectors':>9} {'seconds':>8} {'CPU s':>7} {'KB/row':>8} {'duplicates':>10}  load"
    print(f"{os.cpu_count()} cores, threads of BLAS: {os.environ.get('OMP_NUM_THREADS', 'all')}\n\n{head}")
    with tempfile.TemporaryDirectory() as folder:
        compare(base, options.rows, Path(folder), options.semhash, exact=not options.no_exact)


def compare(base: np.ndarray, rows: int, folder: Path, semhash: str, *, exact: bool) -> None:
    """Run every method on one set of vectors; ours also on a quarter as many, generated in the same way."""
    path, fewer = folder / "vectors.npy", folder / "fewer.npy"
    vectors = mixtures(base, rows)
    np.save(path, vectors)
    # A quarter of the same vectors would have only a sixteenth of the similar pairs.
    np.save(fewer, mixtures(base, rows // 4))
    del vectors
    # IVF search for both sizes: a quarter may be few enough for exact search.
    small = run("IVF search", OURS, sys.executable, fewer, 0, 64)
    ours = run("IVF search", OURS, sys.executable, path, 0, 64, folder / "ours.parquet")
    theirs = run("semhash", SEMHASH, semhash, path)
    if exact:
        run("all pairs", OURS, sys.executable, path, 10**9, 10**9, folder / "exact.parquet")
        found, true = (pl.read_parquet(folder / f"{name}.parquet") for name in ("ours", "exact"))
        recall = len(found.join(true, on=["row_a", "row_b"], how="semi")) / len(true)
        print(f"\nrecall {recall:.4f} of {len(true):,} pairs; {len(found) - recall * len(true):.0f} false pairs")
    print(f"4x the vectors take {ours['cpu'] / small['cpu']:.2f}x the CPU seconds")
    if theirs:
        cpu, wall = theirs["cpu"] / ours["cpu"], theirs["seconds"] / ours["seconds"]
        print(f"semhash takes {wall:.1f}x the seconds, {cpu:.1f}x the CPU seconds")


def run(name: str, program: str, python: str, path: Path, *arguments: object) -> dict[str, Any]:
    """Run a program in a separate process and return its figures; nothing if it fails."""
    command = [python, "-c", MEASURED + program + "print(json.dumps(result))", path, THRESHOLD, *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        print(f"{name}: {(done.stderr.splitlines() or ['failed'])[-1]}")
        return {}
    result: dict[str, Any] = json.loads(done.stdout)
    rows = np.load(path, mmap_mode="r").shape[0]
    print(
        f"{name:<18} {rows:>9,} {result['seconds']:>8.1f} {result['cpu']:>7.1f} {result['more_kb'] / rows:>8.2f} "
        f"{result['duplicates']:>10,}  {os.getloadavg()[0]:.1f}"
    )
    return result


def real_sentences() -> pl.Series:
    """Return sentences of prompts and answers, the same ones every time."""
    columns = pl.read_parquet(SHARED, columns=["instruction", "output_1", "output_2"]).get_columns()
    texts = pl.concat([column.alias("text") for column in columns]).drop_nulls().unique().sort()
    sentences = texts.str.extract_all(r"[^.!?\n]+[.!?\n]").explode(empty_as_null=False).str.strip_chars()
    return sentences.filter(sentences.str.len_chars().is_between(30, 220)).unique().sort().sample(BASE, seed=0)


def mixtures(base: np.ndarray, rows: int) -> np.ndarray:
    """Return [rows, dim]: mixtures of three vectors, shifted versions of some, and copies, shuffled."""
    chance = np.random.default_rng(0)

    def some(count: int) -> np.ndarray:
        return base[chance.integers(len(base), size=count)]

    originals = rows * 7 // 10
    parts = chance.dirichlet([3, 3, 3], originals).astype(np.float32)
    vectors = unit(np.add.reduce([part[:, None] * some(originals) for part in parts.T]))
    moved = vectors[chance.integers(originals, size=rows * 5 // 20)]
    far = chance.uniform(0, 0.6, size=(len(moved), 1)).astype(np.float32)
    moved = moved + far * unit(some(len(moved)) - some(len(moved)) + 1e-6)
    copies = vectors[chance.integers(originals, size=rows - originals - len(moved))]
    every = np.concatenate([vectors, unit(moved), copies])
    shuffled: np.ndarray = every[chance.permutation(rows)]
    return shuffled


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return the same directions with length 1."""
    divided: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return divided.astype(np.float32)


if __name__ == "__main__":
    main()
