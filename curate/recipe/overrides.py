"""Overrides of a recipe: `section.key=value`, as `--set` takes them."""

from collections.abc import Collection
from typing import Any

import yaml

from curate.errors import RecipeError
from curate.files import TextKeys, parse_yaml


def set_value(tree: dict[str, Any], text: str, known: Collection[str]) -> None:
    """
    Set the value of `section.key=value` in plain data of a recipe, whose sections are `known`.

        set_value({"split": {"test": 0.1}}, "split.test=0", ["split"])
    """
    name, equals, value = text.partition("=")
    *sections, key = name.strip().split(".")
    if not equals or not all([*sections, key]) or not (sections or key in known):
        raise RecipeError(f"--set {text!r}: expected section.key=value, as in --set rules.max_chars_ratio=4")
    if name.strip().split(".")[0] == "origin":
        raise RecipeError("origin says where a recipe came from and cannot be set; agree to what it uses with --trust")
    for section in sections:
        if tree.get(section) in (None, True):  # a missing section, or dedup.near=true before dedup.near.threshold=…
            tree[section] = {}
        elif section == "select" and isinstance(tree[section], list):
            tree[section] = {"steps": tree[section]}
        tree = tree[section]
        if not isinstance(tree, dict):
            raise RecipeError(f"--set {text!r}: {section} is not a section")
    try:
        tree[key] = parse_yaml(value, TextKeys)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {text[:80]!r}: {value[:80]!r} is not a YAML value") from error


def keys_set(override: str) -> list[str]:
    """Return the key of `section.key=value`, and those of its value if that is a section."""
    name, _, text = override.partition("=")
    value = parse_yaml(text, TextKeys)
    return [name.strip(), *(f"{name.strip()}.{key}" for key in (value if isinstance(value, dict) else ()))]
