"""
Answers per second of each signal of models, on the CPU or a GPU, without the time to load the model.

    python tests/benchmarks/scoring.py [--pairs 30]

The causal and the reward model have the shape of SmolLM2-135M and random weights, which take as long as trained ones;
relevance is that of MiniLM. Prompts have 80 tokens, answers 20 to 180.
"""

import argparse
import random
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

import curate
from curate.recipe.scoring import ModelSignals
from curate.stages.models import score_frame
from tests.train.tiny import tiny_tokenizer

SHAPE = {
    "vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 2048, "tie_word_embeddings": True,
}  # fmt: skip
WORDS = ("tea", "hot", "is", "better", "cold", "why", "it", "matters", "the", "door", "red")


def models(folder: Path) -> dict[str, str]:
    """Save both models; return their folders."""
    import transformers

    tokenizer = tiny_tokenizer(texts=[" ".join(WORDS)] * 20)
    config = transformers.LlamaConfig(**SHAPE, pad_token_id=tokenizer.pad_token_id)
    transformers.LlamaForCausalLM(config).save_pretrained(folder / "policy")
    config.num_labels = 1
    transformers.LlamaForSequenceClassification(config).save_pretrained(folder / "reward")
    for name in ("policy", "reward"):
        tokenizer.save_pretrained(folder / name)
    return {name: str(folder / name) for name in ("policy", "reward")}


def main() -> None:
    """Print a table, one row per kind of signal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--pairs", type=int, default=30)
    options = parser.parse_args()
    seeded = random.Random(0)

    def text(least: int, most: int) -> str:
        return " ".join(seeded.choices(WORDS, k=seeded.randint(least, most)))

    rows = [{"prompt": text(75, 75), "chosen": text(15, 175), "rejected": text(15, 175)} for _ in range(options.pairs)]
    pairs = curate.read(rows)
    with tempfile.TemporaryDirectory() as folder:
        named = models(Path(folder))
        kinds: dict[str, dict[str, Any]] = {
            "reward": {"reward": named["reward"]},
            "logp, perplexity": {"policy": named["policy"]},
            "relevance": {"relevance": True},
        }
        print(f"{datetime.now(UTC):%Y-%m-%d}\n\n| signals | answers/s |\n|---|---:|")
        for name, section in kinds.items():
            seconds(pairs.head(1), section)  # imports
            loading = seconds(pairs.head(1), section)
            reading = seconds(pairs, section) - loading
            print(f"| {name} | {2 * (len(pairs) - 1) / reading:.1f} |", flush=True)


def seconds(pairs: pl.DataFrame, section: dict[str, Any]) -> float:
    started = time.perf_counter()
    score_frame(pairs, ModelSignals.model_validate(section))
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
