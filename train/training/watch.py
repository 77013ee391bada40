"""What looks on while TRL trains: the log as CSV, a stop where it goes wrong, and which rows a broken loss is of."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curate.errors import CurateError, require
from curate.files import atomic
from train.models import EXTRA
from train.training.monitor import stop_reason


class TrainingStopped(CurateError):
    """Training cannot go on; what was saved is kept."""

    exit_code = 1


class NotFinite(Exception):
    """A loss is NaN or infinite; `rows` are the batch's numbers in the train split, none where they are not known."""

    def __init__(self, rows: Sequence[int]) -> None:
        super().__init__("the loss is no finite number")
        self.rows = list(rows)


def watched(kind: Any) -> Any:
    """A trainer class of TRL that raises NotFinite instead of training on."""
    torch = require("torch", EXTRA)

    class Watched(kind):  # type: ignore[misc]  # TRL has no types
        def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
            rows = inputs.pop("row", ())
            result = super().compute_loss(model, inputs, *args, **options)
            loss = result[0] if isinstance(result, tuple) else result
            if model.training and not torch.isfinite(loss).all():
                raise NotFinite([int(row) for row in rows])
            return result

    return Watched


def with_rows(collate: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The collator, with the rows' numbers beside what it makes."""
    torch = require("torch", EXTRA)

    def collated(examples: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [example["row"] for example in examples if "row" in example]
        return {**collate(examples), **({"row": torch.tensor(rows)} if rows else {})}

    return collated


def callback(log: Path, beta: float, *, early_stop: bool) -> Any:
    """A callback for TRL: keeps `log` as CSV, and stops by `stop_reason`. Its `stopped` says why, or is None."""
    base: Any = require("transformers", EXTRA).TrainerCallback

    class Watcher(base):  # type: ignore[misc]
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
    """The whole log, one line a log entry: it is short, and after a resume it is the one that was gone on from."""
    names = dict.fromkeys(name for line in history for name in line)
    with atomic(path) as temporary:
        rows = [{name: line.get(name) for name in names} for line in history]
        pl.DataFrame(rows, infer_schema_length=None).write_csv(temporary)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The log again; an empty cell is None."""
    return pl.read_csv(path, infer_schema_length=None).to_dicts() if path.is_file() else []
