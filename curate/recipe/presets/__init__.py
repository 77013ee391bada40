"""Presets: rules for one purpose, each with a reason, that a recipe can start from."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from curate.errors import unknown
from curate.files import TextKeys, parse_yaml

__all__ = ["NAMES", "preset_text", "with_preset"]

NAMES = ("helpful", "safety", "code", "strict")


@cache
def preset_text(name: str) -> str:
    """Return a preset's file. Raise RecipeError for an unknown name."""
    if name not in NAMES:
        raise unknown("preset", name, NAMES)
    return (files("curate.recipe.presets") / f"{name}.yaml").read_text("utf-8")


def with_preset(tree: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return plain data of a recipe on top of the preset that it names: what it says itself wins, conditions are added.

    Raises RecipeError for an unknown name.
    """
    name = tree.get("preset")
    if name is None:
        return dict(tree)
    preset: dict[str, Any] = parse_yaml(preset_text(str(name)), TextKeys)
    merged = {**tree, "preset": None}
    for section, values in preset.items():
        own = tree.get(section) or {}
        merged[section] = {**values, **own} if isinstance(own, Mapping) else own
    rules, own = preset["rules"], tree.get("rules") or {}
    if isinstance(own, Mapping) and own.get("where"):
        conditions = own["where"] if isinstance(own["where"], list | tuple) else [own["where"]]
        merged["rules"]["where"] = [*rules.get("where", ()), *conditions]
    return merged


def __dir__() -> list[str]:
    return sorted(__all__)
