"""Options of requests and trainers that may be published: they hold no paths, addresses or names of people."""

import re
from collections.abc import Collection, Mapping
from types import NoneType
from typing import Any

# Fields of a request, and options of a trainer that are words; other options of trainers are published as numbers only.
REQUEST = (
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "seed", "repetition_penalty",
    "presence_penalty", "frequency_penalty", "reasoning_effort", "verbosity", "chat_template_kwargs", "enable_thinking",
    "thinking_budget", "n_predict", "mirostat", "typical_p",
)  # fmt: skip
TRAINER = ("loss_type", "optim", "lr_scheduler_type", "f_divergence_type", "truncation_mode", "eval_strategy")
WORD = re.compile(r"[a-z0-9_-]{1,40}")
PLAIN = (bool, int, float, NoneType)


def options(given: Mapping[str, Any], names: Collection[str], *, numbers: bool = False) -> dict[str, Any]:
    """Return the options with these names; with `numbers` also any that is a number or a switch."""
    return {
        name: value
        for name, value in given.items()
        if (name in names and _is_plain_value(value)) or (numbers and isinstance(value, PLAIN))
    }


def _is_plain_value(value: Any) -> bool:
    if isinstance(value, str):
        return WORD.fullmatch(value) is not None
    if isinstance(value, list):
        return all(map(_is_plain_value, value))
    if isinstance(value, dict):
        return all(WORD.fullmatch(str(name)) and isinstance(one, PLAIN) for name, one in value.items())
    return isinstance(value, PLAIN)
