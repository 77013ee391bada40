"""
Tokens per second of `curate train` and of TRL's own DPO script with its defaults (`trl dpo`, batch 8, LoRA), on the
same pairs and model with the same number of steps, in one run, as a markdown table. It also runs on a GPU.

    python tests/benchmarks/training.py --run RUN [--model ID_OR_FOLDER] [--steps 20] [--batch 8] [--rate 1e-5]

Seconds are those of the whole training, from creating the trainer to its last step, with the reference's log-probs and
tokenization. MFU: 6 floating-point operations per weight and token (Kaplan et al. 2020) and 2 more for the reference,
over the GPU's peak in bf16; for an adapter this overstates the computation. Without --model a small Llama is built.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from curate.recipe.training import Train
from curate.rundir.result import Run, open_run
from tests.train.tiny import tiny_model, tiny_tokenizer
from train.bakeoff.arms import sample_pairs, write_run
from train.models import model_shape
from train.preflight import preflight
from train.training.train import rows_of, train
from train.training.watch import read_log

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12, "4090": 165e12}  # bf16, dense, vendors' figures


@dataclass(frozen=True, slots=True)
class Measured:
    """One training."""

    name: str
    seconds: float
    cpu: float  # CPU seconds: more reliable on a shared machine
    tokens: int  # without padding
    loss: float  # mean over all steps
    gigabytes: float | None  # peak GPU memory; None without a GPU


def main() -> None:
    """Train twice and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--rate", type=float, default=1e-5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pairs = sample_pairs(open_run(options.run).train.collect(), options.steps * options.batch, "benchmark")
        model = options.model or small_llama(pairs, Path(folder) / "model")
        run = write_run(Path(folder) / "run", pairs)
        trl = {"max_steps": options.steps, "learning_rate": options.rate, "logging_steps": 1, "save_strategy": "no"}
        section = Train(model=model, batch=options.batch, max_length=options.max_length, trl=trl, early_stop=False)
        done = [plain_trl(run, section, Path(folder) / "trl"), ours(run, section, Path(folder) / "ours")]
        weights = model_shape(model).parameters
    sizes = f"{weights / 1e6:,.1f} M weights, {options.steps} steps of {options.batch}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {device()}, {sizes}\n")
    print("| training | seconds | CPU s | tokens/s | times | mean loss | peak GB | MFU |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for each in done:
        rate = each.tokens / each.seconds
        times = rate / (done[0].tokens / done[0].seconds)
        memory = "–" if each.gigabytes is None else f"{each.gigabytes:.1f}"
        figures = [
            f"{each.seconds:.1f}",
            f"{each.cpu:.1f}",
            f"{rate:,.0f}",
            f"{times:.2f}",
            f"{each.loss:.4f}",
            memory,
            mfu(rate, weights),
        ]
        print(f"| {each.name} | {' | '.join(figures)} |")


def small_llama(pairs: pl.DataFrame, folder: Path) -> str:
    """Build a Llama of four layers with a vocabulary of 4,000 from the pairs' own texts."""
    texts = [message["content"] for side in ("prompt", "chosen") for turns in pairs[side] for message in turns]
    return tiny_model(folder, tiny_tokenizer(texts=texts, size=4000), hidden=192, layers=4)


def ours(run: Run, section: Train, out: Path) -> Measured:
    """Run `curate train` from start to end: preflight, card and page included."""
    reset()
    started = time.perf_counter(), time.process_time()
    done = train(run, section, out)
    return measured("curate train", started, read_log(done.folder / "log.csv"))


def plain_trl(run: Run, section: Train, out: Path) -> Measured:
    """Do what `trl dpo` does with its defaults and `--use_peft`."""
    import datasets
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    rows = rows_of(run, preflight(run, section), "train", "dpo").select("prompt", "chosen", "rejected")
    reset()
    started = time.perf_counter(), time.process_time()
    args = DPOConfig(
        output_dir=str(out), report_to="none", per_device_train_batch_size=section.batch,
        max_length=section.max_length, warmup_steps=0.1, use_cpu=not cuda(), **section.trl,
    )  # fmt: skip
    trainer = DPOTrainer(
        model=str(section.model),
        args=args,
        train_dataset=datasets.Dataset(rows.to_arrow()),
        peft_config=LoraConfig(r=section.lora_rank, lora_alpha=2 * section.lora_rank, target_modules="all-linear"),
    )
    trainer.train()
    return measured("`trl dpo`, its defaults", started, trainer.state.log_history)


def measured(name: str, started: tuple[float, float], log: list[dict[str, Any]]) -> Measured:
    """Return the figures of a training that has just ended."""
    seconds, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    steps = [line for line in log if line.get("loss") is not None]
    tokens, loss = (
        max(float(line["num_tokens"]) for line in steps),
        sum(float(line["loss"]) for line in steps) / len(steps),
    )
    memory = __import__("torch").cuda.max_memory_allocated() / 1e9 if cuda() else None
    return Measured(name, seconds, cpu, int(tokens), loss, memory)


def mfu(rate: float, weights: int) -> str:
    """Return the share of the GPU's peak; a dash if the GPU is unknown."""
    peak = next((peak for name, peak in PEAKS.items() if name in device()), None)
    return f"{8 * weights * rate / peak:.1%}" if peak else "–"


def cuda() -> bool:
    """Return whether there is a GPU."""
    return bool(__import__("torch").cuda.is_available())


def device() -> str:
    """Return the name of the GPU, or the CPU's threads."""
    torch = __import__("torch")
    return str(torch.cuda.get_device_name()) if cuda() else f"CPU, {torch.get_num_threads()} threads"


def reset() -> None:
    """Reset the GPU's peak memory."""
    if cuda():
        __import__("torch").cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
