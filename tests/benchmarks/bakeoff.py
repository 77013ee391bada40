"""
Does curation help when 20 % of the labels are flipped? Prints a markdown table: real annotations (AlpacaEval's, by
GPT-4), short trainings of one small model per arm, evaluated on held-out pairs with clean labels.

    python tests/benchmarks/bakeoff.py --out OUT [--model FOLDER_OR_ID] [--steps 40] [--seeds 2] [--max-chars 450]

The arms: `raw` (flipped labels, not curated), `curated` (rules, dedup, then the pairs where the judge `heuristic`,
which does not see the labels, prefers the same side), `random` (as many pairs, of raw), `confident` (raw without the
pairs that `rules.min_label_confidence` drops), and `clean` (no label flipped), the upper bound for finding every
flipped label.
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import yaml

import curate
from curate.embeddings.encoder import load_encoder
from curate.schema import digest
from curate.text.messages import text_of
from pipelines.judges.heuristic import score
from tests.train.tiny import tiny_model, tiny_tokenizer
from train.bakeoff.arms import load_bakeoff
from train.bakeoff.bakeoff import bakeoff
from train.evaluation.answers import candidates

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
FLIPPED = 0.2
AS_IS = ["rules.defaults=false", "dedup.exact=false", "dedup.contradictions=keep"]
ARMS = ("raw", "curated", "random", "confident", "clean")
LEAST = 0.5  # label confidence below which the other pairs speak for the opposite label


def main() -> None:
    """Prepare the arms, run the bake-off, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--model", help="without it, a tiny one is built from the texts and trained in full")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--test", type=int, default=150, help="held-out pairs, at most")
    parser.add_argument(
        "--max-chars", type=int, default=450, help="of prompt and longer answer together, for slow machines"
    )
    parser.add_argument("--rate", type=float, default=1e-4)
    options = parser.parse_args()
    file = SHARED / "alpaca_eval_annotations.parquet"
    if not file.is_file():
        sys.exit(f"skipped: {file.name} is not beside the repository, in ../shared/data")
    arms, test = prepared(file, options.out, options.max_chars, options.test)
    train = {
        "model": options.model or tiny_llama(options.out),
        "batch": options.batch,
        "max_length": 192,
        "lora": options.model is not None,
        "trl": {"learning_rate": options.rate, "bf16": False},
    }
    plan = {"arms": arms, "test": test, "seeds": list(range(options.seeds)), "steps": options.steps, "train": train}
    (options.out / "bakeoff.yaml").write_text(yaml.safe_dump(plan, sort_keys=False), "utf-8")
    loaded = load_bakeoff(options.out / "bakeoff.yaml")
    table = bakeoff(
        loaded, options.out, root=options.out, log_line=lambda text: print(text, file=sys.stderr, flush=True)
    )
    print(f"{datetime.now(UTC):%Y-%m-%d}\n")
    print(f"| {' | '.join(table[0])} |\n|{'|'.join('---' for _ in table[0])}|")
    for row in table:
        print(f"| {' | '.join('–' if value is None else str(value) for value in row.values())} |")


def tiny_llama(out: Path) -> str:
    """Build a Llama of two layers with random weights and a vocabulary of 2,000 from the training texts."""
    texts = [text for row in pl.read_ndjson(out / "clean.jsonl").iter_rows() for text in row]
    return tiny_model(out / "model", tiny_tokenizer(texts=texts, size=2000), hidden=64)


def prepared(file: Path, out: Path, most: int, held_out: int) -> tuple[dict[str, dict[str, str]], str]:
    """Write a run per arm to `out`; return them and the run used for evaluation."""
    texts = (text_of(side).alias(side) for side in ("prompt", "chosen", "rejected"))
    everything = curate.clean(file, out / "all", settings=["split.test=0"]).train.select("pair_id", "prompt_id", *texts)
    longest = pl.col("prompt").str.len_chars() + pl.max_horizontal(pl.col("chosen", "rejected").str.len_chars())
    pairs = everything.filter(longest <= most).collect()
    judging = pl.col("prompt_id").str.slice(0, 8).str.to_integer(base=16) < 0.3 * 2**32  # by prompt: no leak
    turned = digest(pl.concat_str(pl.lit("flip"), "pair_id")).str.slice(0, 8).str.to_integer(base=16) < FLIPPED * 2**32
    test, clean = pairs.filter(judging).sort("pair_id").head(held_out), pairs.filter(~judging)
    sides = pl.when(turned).then("rejected").otherwise("chosen"), pl.when(turned).then("chosen").otherwise("rejected")
    flipped = clean.with_columns(chosen=sides[0], rejected=sides[1])
    agrees, sure = agreed(flipped), confident(flipped, out)
    arms = {"clean": clean, "raw": flipped, "curated": flipped.filter(agrees), "confident": flipped.filter(sure)}
    for name, rows in arms.items():
        source = out / f"{name}.jsonl"
        rows.select("prompt", "chosen", "rejected").write_ndjson(source)
        curate.clean(source, out / name, settings=["split.test=0", *(AS_IS if name in ("raw", "confident") else [])])
    test.select("prompt", "chosen", "rejected").write_ndjson(out / "test.jsonl")
    curate.clean(out / "test.jsonl", out / "test", settings=["split.test=0.999", *AS_IS])
    wrong = clean.select(turned).to_series()
    facts = {"pairs": len(clean), "test": len(test), "flipped": wrong.mean()}
    for name, kept in {"agreed": agrees, "confident": sure}.items():
        facts |= {name: int(kept.sum()), f"flipped, of those {name}": wrong.filter(kept).mean()}
    print(json.dumps(facts), file=sys.stderr)
    runs = {name: {"run": name} for name in ("raw", "curated", "confident", "clean")}
    random = {"random_of": "raw", "as_many_as": "curated"}
    return {name: random if name == "random" else runs[name] for name in ARMS}, "test"


def confident(pairs: pl.DataFrame, out: Path) -> pl.Series:
    """
    Return, per row, whether `min_label_confidence` keeps it. The trainings do not see the confidence: with that column
    they would also take another loss.
    """
    source = out / "labels.jsonl"
    pairs.select("prompt", "chosen", "rejected").write_ndjson(source)
    settings = ["split.test=0", *AS_IS, "label_noise=true", f"rules.min_label_confidence={LEAST}"]
    kept = curate.clean(source, out / "labels", settings=settings).train.select("source_row").collect().to_series()
    return pl.Series(range(len(pairs))).is_in(kept.implode())


def agreed(pairs: pl.DataFrame) -> pl.Series:
    """Return, per row, whether the heuristic scores chosen above rejected."""
    rows = pairs.select(
        kind=pl.lit("held out"), prompt_id="pair_id", tuned="chosen", reference="rejected",
        prompt=pl.concat_list(pl.struct(role=pl.lit("user"), content="prompt")),
    )  # fmt: skip
    scores = score(candidates(rows), load_encoder()).get_column("score")  # reference and tuned alternate
    return scores.gather_every(2, 1) > scores.gather_every(2)


if __name__ == "__main__":
    main()
