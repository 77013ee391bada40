"""Options for TRL's trainers: our defaults where they are better than TRL's, overridden by the user's."""

import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from curate.recipe.training import Train
from curate.terminal import is_watched

# TRL's own learning rates; LoRA needs about ten times as much (arXiv:2106.09685, and "LoRA Without Regret", Schulman
# et al. 2025).
LEARNING_RATES = {"dpo": 1e-6, "orpo": 1e-6, "reward": 1e-4, "sft": 2e-5}
LORA_FACTOR = {"dpo": 10, "orpo": 10, "reward": 1, "sft": 10}  # TRL's rate for reward models already assumes LoRA
LOG_LINES = 50  # approximate number of log lines per training


@dataclass(frozen=True, slots=True)
class Facts:
    """What the options depend on besides the recipe."""

    out: Path  # folder of the checkpoints
    rows: int  # training rows
    held_out: int  # rows scored at each evaluation
    max_length: int | None  # tokens
    micro_batch: int  # pairs per forward pass on one device
    cuda: bool
    half_precision: bool  # bfloat16
    checkpointing: bool = False
    processes: int = 1


def trainer_arguments(section: Train, facts: Facts) -> dict[str, Any]:
    """Return the options of the trainer for `section.method`, by TRL's names; `section.trl` overrides all of them."""
    given = dict(section.trl)
    dtype = "bfloat16" if facts.half_precision and section.lora else "float32"
    model = given.pop("model_init_kwargs", {"dtype": dtype})
    model = {**model, "trust_remote_code": True} if section.trust_remote_code else model
    micro = given.setdefault("per_device_train_batch_size", facts.micro_batch)
    accumulated = given.setdefault("gradient_accumulation_steps", max(1, section.batch // (micro * facts.processes)))
    batch = micro * accumulated * facts.processes
    steps = planned_steps(section, facts.rows, batch)
    rate = LEARNING_RATES[section.method] * (LORA_FACTOR[section.method] if section.lora else 1)
    return {
        "output_dir": str(facts.out),
        "seed": section.seed,
        "learning_rate": rate,
        "num_train_epochs": 1,
        "warmup_steps": 0.1,  # as a share of the steps
        "max_length": facts.max_length,
        "per_device_eval_batch_size": micro,
        "bf16": facts.half_precision and not given.get("fp16"),
        "use_cpu": not facts.cuda,
        "gradient_checkpointing": facts.checkpointing,
        "model_init_kwargs": model,
        # Batches of similar lengths waste less computation on padding.
        "train_sampling_strategy": "group_by_length",
        "remove_unused_columns": False,  # the trainer needs `length` and `row`
        "logging_steps": max(1, steps // LOG_LINES),
        "logging_nan_inf_filter": False,  # log losses that are not finite as they are
        "report_to": "none",
        "disable_tqdm": not is_watched(),
        **_checkpoint_options(max(1, steps // section.evaluations), held_out=facts.held_out > 0),
        **(_reference_options(section, facts, steps * batch) if section.method == "dpo" else {}),
        **({"use_liger_kernel": True} if facts.cuda and find_spec("liger_kernel") else {}),
        **given,
    }


def planned_steps(section: Train, rows: int, batch: int) -> int:
    """Return the number of optimizer steps."""
    if (given := section.trl.get("max_steps", -1)) > 0:
        return int(given)
    return max(1, math.ceil(math.ceil(rows / batch) * float(section.trl.get("num_train_epochs", 1))))


def _checkpoint_options(every: int, *, held_out: bool) -> dict[str, Any]:
    saved = {"save_strategy": "steps", "save_steps": every, "save_total_limit": 2}
    if not held_out:
        return saved
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": False}
    return {**saved, **best, "eval_strategy": "steps", "eval_steps": every}


def _reference_options(section: Train, facts: Facts, pairs_seen: int) -> dict[str, Any]:
    """
    Choose when the reference's log-probs are computed, so that no second model is in memory.

    For full training they are precomputed. The reference of an adapter is the model with the adapter disabled, so they
    can also be computed on the fly. That is done if it is less work: the pairs seen in training plus all held-out
    pairs at each evaluation, compared with every pair once.
    """
    if section.trl.get("sync_ref_model"):
        return {}
    on_the_fly = pairs_seen + section.evaluations * facts.held_out
    return {"precompute_ref_log_probs": not section.lora or on_the_fly > facts.rows + facts.held_out}
