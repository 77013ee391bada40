"""How long answers become while a model is trained: a few held-out prompts are answered at the start and every look."""

from collections.abc import Callable
from typing import Any

import polars as pl

from curate.errors import require
from train.evaluation.answers import say
from train.models import EXTRA

TOKENS = 128  # of an answer, at most: enough to see it grow
LENGTH = "eval_generation_tokens"  # its name in the log: mean tokens of the answers


def callback(held_out: pl.DataFrame, count: int, tokenizer: Any, log: Callable[[dict[str, float]], None]) -> Any:
    """A callback for TRL: `count` distinct prompts of `held_out` are answered, and LENGTH is given to `log`."""
    base: Any = require("transformers", EXTRA).TrainerCallback
    asked = held_out.select("prompt").unique(maintain_order=True).head(count)

    class Answers(base):  # type: ignore[misc]  # transformers has no types
        def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
            if state.global_step == 0:  # else gone on from a checkpoint, whose log has it
                self._answer(model)

        def on_evaluate(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
            self._answer(model)

        def _answer(self, model: Any) -> None:
            if (tokens := mean_length(model, tokenizer, asked)) is not None:
                log({LENGTH: tokens})

    return Answers()


def mean_length(model: Any, tokenizer: Any, asked: pl.DataFrame) -> float | None:
    """
    Mean tokens (TOKENS at most) of the answers to the prompts, the most probable token each time; None where none
    could be answered. The model is left as it was, and no random number is drawn.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    settings, mode = inner.generation_config, model.training
    model.eval()
    try:
        lengths = [tokens for _, tokens, _ in say(model, tokenizer, asked, TOKENS) if tokens is not None]
    finally:
        model.train(mode)
        for each in (model, inner):  # what it would be saved with
            each.generation_config = settings
    return sum(lengths) / len(lengths) if lengths else None
