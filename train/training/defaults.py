"""The options that TRL's trainer gets: ours where they are better than its defaults, the user's over both."""

import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from curate.progress import is_watched
from curate.recipe import Train

# TRL's own learning rates; an adapter takes about ten times as much (arXiv:2106.09685, and "LoRA Without Regret",
# Schulman et al. 2025).
RATES = {"dpo": 1e-6, "orpo": 1e-6, "reward": 1e-4, "sft": 2e-5}
LORA_FACTOR = {"dpo": 10, "orpo": 10, "reward": 1, "sft": 10}  # TRL's reward rate is meant for adapters already
LOGS = 50  # lines of a training's log, about


@dataclass(frozen=True, slots=True)
class Facts:
    """What the options depend on beside the recipe."""

    out: Path  # checkpoints
    rows: int  # to train on
    held_out: int
    max_length: int | None
    micro: int  # pairs at once on one device
    cuda: bool
    half: bool  # in bfloat16
    checkpointing: bool = False
    processes: int = 1


def arguments(section: Train, facts: Facts) -> dict[str, Any]:
    """Options for the trainer of `section.method`, by TRL's names; `section.trl` goes over all of them."""
    given = dict(section.trl)
    micro = given.setdefault("per_device_train_batch_size", facts.micro)
    accumulated = given.setdefault("gradient_accumulation_steps", max(1, section.batch // (micro * facts.processes)))
    batch = micro * accumulated * facts.processes
    steps = planned_steps(section, facts.rows, batch)
    rate = RATES[section.method] * (LORA_FACTOR[section.method] if section.lora else 1)
    every = max(1, steps // section.evaluations)
    return {
        "output_dir": str(facts.out),
        "seed": section.seed,
        "learning_rate": rate,
        "num_train_epochs": 1,
        "warmup_steps": 0.1,  # a share of the steps
        "max_length": facts.max_length,
        "per_device_eval_batch_size": micro,
        "bf16": facts.half and not given.get("fp16"),
        "use_cpu": not facts.cuda,
        "gradient_checkpointing": facts.checkpointing,
        "model_init_kwargs": {"dtype": "bfloat16" if facts.half and section.lora else "float32"},
        # Sequences of about one length share a batch: padding is computed on like text.
        "train_sampling_strategy": "group_by_length",
        "remove_unused_columns": False,  # `length` and `row` go along
        "logging_steps": max(1, steps // LOGS),
        "logging_nan_inf_filter": False,  # what is not finite is to be seen
        "report_to": "none",
        "disable_tqdm": not is_watched(),
        **_checkpoints(every, held_out=facts.held_out > 0),
        **(_reference(section, facts, steps * batch) if section.method == "dpo" else {}),
        **({"use_liger_kernel": True} if facts.cuda and find_spec("liger_kernel") else {}),
        **given,
    }


def planned_steps(section: Train, rows: int, batch: int) -> int:
    """Optimizer steps of the training."""
    if (given := section.trl.get("max_steps", -1)) > 0:
        return int(given)
    return max(1, math.ceil(math.ceil(rows / batch) * float(section.trl.get("num_train_epochs", 1))))


def _checkpoints(every: int, *, held_out: bool) -> dict[str, Any]:
    saved = {"save_strategy": "steps", "save_steps": every, "save_total_limit": 2}
    if not held_out:
        return saved
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": False}
    return {**saved, **best, "eval_strategy": "steps", "eval_steps": every}


def _reference(section: Train, facts: Facts, seen: int) -> dict[str, Any]:
    """
    Log-probs of the reference are computed once and kept, so that no second model lies in memory. An adapter's, which
    is the model without it, are computed as it goes where these are fewer: pairs seen, and all held out at each look.
    """
    if section.trl.get("sync_ref_model"):
        return {}
    as_it_goes = seen + section.evaluations * facts.held_out
    return {"precompute_ref_log_probs": not section.lora or as_it_goes > facts.rows + facts.held_out}
