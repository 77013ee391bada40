"""
Decontamination of a million short rows against 5,000 eval items, compared with the same rule in plain Python.

    python -m tests.benchmarks.decontaminate
    python -m tests.benchmarks.decontaminate --rows 4000000 --share 0.01

Rows and items are excerpts of real text (../shared/data). Half of the items occur in rows: whole, edited, inside
longer prompts. The plain version is the obvious one: split, count, look every 8-gram up in a dict. It processes only a
share of the rows, where both must find the same. Seconds are wall-clock time, with two threads against one; CPU seconds
are shown beside them, for machines under other load.
"""

import argparse
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import polars as pl

from curate.contamination.eval_set import EvalSet
from curate.contamination.hits import by_set
from curate.contamination.index import EvalIndex
from curate.contamination.ngram import hits
from tests.plain_overlap import PlainIndex

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
WORKERS = 2
NGRAM, THRESHOLD = 8, 0.5
BLOCK = 50_000  # rows
WORDS_PER_ROW, WORDS_PER_ITEM = (15, 60), (5, 90)
HIDDEN = 0.5  # of the items are in some row


def main() -> None:
    """Print both speeds, whether both found the same, and the load of the machine."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=5_000)
    parser.add_argument("--share", type=float, default=0.02, help="of the rows, for plain Python")
    options = parser.parse_args()
    if not (SHARED / "alpaca_eval_outputs.parquet").is_file():
        sys.exit("skipped: the real texts are not beside the repository, in ../shared/data")
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before")
    items, rows = generated(options.items, options.rows)
    megabytes = float(rows.str.len_bytes().sum()) / 1e6
    print(f"{len(rows):,} rows, {megabytes:.0f} MB; {len(items):,} items")

    started, memory = time.perf_counter(), peak()
    index = EvalIndex.build([EvalSet.of("real", items)], ngram=NGRAM)
    print(f"index: {time.perf_counter() - started:.2f} s, {index.items.estimated_size() / 1e6:.1f} MB\n")
    quarter = time.perf_counter()
    ours(rows.head(len(rows) // 4), index)
    quarter = time.perf_counter() - quarter
    started, cpu = time.perf_counter(), time.process_time()
    found = ours(rows, index)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(f"curate: {seconds:6.2f} s, {megabytes / seconds:6.1f} MB/s, {cpu:6.2f} CPU s")
    print(f"  {seconds / quarter:.1f} times the seconds of a quarter of the rows; {peak() - memory:.0f} MB more memory")
    print(f"  {by_set(found, index.items).rows(named=True)[0]}\n")

    part = rows.gather_every(max(1, round(1 / options.share)))
    of_part = hits(part, index, threshold=THRESHOLD)
    share = float(part.str.len_bytes().sum()) / 1e6 / megabytes
    texts = [[text] for text in part]
    plain = PlainIndex(items, NGRAM)
    started, plain_cpu = time.perf_counter(), time.process_time()
    plainly = sorted((row, str(item), overlap) for row, item, overlap in plain.hits(texts, THRESHOLD))
    plain_seconds = (time.perf_counter() - started) / share
    plain_cpu = (time.process_time() - plain_cpu) / share
    print(f"plain:  {plain_seconds:6.1f} s, {megabytes / plain_seconds:6.1f} MB/s, {plain_cpu:6.1f} CPU s")
    print(f"  (from {share:.1%} of the text)")
    same = plainly == sorted(of_part.select("row", "item", "overlap").rows())
    print(f"hits in that share: {len(plainly)}, the same: {same}")
    print(
        f"curate is {plain_seconds / seconds:.1f} times as fast by wall clock, {plain_cpu / cpu:.1f} times by CPU time"
    )
    print(f"load average {os.getloadavg()[0]:.1f} after")
    sys.exit(not same)


def ours(rows: pl.Series, index: EvalIndex) -> pl.DataFrame:
    """Return the hits of blocks in two threads, as a run's stage finds them."""
    starts = range(0, len(rows), BLOCK)
    with ThreadPoolExecutor(WORKERS) as pool:
        blocks = pool.map(lambda start: hits(rows.slice(start, BLOCK), index, threshold=THRESHOLD, every=False), starts)
        return pl.concat(block.with_columns(pl.col("row") + start) for start, block in zip(starts, blocks, strict=True))


def peak() -> float:
    """Return the peak memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def generated(items: int, rows: int) -> tuple[list[str], pl.Series]:
    """Return items and rows, built in another process so that its memory is not counted."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        evals = pool.submit(material, items, rows, path).result()
        return evals, pl.read_parquet(path).to_series()


def material(items: int, rows: int, path: Path, seed: int = 0) -> list[str]:
    """Return items from one half of the real texts, and write rows from the other half with items hidden in some."""
    chance = random.Random(seed)
    frame = pl.read_parquet(SHARED / "alpaca_eval_outputs.parquet")
    texts = pl.concat([frame.get_column("output"), frame.get_column("instruction")]).drop_nulls().unique()
    spaced = [text.split(" ") for text in texts.sort().shuffle(seed) if len(text) > 200]
    half = len(spaced) // 2
    evals = excerpts(spaced[:half], WORDS_PER_ITEM, items, chance)
    trained = excerpts(spaced[half:], WORDS_PER_ROW, rows, chance)
    for item in chance.sample(evals, int(len(evals) * HIDDEN)):
        place = chance.randrange(len(trained))
        trained[place] = f"{trained[place]}\n{edited(item, chance)}\nAnswer in one sentence."
    pl.DataFrame({"text": trained}).write_parquet(path)
    return evals


def excerpts(spaced: list[list[str]], length: tuple[int, int], number: int, chance: random.Random) -> list[str]:
    """Return runs of words from random places in the texts."""
    found: list[str] = []
    while len(found) < number:
        words = chance.choice(spaced)
        start, size = chance.randrange(len(words)), chance.randint(*length)
        found.append(" ".join(words[start : start + size]))
    return found


def edited(text: str, chance: random.Random) -> str:
    """Return the text unchanged, in capitals with other punctuation, or with some words replaced."""
    kind = chance.randrange(3)
    if kind == 1:
        return text.upper().replace(" ", "  ").replace(".", " …")
    words = text.split(" ")
    for _ in range(len(words) // 15 if kind == 2 else 0):
        words[chance.randrange(len(words))] = "other"
    return " ".join(words)


if __name__ == "__main__":
    main()
