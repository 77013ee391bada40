"""The recipe's sections, in the order in which data flows, each with its defaults and what they mean."""

from curate.recipe.base import Section, Texts
from curate.recipe.data import (
    Decontaminate,
    Dedup,
    EvalSet,
    Near,
    Publish,
    Rules,
    Select,
    Semantic,
    Source,
    Split,
    Train,
)
from curate.recipe.models import Budget, Generate, Judge, Model, Pair, Prompts, Strategy, named, named_model

__all__ = [
    "Budget",
    "Decontaminate",
    "Dedup",
    "EvalSet",
    "Generate",
    "Judge",
    "Model",
    "Near",
    "Pair",
    "Prompts",
    "Publish",
    "Rules",
    "Section",
    "Select",
    "Semantic",
    "Source",
    "Split",
    "Strategy",
    "Texts",
    "Train",
    "named",
    "named_model",
]
