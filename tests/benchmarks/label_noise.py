"""
Which planted label errors are found: labels are flipped, and pairs ranked by the confidence of their labels.

    python -m tests.benchmarks.label_noise --others .venv-others/bin/python
    python -m tests.benchmarks.label_noise --sets hh llmbar --rates 0.1 --seeds 1 --no-vectors

Beside label confidence: a random order, and cleanlab (Northcutt et al. 2021) on the same surface features and vectors,
with a logistic regression cross-fitted over the same number of folds. AUC is that of telling flipped pairs from others;
precision is the share of flipped pairs among as many of the least confident ones as were flipped. Intervals are 95 %
over the seeds of flips (t distribution). Flips by length reverse mostly pairs whose chosen answer is much longer.

Kinds with annotators have 20 of them, who label pairs at random: of `annotators` 4 flip 40 % and the others 2 %, of
`alike` all flip as many. `annotators-3` has three labels of each pair, by three of them. The rate is not used.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

import curate
from curate.embeddings.cache import embed
from curate.embeddings.encoder import load_encoder
from curate.findings.crossfit import scaled
from curate.findings.features import surface_sides
from curate.findings.label_noise import Evidence, label_noise
from curate.text.messages import text_of

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SETS = {"annotations": "alpaca_eval_annotations.parquet", "hh": "hh_rlhf_harmless.jsonl.gz", "llmbar": "llmbar.jsonl"}
SIDES = ("chosen", "rejected")
# Kinds with annotators: the share of labels that each of them flips.
BAD = [0.4] * 4 + [0.02] * 16
FLIPPING = {"annotators": BAD, "alike": [sum(BAD) / 20] * 20, "annotators-3": BAD}


def main() -> None:
    """Print a row per set, rate and kind of flips."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1] if __doc__ else None)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--rates", nargs="*", type=float, default=[0.1, 0.2, 0.3])
    parser.add_argument("--kinds", nargs="*", default=["uniform", "length"], choices=["uniform", "length", *FLIPPING])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=4000, help="at most this many pairs of a set, a random sample")
    parser.add_argument("--no-vectors", action="store_true", help="without embeddings")
    parser.add_argument("--others", help="Python of the environment with cleanlab")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "label_noise_vectors")
    options = parser.parse_args()
    options.cache.mkdir(exist_ok=True)
    print(f"{'set':12} {'flips':12} {'pairs':>6} {'by':18} {'AUC':>16} {'precision':>16} {'seconds':>8}")
    for name in options.sets:
        if not (SHARED / SETS[name]).is_file():
            sys.exit(f"skipped: {SETS[name]} is not beside the repository, in ../shared/data")
        pairs, vectors = load(name, options)
        for kind in options.kinds:
            for rate in [sum(BAD) / 20] if kind in FLIPPING else options.rates:
                report(name, pairs, vectors, kind, rate, options)


def load(name: str, options: Any) -> tuple[pl.DataFrame, tuple[np.ndarray, np.ndarray] | None]:
    """Return the pairs that pass the default rules, with signals and texts, and the vectors of both answers."""
    pairs = curate.measure(curate.filter(curate.read(SHARED / SETS[name])).kept)
    if len(pairs) > options.rows:
        chosen = np.sort(np.random.default_rng(0).choice(len(pairs), options.rows, replace=False))
        pairs = pairs[chosen]
    pairs = pairs.with_columns(text_of(side).alias(f"{side}_text") for side in SIDES)
    if options.no_vectors:
        return pairs, None
    texts = [pairs.get_column(f"{side}_text") for side in SIDES]
    found = embed(iter(texts), load_encoder(), options.cache / f"{name}.bin", total=2 * len(pairs))
    return pairs, (found[: len(pairs)], found[len(pairs) :])


def labellers(count: int, labels: int, seed: int) -> np.ndarray:
    """Return an annotator, 0 to 19, per pair; with several labels per pair, different ones, pair by pair in turn."""
    random = np.random.default_rng(seed)
    each: np.ndarray = random.permuted(np.tile(np.arange(20), (count, 1)), axis=1)[:, :labels]
    return each.T.ravel()


def flipped(pairs: pl.DataFrame, kind: str, rate: float, seed: int, who: np.ndarray | None) -> np.ndarray:
    """Return which pairs get the wrong label; `who` are the annotators of the kinds with annotators."""
    random = np.random.default_rng(seed).random(len(pairs))
    if who is not None:
        by_annotator: np.ndarray = random < np.array(FLIPPING[kind])[who]
        return by_annotator
    if kind == "uniform":
        uniform: np.ndarray = random < rate
        return uniform
    longer = pairs.select(pl.col("chosen_chars").cast(pl.Float64) - pl.col("rejected_chars")).to_series().to_numpy()
    chance = 1 / (1 + np.exp(-2 * longer / np.abs(longer).std()))
    by_length: np.ndarray = random < chance * rate / chance.mean()
    return by_length


