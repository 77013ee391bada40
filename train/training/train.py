"""Train on a run: preflight, TRL's trainer with options that fit, then the model with its card, log and page."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curate.embeddings.encoder import model_folder
from curate.errors import InputError, RecipeError, require
from curate.files import claim, read_json, remove, write_json
from curate.recipe.training import Train
from curate.rundir.result import Run
from curate.terminal import say as print_progress
from train.card import write_card
from train.models import EXTRA, load_tokenizer
from train.page import write_page
from train.preflight import Preflight, pairs_of, preflight, total_tokens
from train.training import memory, processes
from train.training.defaults import Facts
from train.training.fit import Fitted, Job, check_disk, fit, quiet
from train.training.monitor import warnings
from train.training.sft import chosen_only, merge_adapter

FOLDER, MODEL, CHECKPOINTS, RESULT, LOG, PAGE, MERGED = (
    "training",
    "model",
    "checkpoints",
    "result.json",
    "log.csv",
    "training.html",
    "merged",
)
EVALUATION_PAIRS = 512  # held-out pairs scored during training; `curate evaluate` uses all of them
CONFIDENCE = "label_confidence"  # column: probability that the label is right, 0..1


@dataclass(frozen=True)
class Training:
    """
    A complete training.

    `result` is the content of result.json: method, model, data (revision), rows, left_out, steps, batch, max_length
    (tokens; null = no limit), seconds, held_out (metrics of the saved checkpoint; empty if nothing was held out),
    stopped (reason; null = not stopped early), warnings, findings of the preflight, and all options.
    """

    folder: Path
    result: dict[str, Any]

    @property
    def model(self) -> Path:
        """The folder of the adapter or whole model, with its tokenizer and card; transformers and peft load it."""
        return self.folder / MODEL


def open_training(folder: str | Path) -> Training:
    """
    Open the folder of a complete training.

    Raises InputError if the folder has no training or an unfinished one.

        open_training("RUN/training").result["held_out"]
    """
    folder = Path(folder)
    if not (folder / RESULT).is_file():
        unfinished = (folder / CHECKPOINTS).is_dir()
        raise InputError(
            f"{folder} has {'an unfinished training; continue it with --resume' if unfinished else 'no training'}"
        )
    return Training(folder, read_json(folder / RESULT, dict[str, Any]))


def train(
    run: Run,
    section: Train,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    log_line: Callable[[str], None] = print_progress,
) -> Training:
    """
    Train a model on a run's train split with TRL; the test split is held out for evaluation.

    Parameters
    ----------
    run
        A finished run.
    section
        What to train and how; `model` is required. Any option of the TRL trainer can be set in `section.trl`.
    out
        Folder of the training; None is RUN/training.
    resume
        Continue from the last checkpoint in `out`.
    force
        Replace a training in `out`.
    log_line
        Called with each progress message; by default they go to standard error if it is a terminal.

    Returns
    -------
    Training
        The adapter (or whole model, for `lora=False`) is in `Training.model`.

    Rows without anything to learn from (see `Preflight.usable`) are left out and counted in `result["left_out"]`.

    Raises InputError for data or a model that cannot be used, RecipeError for an unknown TRL option or if `out` already
    has a training, and TrainingStopped if a loss is not finite or not even one pair fits into memory.

        training = train(open_run("RUN"), Train(model="HuggingFaceTB/SmolLM2-135M-Instruct", trl={"beta": 0.05}))
        training.result["held_out"]["rewards/accuracies"]
    """
    folder = Path(out) if out is not None else run.folder / FOLDER
    if processes.is_main():
        _prepare_folder(folder, resume=resume, force=force)
    started = time.perf_counter()
    checked = preflight(run, section)
    section = with_label_smoothing(section, pairs_of(run, "train"))
    base = model_folder(str(section.model), code=section.trust_remote_code)
    if section.sft_first and section.method != "sft":
        adapter = _train_sft(run, section, checked, folder, resume=resume, log_line=log_line)
        base = merge_adapter(adapter, folder / "sft" / "merged", remote_code=section.trust_remote_code)
    fitted = _fit(run, section, checked, base, folder, resume=resume, log_line=log_line)
    return _finish(run, section, checked, fitted, folder, time.perf_counter() - started)


def with_label_smoothing(section: Train, pairs: pl.DataFrame) -> Train:
    """
    Return the section with TRL's robust DPO loss, smoothed by 1 - the mean of the column `label_confidence` (0..1).

    TRL 1.16 has one label smoothing for all rows (arXiv:2403.00409) and no weights per row. The section is unchanged
    without the column, for a mean outside (0.5, 1), for other methods, and if `trl` sets the loss or the smoothing.
    """
    if (
        section.method != "dpo"
        or CONFIDENCE not in pairs.columns
        or {"loss_type", "label_smoothing"} & set(section.trl)
    ):
        return section
    confidence = pairs.get_column(CONFIDENCE).mean()
    if not isinstance(confidence, float) or not 0.5 < confidence < 1:
        return section
    smoothing = {"loss_type": ["robust"], "label_smoothing": round(1 - confidence, 4)}
    return section.model_copy(update={"trl": {**section.trl, **smoothing}})


def rows_of(run: Run, checked: Preflight, split: str, method: str) -> pl.DataFrame:
    """Return the usable rows of a split for TRL, with `row`, their number in the split, and `length` in tokens."""
    places = checked.rows.filter(split=split).select("row", length=total_tokens.cast(pl.Int64))
    both = pl.concat([pairs_of(run, split).select("prompt", "chosen", "rejected", "tools"), places], how="horizontal")
    usable = both.filter(checked.usable(split))
    return chosen_only(usable) if method == "sft" else usable


def _prepare_folder(folder: Path, *, resume: bool, force: bool) -> None:
    claim(folder, "training")
    if force and not resume:
        for name in (MODEL, CHECKPOINTS, RESULT, LOG, PAGE, "sft"):
            remove(folder / name)
    elif not resume and any((folder / name).exists() for name in (CHECKPOINTS, RESULT)):
        raise RecipeError(
            f"{folder} already has a training: continue it with --resume, replace it with --force, or choose another "
            "--out"
        )
    (folder / RESULT).unlink(missing_ok=True)
    remove(folder / MERGED)


def _train_sft(
    run: Run, section: Train, checked: Preflight, folder: Path, *, resume: bool, log_line: Callable[[str], None]
) -> Path:
    """Train on the chosen answers, with default options: `trl` has those of the other trainer."""
    sft = section.model_copy(update={"method": "sft", "trl": {}})
    log_line("SFT on the chosen answers first")
    base = model_folder(str(section.model), code=section.trust_remote_code)
    fitted = _fit(run, sft, checked, base, folder / "sft", resume=resume, log_line=log_line)
    fitted.trainer.save_model(str(folder / "sft" / MODEL))
    return folder / "sft" / MODEL


def _fit(
    run: Run,
    section: Train,
    checked: Preflight,
    base: str,
    folder: Path,
    *,
    resume: bool,
    log_line: Callable[[str], None],
) -> Fitted:
    rows, held_out = (rows_of(run, checked, split, section.method) for split in ("train", "test"))
    held_out = held_out.gather_every(-(-len(held_out) // EVALUATION_PAIRS) or 1)  # spread over the whole split
    tokenizer = load_tokenizer(str(section.model), section.chat_template, remote_code=section.trust_remote_code)
    job = Job(section, base, tokenizer, rows, None if held_out.is_empty() else held_out, folder / LOG, resume)
    return fit(job, _facts(section, checked, folder, len(rows), len(held_out)), log_line)


def _facts(section: Train, checked: Preflight, folder: Path, rows: int, held_out: int) -> Facts:
    torch = require("torch", EXTRA)
    length = checked.max_length or checked.shape.context or 1024
    free = memory.free_bytes()
    cuda = torch.cuda.is_available()
    limit = max(1, section.batch // processes.world_size())
    if not cuda:
        limit = min(limit, max(1, memory.CPU_TOKENS // (2 * length)))
    return Facts(
        out=folder / CHECKPOINTS,
        rows=rows,
        held_out=held_out,
        max_length=checked.max_length,
        micro_batch=memory.largest_batch(checked.shape, checked.plan, length, limit, free),
        cuda=cuda,
        half_precision=checked.plan.half_precision,
        checkpointing=memory.required_bytes(checked.shape, checked.plan, 1, length) > memory.USABLE_SHARE * free,
        processes=processes.world_size(),
    )


def _finish(run: Run, section: Train, checked: Preflight, fitted: Fitted, folder: Path, seconds: float) -> Training:
    trainer = fitted.trainer
    history = trainer.state.log_history
    beta = float(getattr(trainer.args, "beta", 0)) if section.method == "dpo" else 0.0
    evaluations = [line for line in history if "eval_loss" in line]
    best: dict[str, Any] = min(evaluations, key=lambda line: line["eval_loss"], default={})
    result = {
        "method": section.method,
        "model": section.model,
        "data": data_revision(run),
        "rows": len(trainer.train_dataset),
        "left_out": int((~checked.usable("train")).sum()),
        "steps": trainer.state.global_step,
        "batch": {"micro_batch": fitted.facts.micro_batch, "messages": list(fitted.messages)},
        "max_length": checked.max_length,
        "seconds": round(seconds, 1),
        "held_out": {name.removeprefix("eval_"): value for name, value in best.items() if name.startswith("eval_")},
        "stopped": fitted.stopped,
        "warnings": warnings(history, beta),
        "findings": checked.findings(),
        "options": dict(sorted(section.model_dump(mode="json").items())),
    }
    try:
        with quiet():
            trainer.save_model(str(folder / MODEL))
    except Exception as error:
        check_disk(folder, error)
        raise
    if trainer.is_world_process_zero():
        write_card(folder / MODEL, run, result)
        write_page(folder / PAGE, history, beta, result)
        write_json(folder / RESULT, result)  # last: its presence means that the training is complete
    return Training(folder, result)


def data_revision(run: Run) -> str:
    """Return a hash of the train split's files, 16 hexadecimal digits, which identifies the training data."""
    digest = hashlib.sha256()
    for shard in run.shards("train"):
        digest.update(shard.read_bytes())
    return digest.hexdigest()[:16]
