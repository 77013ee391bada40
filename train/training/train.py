"""Train on a run: preflight, then TRL's trainer with options that fit, then a model with card, log and page."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curate.embeddings.encoder import model_folder
from curate.errors import InputError, RecipeError, require
from curate.files import remove, write_json
from curate.progress import say as say_to_watchers
from curate.recipe import Train
from curate.rundir.result import Run
from train.card import write_card
from train.models import EXTRA, load_tokenizer
from train.page import write_page
from train.preflight import Preflight, pairs_of, preflight, whole
from train.training import memory, processes
from train.training.defaults import Facts
from train.training.fit import Fitted, Job, check_disk, fit, quiet
from train.training.monitor import warnings
from train.training.sft import chosen_only, merge_adapter

FOLDER, MODEL, CHECKPOINTS, RESULT, LOG, PAGE, WHOLE = (
    "training",
    "model",
    "checkpoints",
    "result.json",
    "log.csv",
    "training.html",
    "whole",
)
HELD_OUT = 512  # held-out pairs that are looked at while training; `curate evaluate` takes all
CONFIDENCE = "label_confidence"  # column: how probable it is that chosen is the better one, 0..1


@dataclass(frozen=True)
class Training:
    """A training that is complete: `model` is a folder that transformers loads, an adapter or a whole model."""

    folder: Path
    result: dict[str, Any]

    @property
    def model(self) -> Path:
        """The model or adapter, with its tokenizer and card."""
        return self.folder / MODEL


def open_training(folder: str | Path) -> Training:
    """Open a training's folder. Raises InputError where there is none, or one that is not finished."""
    folder = Path(folder)
    if not (folder / RESULT).is_file():
        unfinished = (folder / CHECKPOINTS).is_dir()
        raise InputError(
            f"{folder} holds {'a training that is not finished; --resume goes on' if unfinished else 'no training'}"
        )
    return Training(folder, json.loads((folder / RESULT).read_text("utf-8")))


def train(
    run: Run,
    section: Train,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    say: Callable[[str], None] = say_to_watchers,
) -> Training:
    """
    Train `section.model` on a run's train split; the test split is held out. Into `out`, else RUN/training.

    Rows without anything to learn from (see `Preflight.usable`) are left out and counted. `resume` goes on from the
    last checkpoint, `force` starts anew where a training is. Raises InputError and RecipeError for what cannot be
    trained on, TrainingStopped for what goes wrong on the way.
    """
    folder = Path(out) if out is not None else run.folder / FOLDER
    if processes.is_first():
        _claim(folder, resume=resume, force=force)
    started = time.perf_counter()
    found = preflight(run, section)
    section = with_label_smoothing(section, pairs_of(run, "train"))
    start = model_folder(str(section.model))
    if section.sft_first and section.method != "sft":
        start = merge_adapter(_sft(run, section, found, folder, resume=resume, say=say), folder / "sft" / "merged")
    fitted = _fit(run, section, found, start, folder, resume=resume, say=say)
    return _finish(run, section, found, fitted, folder, time.perf_counter() - started)