def with_labels(pairs: pl.DataFrame, wrong: np.ndarray) -> pl.DataFrame:
    """Return the pairs with the sides of the wrong ones swapped."""
    columns = [name for name in pairs.columns if name.startswith("chosen_")]
    mask = pl.lit(pl.Series(wrong))
    swapped = []
    for chosen in columns:
        rejected = chosen.replace("chosen", "rejected", 1)
        if rejected in pairs.columns:
            swapped += [
                pl.when(mask).then(rejected).otherwise(chosen).alias(chosen),
                pl.when(mask).then(chosen).otherwise(rejected).alias(rejected),
            ]
    ids = {"pair_id": "flipped_id", "flipped_id": "pair_id"}
    swapped += [pl.when(mask).then(other).otherwise(name).alias(name) for name, other in ids.items()]
    return pairs.with_columns(swapped)


def report(name: str, pairs: pl.DataFrame, vectors: Any, kind: str, rate: float, options: Any) -> None:
    """Print how well each way finds the flips, over all seeds."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    labels = 3 if kind == "annotators-3" else 1
    pairs = pl.concat([pairs.with_columns(flipped_id=pl.concat_str(pl.lit("~"), "pair_id"))] * labels)
    for seed in range(options.seeds):
        who = labellers(len(pairs) // labels, labels, seed + 2000) if kind in FLIPPING else None
        wrong = flipped(pairs, kind, rate, seed, who)
        given = with_labels(pairs, wrong)
        sides = None
        if vectors is not None:
            both, mask = [np.tile(side, (labels, 1)) for side in vectors], wrong[:, None]
            sides = np.where(mask, both[1], both[0]), np.where(mask, both[0], both[1])
        random = np.random.default_rng(seed + 1000).random(len(pairs))
        found.setdefault("random", []).append((*scored(random, wrong), 0.0))
        texts = given.get_column("chosen_text"), given.get_column("rejected_text")
        ids = ["pair_id", "prompt_id", *(["flipped_id"] if labels > 1 else [])]
        named = given.select(*ids, "chosen_model", "rejected_model")
        evidence = Evidence(named, given, texts, sides, given.get_column("prompt_id"))
        ours = {"label_confidence": evidence}
        if who is not None:
            ours["with annotators"] = replace(evidence, annotators=pl.Series(who))
        for by, known in ours.items():
            started = time.perf_counter()
            confidence = label_noise(known).rows.get_column("label_confidence").to_numpy()
            found.setdefault(by, []).append((*scored(confidence, wrong), time.perf_counter() - started))
        if options.others:
            started = time.perf_counter()
            theirs = by_cleanlab(options.others, given, sides)
            found.setdefault("cleanlab", []).append((*scored(theirs, wrong), time.perf_counter() - started))
    for by, values in found.items():
        auc, precision, seconds = np.array(values).T
        print(
            f"{name:12} {rate:4.0%} {kind:7} {len(pairs):>6,} {by:18} {interval(auc):>16} {interval(precision):>16} "
            f"{seconds.mean():>8.1f}",
            flush=True,
        )


def scored(confidence: np.ndarray, wrong: np.ndarray) -> tuple[float, float]:
    """Return the AUC, and the precision among as many of the least confident pairs as are wrong."""
    ranks = stats.rankdata(-confidence)
    count = int(wrong.sum())
    auc = (ranks[wrong].sum() - count * (count + 1) / 2) / (count * (len(wrong) - count))
    least = np.argsort(confidence, kind="stable")[:count]
    return float(auc), float(wrong[least].mean())


def interval(values: np.ndarray) -> str:
    """Return a mean with its 95 % interval."""
    if len(values) < 2:
        return f"{values.mean():.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():.3f} ±{half:.3f}"


def by_cleanlab(python: str, given: pl.DataFrame, sides: Any) -> np.ndarray:
    """Return cleanlab's label quality on the same features: in an environment of its own."""
    surface = surface_sides(given)
    x = scaled(surface.chosen - surface.rejected)
    if sides is not None:
        x = np.hstack([x, scaled(sides[0] - sides[1])])
    groups = given.get_column("prompt_id").rank("dense").to_numpy()
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "in.npz", x=x, groups=groups)
        script = Path(__file__).with_name("label_noise_others.py")
        subprocess.run([python, str(script), folder], check=True)
        found: np.ndarray = np.load(Path(folder) / "out.npy")
        return found


if __name__ == "__main__":
    main()
