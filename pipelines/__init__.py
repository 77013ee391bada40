"""
Where pairs come from that are not there yet: prompts made, answers generated, verdicts asked for.

    from pipelines import connect, run
    from curate.recipe.load import load_recipe

    finished = run(load_recipe("recipe.yaml"), "RUN")  # prompts → candidates → verdicts → pairs → clean → card
    llm = connect("openai:gpt-4o-mini")  # for a distilabel pipeline of your own
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.clients.connect import connect
    from pipelines.flow import run

# Only names that no module of this package has; `pipelines.flow` holds generate and judge, too.
_HOMES = {"connect": "clients.connect", "run": "flow"}
__all__ = ["connect", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pipelines' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pipelines.{_HOMES[name]}"), name)
