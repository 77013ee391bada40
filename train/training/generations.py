"""Answers a few held-out prompts before training and at each evaluation, to track how long answers become."""

from collections.abc import Callable
from typing import Any

import polars as pl

from curate.errors import require
from train.evaluation.answers import generate_answers
from train.models import EXTRA

MAX_TOKENS = 128  # per answer: enough to see it grow
METRIC = "eval_generation_tokens"  # in the log: mean tokens of the answers


def callback(held_out: pl.DataFrame, count: int, tokenizer: Any, log: Callable[[dict[str, float]], None]) -> Any:
    """Return a trainer callback that answers `count` distinct prompts of `held_out` and passes METRIC to `log`."""
    base: Any = require("transformers", EXTRA).TrainerCallback
    prompts = held_out.select("prompt").unique(maintain_order=True).head(count)

    class Answers(base):
        def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
            if state.global_step == 0:  # otherwise resumed from a checkpoint, whose log already has it
                self._answer(model)

        def on_evaluate(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
            self._answer(model)

        def _answer(self, model: Any) -> None:
            if (tokens := mean_length(model, tokenizer, prompts)) is not None:
                log({METRIC: tokens})

    return Answers()


def mean_length(model: Any, tokenizer: Any, prompts: pl.DataFrame) -> float | None:
    """
    Return the mean number of tokens (at most MAX_TOKENS each) of greedy answers to the prompts.

    None if no prompt could be answered. The model's settings are restored, and no random number is drawn.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    settings, mode = inner.generation_config, model.training
    model.eval()
    try:
        replies = generate_answers(model, tokenizer, prompts, MAX_TOKENS)
    finally:
        model.train(mode)
        for each in (model, inner):  # generation changes the config that would be saved with the model
            each.generation_config = settings
    lengths = [tokens for _, tokens, _ in replies if tokens is not None]
    return sum(lengths) / len(lengths) if lengths else None
