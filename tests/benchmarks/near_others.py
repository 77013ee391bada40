"""
Times other tools on the same near-duplicates; `near.py` runs this under a Python that has them.

    python tests/benchmarks/near_others.py TOOL TEXTS.jsonl THRESHOLD       prints seconds and CPU seconds

Each is used as its documentation shows, with our shingles: three consecutive words in lower case. None of them verifies
its candidates.
"""

import contextlib
import json
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

WORD = re.compile(r"\w+")
SIZE, MINIMA = 3, 128
Tool = Callable[[list[str], float], None]


def words(text: str) -> list[str]:
    """Return single words, unchanged."""
    return text.split()


def shingles(text: str) -> list[str]:
    """Return shingles of three consecutive words in lower case."""
    found = WORD.findall(text.lower())
    return [" ".join(found[at : at + SIZE]) for at in range(max(len(found) - SIZE + 1, 1))]


def rensa(texts: list[str], threshold: float, tokens: Callable[[str], list[str]] = shingles) -> None:
    """Run the deduplicator of rensa's README."""
    from rensa import RMinHashDeduplicator

    deduplicator = RMinHashDeduplicator(threshold=threshold, num_perm=MINIMA, use_lsh=True)
    deduplicator.add_pairs((str(row), tokens(text)) for row, text in enumerate(texts))


def rensa_one_by_one(texts: list[str], threshold: float) -> None:
    """Use rensa's index as datasketch's is used: query, then insert, text by text, on single words."""
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=threshold, num_perm=MINIMA, num_bands=MINIMA // 8)
    for row, text in enumerate(texts):
        minhash = RMinHash(num_perm=MINIMA, seed=42)
        minhash.update(words(text))
        index.query(minhash)
        index.insert(row, minhash)


def datasketch(texts: list[str], threshold: float) -> None:
    """Query an LSH index, then insert, text by text."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=MINIMA)
    for row, text in enumerate(texts):
        minhash = MinHash(num_perm=MINIMA)
        minhash.update_batch([shingle.encode() for shingle in shingles(text)])
        index.query(minhash)
        index.insert(str(row), minhash)


def datatrove(texts: list[str], _threshold: float) -> None:
    """Run its four stages with their default bands, on two workers, through files as it always does."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    config = MinhashConfig(n_grams=SIZE)
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "in"
        source.mkdir()
        for part in range(2):
            lines = [json.dumps({"id": str(row), "text": text}) for row, text in enumerate(texts) if row % 2 == part]
            (source / f"{part}.jsonl").write_text("\n".join(lines), "utf-8")
        folder = {name: f"{place}/{name}" for name in ("in", "signatures", "buckets", "remove", "out")}
        stages = [
            (2, [JsonlReader(folder["in"]), MinhashDedupSignature(folder["signatures"], config)]),
            (config.num_buckets, [MinhashDedupBuckets(folder["signatures"], folder["buckets"], config=config)]),
            (1, [MinhashDedupCluster(folder["buckets"], folder["remove"], config=config)]),
            (2, [JsonlReader(folder["in"]), MinhashDedupFilter(folder["remove"]), JsonlWriter(folder["out"])]),
        ]
        for number, (tasks, steps) in enumerate(stages):
            logs = f"{place}/logs{number}"
            LocalPipelineExecutor(steps, tasks=tasks, workers=min(tasks, 2), logging_dir=logs).run()


TOOLS: dict[str, Tool] = {
    "rensa": rensa,
    "rensa, single words": lambda texts, threshold: rensa(texts, threshold, words),
    "rensa, single words, text by text": rensa_one_by_one,
    "datasketch": datasketch,
    "datatrove": datatrove,
}


def main() -> None:
    """Print the seconds of one tool, after a warm-up that loads it."""
    tool, path, threshold = sys.argv[1:]
    texts = [json.loads(line)["text"] for line in Path(path).read_text("utf-8").splitlines()]
    with contextlib.redirect_stdout(sys.stderr):
        TOOLS[tool](["Hello there, this is to load what is loaded once."], float(threshold))
        started, worked = time.perf_counter(), cpu_seconds()
        TOOLS[tool](texts, float(threshold))
        seconds = time.perf_counter() - started
    # datatrove's workers are started by another process, whose CPU seconds are unknown here.
    print(seconds, 0 if tool == "datatrove" else cpu_seconds() - worked)


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of the children it waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


if __name__ == "__main__":
    main()
