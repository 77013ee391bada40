"""One training by TRL, in the largest batch that fits: after an out-of-memory error again with half of it."""

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
from curate.progress import is_watched
from curate.recipe import Train
from train.models import EXTRA
from train.training import generations, processes
from train.training.defaults import Facts, arguments
from train.training.settings import options, trainer, typed
from train.training.watch import NotFinite, TrainingStopped, callback, watched, with_rows

ROWS = "rows"  # beside the checkpoints, while it trains
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained, on what, and where to."""

    section: Train
    model: str  # folder
    tokenizer: Any
    rows: pl.DataFrame  # prompt, chosen, rejected, row, length; and for SFT completion instead of the two sides
    held_out: pl.DataFrame | None
    log: Path
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trainer that has trained, and how it went."""

    trainer: Any
    facts: Facts  # with the batch that fitted
    stopped: str | None
    said: tuple[str, ...]


def fit(job: Job, facts: Facts, say: Say) -> Fitted:
    """
    Train. Out of memory: the batch is halved (more of them make an optimizer step, so the loss is the same), then
    activations are computed again instead of kept; what was saved before is gone on from.

    Raises TrainingStopped for a loss that is not finite and where not even one pair fits, CurateError for a full disk.
    """
    rows = facts.out.parent / ROWS
    try:
        return _fitted(job, facts, rows, say)
    finally:
        if processes.is_first():
            remove(rows)


def _fitted(job: Job, facts: Facts, rows: Path, say: Say) -> Fitted:
    said: list[str] = []
    while True:
        try:
            with quiet():
                return _fit(job, facts, rows, said)
        except NotFinite as error:
            raise _not_finite(job, error) from error
        except Exception as error:  # a full disk has many faces: safetensors raises its own
            check_disk(facts.out, error)
            if not out_of_memory(error):
                raise
            if facts.processes > 1:  # the others wait in the middle of a step: no single one can begin again
                raise TrainingStopped(
                    f"out of memory with {facts.micro} pairs at once on each of {facts.processes} devices; start it "
                    f"again with --set trl.per_device_train_batch_size={max(1, facts.micro // 2)} --resume, or with "
                    "a lower train.max_length"
                ) from error
            smaller = _smaller(job.section, facts)
        _free()
        if smaller is None:
            raise TrainingStopped(
                f"out of memory with one pair at once and checkpointing; lower train.max_length ({facts.max_length}), "
                "train an adapter (train.lora=true), or take a smaller model"
            )
        what = "gradient checkpointing is on" if smaller.checkpointing != facts.checkpointing else "half of it"
        said.append(f"out of memory with {facts.micro} pairs at once: {what}, {smaller.micro} at once now")
        say(said[-1])
        facts = smaller


def out_of_memory(error: BaseException) -> bool:
    """Whether torch had no memory left, on a GPU or on the CPU."""
    torch = require("torch", EXTRA)
    texts = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error).lower() for text in texts)


def _smaller(section: Train, facts: Facts) -> Facts | None:
    if facts.micro > 1 and "per_device_train_batch_size" not in section.trl:
        return replace(facts, micro=facts.micro // 2)
    if not facts.checkpointing and "gradient_checkpointing" not in section.trl:
        return replace(facts, checkpointing=True)
    return None


def _fit(job: Job, facts: Facts, folder: Path, said: list[str]) -> Fitted:
    args = options(job.section.method)(**typed(job.section.method, arguments(job.section, facts)))
    beta = float(getattr(args, "beta", 0)) if job.section.method == "dpo" else 0.0
    watcher = callback(job.log, beta, early_stop=job.section.early_stop)
    rows, held_out = _datasets(job, args, folder)
    made = watched(trainer(job.section.method))(
        model=job.model,
        args=args,
        train_dataset=rows,
        eval_dataset=held_out,
        processing_class=job.tokenizer,
        peft_config=_adapter(job.section),
        callbacks=[watcher],
    )
    made.data_collator = with_rows(made.data_collator)
    if job.held_out is not None and _can_answer(job.section, made):
        asked = generations.callback(job.held_out, job.section.samples, job.tokenizer, made.log)
        made.add_callback(asked)
    if is_watched() is False:  # TRL prints every log line where there is no bar
        transformers = require("transformers", EXTRA)
        made.remove_callback(transformers.PrinterCallback)
    saved = _last_checkpoint(facts.out) if job.resume or said else None
    made.train(resume_from_checkpoint=saved)
    return Fitted(made, facts, watcher.stopped, tuple(said))


def _can_answer(section: Train, made: Any) -> bool:
    """Whether the model can be asked while it is trained: a reward model says nothing, a part of one neither."""
    return (
        bool(section.samples) and section.method != "reward" and not (made.is_fsdp_enabled or made.is_deepspeed_enabled)
    )


def _adapter(section: Train) -> Any:
    """LoRA on every linear layer (arXiv:2106.09685), twice the rank as its weight; a reward model's head beside it."""
    if not section.lora:
        return None
    peft = require("peft", EXTRA)
    head: Mapping[str, Any] = {"task_type": "SEQ_CLS", "modules_to_save": ["score"]}
    kind = head if section.method == "reward" else {"task_type": "CAUSAL_LM"}
    return peft.LoraConfig(r=section.lora_rank, lora_alpha=2 * section.lora_rank, target_modules="all-linear", **kind)


def _datasets(job: Job, args: Any, folder: Path) -> tuple[Any, Any]:
    """
    Both splits, from files that every process of the training opens: what TRL computes once for all of them (tokens,
    the reference's log-probs) it leaves beside them.
    """
    kind = require("datasets", EXTRA).Dataset
    splits = {"train": job.rows, "test": job.held_out}
    # Where TRL goes through a split from end to end, like lengths share a batch; what is trained on is drawn anyway.
    as_it_is = {"train"} if "train_sampling_strategy" in job.section.trl else set()
    with args.main_process_first(local=False):
        if args.process_index == 0:
            remove(folder)
            for name, rows in splits.items():
                if rows is not None:
                    ordered = rows if name in as_it_is else rows.sort("length", descending=True, maintain_order=True)
                    kind(ordered.to_arrow()).save_to_disk(folder / name)
    train, test = (None if rows is None else kind.load_from_disk(folder / name) for name, rows in splits.items())
    return train, test


def _last_checkpoint(folder: Path) -> str | None:
    found = require("transformers.trainer_utils", EXTRA).get_last_checkpoint(folder) if folder.is_dir() else None
    return str(found) if found else None


def _not_finite(job: Job, error: NotFinite) -> TrainingStopped:
    where = f"rows {', '.join(f'train {row}' for row in error.rows)}" if error.rows else "a batch"
    return TrainingStopped(
        f"the loss is no finite number in {where} (`curate why` shows a pair): look at them, lower "
        "trl.learning_rate or trl.max_grad_norm; what was saved before is kept"
    )


def check_disk(folder: Path, error: Exception) -> None:
    """Raise CurateError where the disk of the folder is full."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if shutil.disk_usage(there).free < NO_SPACE or "no space left" in str(error).lower():
        raise no_space(there) from error


def _free() -> None:
    """Give back what the failed attempt held."""
    gc.collect()
    torch = require("torch", EXTRA)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def quiet() -> Iterator[None]:
    """No advice of the libraries to each other, and no bars where nobody watches; what goes wrong is an exception."""
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
