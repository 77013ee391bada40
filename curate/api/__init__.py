"""
What a notebook uses: frames in, frames out, and whole runs. `import curate` exports all of it.

Every function that takes pairs takes what `curate.read` takes: PAIR, any other table in memory, paths, Hub ids. The
functions with the name of a command are what the command calls.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate import dedup
    from curate.api.choosing import select, split
    from curate.api.frames import decontaminate, filter, measure, pair  # noqa: A004 - the name of the step
    from curate.api.publishing import export, pull, push
    from curate.api.runs import clean, generate, judge, run
    from curate.api.training import bakeoff, evaluate, preflight, train
    from curate.errors import CurateError
    from curate.recipe.load import Recipe
    from curate.rundir.result import Run, open_run
    from curate.schema import CANDIDATES, PAIR, PROMPTS
    from curate.schema.result import Result
    from curate.signals.base import Signal
    from curate.sources.frames import read

# Loaded when first asked for, so that `import curate` costs next to nothing.
_HOMES = {
    "CANDIDATES": "schema",
    "CurateError": "errors",
    "PAIR": "schema",
    "PROMPTS": "schema",
    "Recipe": "recipe.load",
    "Result": "schema.result",
    "Run": "rundir.result",
    "Signal": "signals.base",
    "bakeoff": "api.training",
    "clean": "api.runs",
    "decontaminate": "api.frames",
    "evaluate": "api.training",
    "export": "api.publishing",
    "filter": "api.frames",
    "generate": "api.runs",
    "judge": "api.runs",
    "measure": "api.frames",
    "open_run": "rundir.result",
    "pair": "api.frames",
    "preflight": "api.training",
    "pull": "api.publishing",
    "push": "api.publishing",
    "read": "sources.frames",
    "run": "api.runs",
    "select": "api.choosing",
    "split": "api.choosing",
    "train": "api.training",
}
__all__ = [
    "CANDIDATES",
    "PAIR",
    "PROMPTS",
    "CurateError",
    "Recipe",
    "Result",
    "Run",
    "Signal",
    "bakeoff",
    "clean",
    "decontaminate",
    "dedup",
    "evaluate",
    "export",
    "filter",
    "generate",
    "judge",
    "measure",
    "open_run",
    "pair",
    "preflight",
    "pull",
    "push",
    "read",
    "run",
    "select",
    "split",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "dedup":
        return importlib.import_module("curate.dedup")
    if name not in _HOMES:
        raise AttributeError(f"module 'curate' has no attribute {name!r}")
    return getattr(importlib.import_module(f"curate.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
