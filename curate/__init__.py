"""
prefcurate: prompts and raw comparisons become preference datasets worth training on.

    import curate

    run = curate.clean("data.jsonl", out="RUN", rules={"max_chars_ratio": 4})
    run.train.collect(), run.counts, run.why(17)

Single stages work on any frame of the schema, without a run: `curate.with_signals(pairs)`,
`curate.apply_rules(signals, curate.make_rules({}))`, `curate.dedup.exact(pairs)`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate import dedup
    from curate.errors import CurateError
    from curate.flow import clean, run
    from curate.rules import apply_rules, make_rules
    from curate.rundir.result import Run, open_run
    from curate.schema import PAIR
    from curate.signals import with_signals

# Loaded when first asked for, so that `import curate` costs next to nothing.
_HOMES = {
    "PAIR": "curate.schema",
    "CurateError": "curate.errors",
    "Run": "curate.rundir.result",
    "apply_rules": "curate.rules",
    "clean": "curate.flow",
    "make_rules": "curate.rules",
    "open_run": "curate.rundir.result",
    "run": "curate.flow",
    "with_signals": "curate.signals",
}
__all__ = [
    "PAIR",
    "CurateError",
    "Run",
    "apply_rules",
    "clean",
    "dedup",
    "make_rules",
    "open_run",
    "run",
    "with_signals",
]


def __getattr__(name: str) -> Any:
    if name == "dedup":
        return importlib.import_module("curate.dedup")
    if name not in _HOMES:
        raise AttributeError(f"module 'curate' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
