"""Hooks into TRL's trainer: the log as CSV, early stopping, and the rows of a batch whose loss is not finite."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curate.errors import CurateError, require
from curate.files import atomic
from train.models import EXTRA
from train.training.monitor import stop_reason


class TrainingStopped(CurateError):
    """Training cannot continue; earlier checkpoints are kept."""

    exit_code = 1


class NotFinite(Exception):
    """A loss is NaN or infinite; `rows` are the batch's row numbers in the train split, empty if unknown."""

    def __init__(self, rows: Sequence[int]) -> None:
        super().__init__("the loss is not finite")
        self.rows = list(rows)


def finite_loss_trainer(base: Any) -> Any:
    """Return a subclass of a TRL trainer that raises NotFinite as soon as a training loss is NaN or infinite."""
    torch = require("torch", EXTRA)

    class FiniteLossTrainer(base):
        def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
            rows = inputs.pop("row", ())
            result = super().compute_loss(model, inputs, *args, **options)
            loss = result[0] if isinstance(result, tuple) else result
            if model.training and not torch.isfinite(loss).all():
                raise NotFinite([int(row) for row in rows])
            return result

    return FiniteLossTrainer


def with_row_numbers(collate: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return a collator that adds the rows' numbers as `row`, int64, to the batch."""
    torch = require("torch", EXTRA)

    def collate_with_rows(examples: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [example["row"] for example in examples if "row" in example]
        return {**collate(examples), **({"row": torch.tensor(rows)} if rows else {})}

    return collate_with_rows


def callback(log: Path, beta: float, *, early_stop: bool) -> Any:
    """Return a trainer callback that writes `log` as CSV and stops by `stop_reason`; `stopped` is that reason."""
    base: Any = require("transformers", EXTRA).TrainerCallback

    class Watcher(base):
        stopped: str | None = None

        def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                write_log(log, state.log_history)

        def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if early_stop and (why := stop_reason(state.log_history, beta)):
                self.stopped = why
                control.should_training_stop = True

    return Watcher()


def write_log(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write the whole log, one line per entry; rewriting it also keeps it correct after resuming."""
    names = dict.fromkeys(name for line in history for name in line)
    with atomic(path) as temporary:
        rows = [{name: line.get(name) for name in names} for line in history]
        pl.DataFrame(rows, infer_schema_length=None).write_csv(temporary)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read a log written by `write_log`; an empty cell is None."""
    return pl.read_csv(path, infer_schema_length=None).to_dicts() if path.is_file() else []
