"""The recipe's sections, in the order in which data flows, each with its defaults and what they mean."""

from curate.recipe.data import (
    Decontaminate,
    Dedup,
    EvalSet,
    Publish,
    Rules,
    Select,
    Source,
    Split,
    Train,
)
from curate.recipe.models import Budget, Generate, Judge, Model, Pair, Prompts, Strategy, named, named_model
from curate.settings import Section, Texts

__all__ = [
    "Budget",
    "Decontaminate",
    "Dedup",
    "EvalSet",
    "Generate",
    "Judge",
    "Model",
    "Pair",
    "Prompts",
    "Publish",
    "Rules",
    "Section",
    "Select",
    "Source",
    "Split",
    "Strategy",
    "Texts",
    "Train",
    "named",
    "named_model",
]


def __dir__() -> list[str]:
    return sorted(__all__)