def with_label_smoothing(section: Train, pairs: pl.DataFrame) -> Train:
    """
    With a column `label_confidence` (0..1) DPO's loss is the robust one, smoothed by the mean doubt: TRL 1.16 has one
    smoothing for all rows (arXiv:2403.00409), no weights. What the user says about loss or smoothing stays.
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
    doubt = {"loss_type": ["robust"], "label_smoothing": round(1 - confidence, 4)}
    return section.model_copy(update={"trl": {**section.trl, **doubt}})


def rows_of(run: Run, found: Preflight, split: str, method: str) -> pl.DataFrame:
    """What TRL is given of a split: the usable rows, with `row`, their number in it, and `length`, their tokens."""
    places = found.rows.filter(split=split).select("row", length=whole.cast(pl.Int64))
    both = pl.concat([pairs_of(run, split).select("prompt", "chosen", "rejected"), places], how="horizontal")
    usable = both.filter(found.usable(split))
    return chosen_only(usable) if method == "sft" else usable


def _claim(folder: Path, *, resume: bool, force: bool) -> None:
    if force and not resume:
        for name in (MODEL, CHECKPOINTS, RESULT, LOG, PAGE, "sft"):
            remove(folder / name)
    elif not resume and any((folder / name).exists() for name in (CHECKPOINTS, RESULT)):
        raise RecipeError(
            f"{folder} holds a training: --resume goes on with it, --force starts anew, --out names another"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).unlink(missing_ok=True)
    remove(folder / WHOLE)


def _sft(run: Run, section: Train, found: Preflight, folder: Path, *, resume: bool, say: Callable[[str], None]) -> Path:
    """Train on the chosen answers first; TRL's options are not for this trainer, so it has its defaults."""
    first = section.model_copy(update={"method": "sft", "trl": {}})
    say("first: SFT on the chosen answers")
    fitted = _fit(run, first, found, model_folder(str(section.model)), folder / "sft", resume=resume, say=say)
    fitted.trainer.save_model(str(folder / "sft" / MODEL))
    return folder / "sft" / MODEL


def _fit(
    run: Run, section: Train, found: Preflight, start: str, folder: Path, *, resume: bool, say: Callable[[str], None]
) -> Fitted:
    rows, held_out = (rows_of(run, found, split, section.method) for split in ("train", "test"))
    held_out = held_out.gather_every(-(-len(held_out) // HELD_OUT) or 1)  # from all over the split
    tokenizer = load_tokenizer(str(section.model), section.chat_template)
    job = Job(section, start, tokenizer, rows, None if held_out.is_empty() else held_out, folder / LOG, resume)
    return fit(job, _facts(section, found, folder, len(rows), len(held_out)), say)


def _facts(section: Train, found: Preflight, folder: Path, rows: int, held_out: int) -> Facts:
    torch = require("torch", EXTRA)
    length = found.max_length or found.shape.context or 1024
    room = memory.free()
    cuda = torch.cuda.is_available()
    most = max(1, section.batch // processes.count())
    if not cuda:
        most = min(most, max(1, memory.CPU_TOKENS // (2 * length)))
    return Facts(
        out=folder / CHECKPOINTS,
        rows=rows,
        held_out=held_out,
        max_length=found.max_length,
        micro=memory.first_batch(found.shape, found.plan, length, most, room),
        cuda=cuda,
        half=found.plan.half,
        checkpointing=memory.needed(found.shape, found.plan, 1, length) > memory.SPARE * room,
        processes=processes.count(),
    )


def _finish(run: Run, section: Train, found: Preflight, fitted: Fitted, folder: Path, seconds: float) -> Training:
    trainer = fitted.trainer
    history = trainer.state.log_history
    beta = float(getattr(trainer.args, "beta", 0)) if section.method == "dpo" else 0.0
    held_out = [line for line in history if "eval_loss" in line]
    best: dict[str, Any] = min(held_out, key=lambda line: line["eval_loss"], default={})
    result = {
        "method": section.method,
        "model": section.model,
        "data": data_revision(run),
        "rows": len(trainer.train_dataset),
        "left_out": int((~found.usable("train")).sum()),
        "steps": trainer.state.global_step,
        "batch": {"at_once": fitted.facts.micro, "said": list(fitted.said)},
        "max_length": found.max_length,
        "seconds": round(seconds, 1),
        "held_out": {name.removeprefix("eval_"): value for name, value in best.items() if name.startswith("eval_")},
        "stopped": fitted.stopped,
        "warnings": warnings(history, beta),
        "findings": found.findings(),
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
    """What was trained on, as 16 letters: a hash of the train split's files."""
    digest = hashlib.sha256()
    for shard in sorted((run.folder / "data").glob("train-*.parquet")):
        digest.update(shard.read_bytes())
    return digest.hexdigest()[:16]
