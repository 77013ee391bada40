"""
Preference training with TRL: check a run's rows, train a model on them, and compare it with its reference.

    from curate import open_run
    from curate.recipe import Train
    from train import train
    from train.evaluation.evaluate import evaluate

    run = open_run("RUN")
    training = train(run, Train(model="HuggingFaceTB/SmolLM2-135M-Instruct"))  # preflight, LoRA DPO, card, page
    evaluate(run, training, judges=["heuristic"])
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.training.train import open_training, train

# Only names that no module of this package has: `train.evaluation.evaluate.evaluate`, `train.preflight.preflight` and
# `train.bakeoff.bakeoff.bakeoff` are imported from their modules.
_HOMES = {"open_training": "training.train", "train": "training.train"}
__all__ = ["open_training", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'train' has no attribute {name!r}")
    return getattr(importlib.import_module(f"train.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
