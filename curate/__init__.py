"""
prefcurate: turn prompts and raw comparisons into preference datasets worth training on.

In a notebook, frames in and frames out, no run directory needed:

    import curate

    pairs = curate.read("pairs.jsonl")  # also a frame, a datasets.Dataset, a list of dicts, several paths, a Hub id
    table = curate.measure(pairs, signals=["chars_ratio"])
    kept = curate.filter(pairs, max_chars_ratio=4).kept
    unique = curate.dedup.near(kept, threshold=0.8).kept

A whole run, with ledger, report and card:

    run = curate.clean("pairs.jsonl", out="RUN", rules={"max_chars_ratio": 4})
    run.train.collect(), run.counts, run.why(17)

`help(curate.filter)` and the like say what each function takes, returns and raises.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate import dedup
    from curate.api import (
        CANDIDATES,
        PAIR,
        PROMPTS,
        CurateError,
        Recipe,
        Result,
        Run,
        Signal,
        bakeoff,
        clean,
        decontaminate,
        evaluate,
        export,
        filter,  # noqa: A004 - the name of the step
        generate,
        judge,
        measure,
        open_run,
        pair,
        preflight,
        pull,
        push,
        read,
        run,
        select,
        split,
        train,
    )

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
    if name not in __all__:
        raise AttributeError(f"module 'curate' has no attribute {name!r}")
    return getattr(importlib.import_module("curate.api"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
