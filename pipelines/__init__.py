"""
Synthetic preference data: generate prompts, sample answers, have them judged, and pair them.

    from pipelines import connect, run
    from curate.recipe.load import load_recipe

    finished = run(load_recipe("recipe.yaml"), "RUN")  # prompts → candidates → verdicts → pairs → clean → card
    llm = connect("openai:gpt-4o-mini")  # for your own distilabel pipeline
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.clients.connect import connect
    from pipelines.flow import run

# Only names that are not also modules of this package; generate and judge are in `pipelines.flow`.
_HOMES = {"connect": "clients.connect", "run": "flow"}
__all__ = ["connect", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pipelines' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pipelines.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
