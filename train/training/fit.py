"""Run one TRL training with the largest micro-batch that fits: after running out of memory, retry with half of it."""

import gc
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from curate.errors import require
from curate.files import NO_SPACE, no_space, remove
from curate.recipe.training import Train
from curate.rundir.file_form import present, to_file
from curate.schema import MESSAGES
from curate.schema.message import chat_message
from curate.terminal import is_watched
from train.models import EXTRA
from train.training import generations, processes
from train.training.defaults import Facts, trainer_arguments
from train.training.settings import config_class, trainer_class, with_floats
from train.training.watch import NotFinite, TrainingStopped, callback, finite_loss_trainer, with_row_numbers

ROWS_FOLDER = "rows"  # next to the checkpoints, during training only
LogLine = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """A model to train, its data, and where the log goes."""

    section: Train
    model: str  # folder
    tokenizer: Any
    rows: pl.DataFrame  # prompt, chosen, rejected, row, length; for SFT `completion` instead of the two sides
    held_out: pl.DataFrame | None
    log: Path
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trainer after training."""

    trainer: Any
    facts: Facts  # with the micro-batch that fits
    stopped: str | None  # reason for stopping early; None = completed
    messages: tuple[str, ...]  # what was reduced after running out of memory


def fit(job: Job, facts: Facts, log_line: LogLine) -> Fitted:
    """
    Train. After running out of memory the micro-batch is halved (with more accumulation steps, so the loss is the
    same), then gradient checkpointing is turned on; training resumes from the last checkpoint.

    Raises TrainingStopped if a loss is not finite or not even one pair fits, and CurateError if the disk is full.
    """
    rows = facts.out.parent / ROWS_FOLDER
    try:
        return _fit_with_retries(job, facts, rows, log_line)
    finally:
        if processes.is_main():
            remove(rows)


def _fit_with_retries(job: Job, facts: Facts, rows: Path, log_line: LogLine) -> Fitted:
    messages: list[str] = []
    while True:
        try:
            with quiet():
                return _fit_once(job, facts, rows, messages)
        except NotFinite as error:
            raise _not_finite(job, error) from error
        except Exception as error:  # a full disk has several exception types: safetensors raises its own
            check_disk(facts.out, error)
            if not out_of_memory(error):
                raise
            if facts.processes > 1:  # a single process cannot retry: the others are in the middle of a step
                raise TrainingStopped(
                    f"out of memory with a micro-batch of {facts.micro_batch} pairs on each of {facts.processes} "
                    "devices; start again with --set trl.per_device_train_batch_size="
                    f"{max(1, facts.micro_batch // 2)} --resume, or with a lower train.max_length"
                ) from error
            smaller = _smaller(job.section, facts)
        _free_memory()
        if smaller is None:
            raise TrainingStopped(
                "out of memory with one pair and gradient checkpointing; lower train.max_length "
                f"({facts.max_length}), train an adapter (train.lora=true), or use a smaller model"
            )
        change = (
            "turning on gradient checkpointing"
            if smaller.checkpointing != facts.checkpointing
            else f"retrying with {smaller.micro_batch}"
        )
        messages.append(f"out of memory with a micro-batch of {facts.micro_batch} pairs: {change}")
        log_line(messages[-1])
        facts = smaller


def out_of_memory(error: BaseException) -> bool:
    """Return whether torch ran out of memory, on a GPU or on the CPU."""
    torch = require("torch", EXTRA)
    texts = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error).lower() for text in texts)


def _smaller(section: Train, facts: Facts) -> Facts | None:
    if facts.micro_batch > 1 and "per_device_train_batch_size" not in section.trl:
        return replace(facts, micro_batch=facts.micro_batch // 2)
    if not facts.checkpointing and "gradient_checkpointing" not in section.trl:
        return replace(facts, checkpointing=True)
    return None


def _fit_once(job: Job, facts: Facts, folder: Path, messages: list[str]) -> Fitted:
    method = job.section.method
    args = config_class(method)(**with_floats(method, trainer_arguments(job.section, facts)))
    beta = float(getattr(args, "beta", 0)) if method == "dpo" else 0.0
    watcher = callback(job.log, beta, early_stop=job.section.early_stop)
    rows, held_out = _datasets(job, args, folder)
    trainer = finite_loss_trainer(trainer_class(method))(
        model=job.model,
        args=args,
        train_dataset=rows,
        eval_dataset=held_out,
        processing_class=job.tokenizer,
        peft_config=_adapter(job.section),
        callbacks=[watcher],
    )
    trainer.data_collator = with_row_numbers(trainer.data_collator)
    if job.held_out is not None and _can_generate(job.section, trainer):
        trainer.add_callback(generations.callback(job.held_out, job.section.samples, job.tokenizer, trainer.log))
    if is_watched() is False:  # without a progress bar the trainer prints every log line
        transformers = require("transformers", EXTRA)
        trainer.remove_callback(transformers.PrinterCallback)
    last_checkpoint = require("transformers.trainer_utils", EXTRA).get_last_checkpoint
    resumed = (job.resume or messages) and facts.out.is_dir()
    trainer.train(resume_from_checkpoint=last_checkpoint(facts.out) if resumed else None)
    return Fitted(trainer, facts, watcher.stopped, tuple(messages))


def _can_generate(section: Train, trainer: Any) -> bool:
    """Return whether answers can be sampled during training: not from a reward model, nor from a sharded model."""
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    return bool(section.samples) and section.method != "reward" and not sharded


def _adapter(section: Train) -> Any:
    """Return a LoRA configuration for all linear layers (arXiv:2106.09685), alpha twice the rank; None without LoRA."""
    if not section.lora:
        return None
    peft = require("peft", EXTRA)
    head: Mapping[str, Any] = {"task_type": "SEQ_CLS", "modules_to_save": ["score"]}  # a reward model's new head
    task = head if section.method == "reward" else {"task_type": "CAUSAL_LM"}
    return peft.LoraConfig(r=section.lora_rank, lora_alpha=2 * section.lora_rank, target_modules="all-linear", **task)


def _datasets(job: Job, args: Any, folder: Path) -> tuple[Any, Any]:
    """
    Return both splits as datasets, from files that every process opens: TRL caches next to them what it computes once
    for all processes (tokens and the reference's log-probs).
    """
    dataset = require("datasets", EXTRA).Dataset
    splits = {"train": job.rows, "test": job.held_out}
    # Sorted by length, so that batches have little padding when TRL iterates over a split in order (evaluation,
    # log-probs of the reference). The order of training is drawn anyway, unless the user has chosen a strategy.
    unsorted = {"train"} if "train_sampling_strategy" in job.section.trl else set()
    with args.main_process_first(local=False):
        if args.process_index == 0:
            remove(folder)
            for name, rows in splits.items():
                if rows is not None:
                    ordered = rows if name in unsorted else rows.sort("length", descending=True, maintain_order=True)
                    as_dataset(ordered).save_to_disk(folder / name)
    train, test = (None if rows is None else dataset.load_from_disk(folder / name) for name, rows in splits.items())
    return train, test


def as_dataset(rows: pl.DataFrame) -> Any:
    """
    Return rows as a dataset for TRL.

    Messages with optional fields become JSON values: as structs, every message would have the keys of all others, as
    nulls, and templates that ask for the keys (Llama 3.1, gpt-oss, DeepSeek V3) would find calls in plain answers.
    """
    datasets = require("datasets", EXTRA)
    fields = present(rows)
    narrow = to_file(rows, fields)
    if not fields - {"tools"}:
        return datasets.Dataset(narrow.to_arrow())
    values = rows.select(narrow.columns).to_dict(as_series=False)
    features = dict(datasets.Dataset(narrow.to_arrow()).features)
    for name in (name for name, dtype in rows.schema.items() if dtype == MESSAGES):
        values[name] = [[chat_message(turn) for turn in turns] for turns in values[name]]
        features[name] = datasets.List(datasets.Json())
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def _not_finite(job: Job, error: NotFinite) -> TrainingStopped:
    where = f"rows {', '.join(f'train {row}' for row in error.rows)}" if error.rows else "a batch"
    return TrainingStopped(
        f"the loss is not finite in {where}: inspect them (`curate why` shows a pair), or lower trl.learning_rate or "
        "trl.max_grad_norm; earlier checkpoints are kept"
    )


def check_disk(folder: Path, error: Exception) -> None:
    """Raise CurateError if the folder's disk is full."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if shutil.disk_usage(existing).free < NO_SPACE or "no space left" in str(error).lower():
        raise no_space(existing) from error


def _free_memory() -> None:
    """Release the memory of the failed attempt."""
    gc.collect()
    torch = require("torch", EXTRA)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries' FutureWarnings, and their progress bars and logs if standard error is not a terminal."""
    with warnings.catch_warnings(), _without_bars() if not is_watched() else nullcontext():
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextmanager
def _without_bars() -> Iterator[None]:
    bars = require("datasets", EXTRA).utils.logging
    logs = require("transformers", EXTRA).utils.logging
    before = logs.get_verbosity()
    os.environ["TQDM_DISABLE"] = "1"  # read by TRL's own bar
    bars.disable_progress_bar()
    logs.disable_progress_bar()
    logs.set_verbosity_error()
    try:
        yield
    finally:
        os.environ.pop("TQDM_DISABLE")
        logs.set_verbosity(before)
        logs.enable_progress_bar()
        bars.enable_progress_bar()
