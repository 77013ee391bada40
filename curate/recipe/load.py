"""The recipe, one YAML file. It is validated when loaded; a run contains it with every default written out."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError, model_validator

from curate.errors import RecipeError, nearest, shortened
from curate.files import BoundedYaml, TextKeys, parse_yaml, read_yaml
from curate.recipe.data import Decontaminate, Dedup, Publish, Rules, Select, Source, Split, Train
from curate.recipe.models import Budget, Generate, Judge, Pair, Prompts
from curate.rules import TEXT_COLUMNS
from curate.schema.section import Section
from curate.signals import COLUMNS

OTHER_RANKINGS = ("chosen_score", "longest")  # values other than signals by which pairs can be ranked


class Recipe(Section):
    """A recipe; its sections are in the order of the data flow."""

    source: Source = Source()
    prompts: Prompts | None = None
    generate: Generate | None = None
    judge: Judge | None = None
    pair: Pair | None = None
    budget: Budget | None = None
    rules: Rules = Rules()
    dedup: Dedup = Dedup()
    decontaminate: Decontaminate | None = None
    select: Select | None = None
    split: Split = Split()
    publish: Publish = Publish()
    train: Train | None = None

    @property
    def asks_models(self) -> bool:
        """Whether candidates are generated or judged first, with `pipelines.run`; `curate.run` only reads pairs."""
        return any((self.prompts, self.generate, self.judge, self.pair))

    @model_validator(mode="after")
    def _sections_fit(self) -> "Recipe":
        if not self.source.paths and not (self.prompts and (self.prompts.description or self.prompts.documents)):
            raise ValueError("source.paths: name at least one source")
        if self.prompts and not self.generate:
            raise ValueError("prompts: no model answers them; add a generate section")
        if self.pair and self.pair.strategy == "delta" and len(self.pair.order) < 2:
            raise ValueError("pair.order: delta needs two or more models, the strongest first")
        return self

    @model_validator(mode="after")
    def _best_can_be_compared(self) -> "Recipe":
        numeric = [*(name for name in COLUMNS if name not in TEXT_COLUMNS), *OTHER_RANKINGS]
        rankings = {"dedup.keep": self.dedup.keep, **({"select.by": self.select.by} if self.select else {})}
        for where, name in rankings.items():
            if name not in (*numeric, *(["first"] if where == "dedup.keep" else [])):
                raise ValueError(f"{where}: {name!r} is not a numeric signal.{nearest(name, numeric)}")
        return self


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and validate a recipe file. Raise RecipeError with the path, the line and the nearest known key."""
    tree, text = read_yaml(Path(path), f"sections: {', '.join(Recipe.model_fields)}")
    return make_recipe(tree, overrides, where=str(path), text=text)


def make_recipe(
    tree: Mapping[str, Any], overrides: Sequence[str] = (), *, where: str = "recipe", text: str | None = None
) -> Recipe:
    """Return a recipe from plain data and `section.key=value` overrides. Raise RecipeError if it is invalid."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(tree, default=str))  # a copy with plain data only
    except (ValueError, TypeError, RecursionError) as error:  # circular, of thousands of digits, or nested too deeply
        raise RecipeError(f"{where}: expected plain data: {error}") from error
    for override in overrides:
        _override(plain, override)
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        raise RecipeError("; ".join(_explain(e, where, text) for e in error.errors())) from error


def as_recipe(source: "str | Path | Mapping[str, Any] | Recipe", overrides: Sequence[str] = ()) -> Recipe:
    """Return a recipe from a file, plain data or a recipe, with `section.key=value` overrides. Raise RecipeError."""
    if isinstance(source, Recipe):
        return make_recipe(resolved(source), overrides) if overrides else source
    return make_recipe(source, overrides) if isinstance(source, Mapping) else load_recipe(source, overrides)


def resolved(recipe: Recipe) -> dict[str, Any]:
    """Return plain data with every default written out, including the rules, as in `recipe.yaml` of a run."""
    tree = {name: section for name, section in recipe.model_dump(mode="json").items() if section is not None}
    rules: dict[str, Any] = {"defaults": False}
    for rule in recipe.rules.build():
        value = list(rule.allowed) or (
            True if rule.name.startswith("no_") else rule.min if rule.max is None else rule.max
        )
        rules[rule.name] = value if rule.on_null == "keep" else {"value": value, "on_null": rule.on_null}
    return tree | {"rules": rules}


def to_yaml(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML."""
    return to_plain_yaml(resolved(recipe))


def to_plain_yaml(tree: Mapping[str, Any]) -> str:
    """Return plain data as YAML, in its own order."""
    return yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True, width=120)


def _override(tree: dict[str, Any], text: str) -> None:
    name, equals, value = text.partition("=")
    *sections, key = name.strip().split(".")
    if not equals or not sections or not all([*sections, key]):
        raise RecipeError(f"--set {text!r}: expected section.key=value, as in --set rules.max_chars_ratio=4")
    for section in sections:
        if tree.get(section) in (None, True):  # a missing section, or dedup.near=true before dedup.near.threshold=…
            tree[section] = {}
        tree = tree[section]
        if not isinstance(tree, dict):
            raise RecipeError(f"--set {text!r}: {section} is not a section")
    try:
        tree[key] = parse_yaml(value, TextKeys)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {text[:80]!r}: {value[:80]!r} is not a YAML value") from error


def _explain(error: Any, where: str, text: str | None) -> str:
    path = [*error["loc"], *([error["ctx"]["rule"]] if error["type"] == "rule" else [])]
    line = _line_of(text, path) if text else None
    place = f"{where}, line {line}" if line else where
    shown = ".".join(map(str, path))
    message = re.sub(r"^Value error, ", "", error["msg"])
    if error["type"] == "extra_forbidden":
        known = _known_keys(path[:-1])
        return f"{place}: unknown key {shown}.{nearest(str(path[-1]), known)} Known: {', '.join(known)}"
    if error["type"] == "rule":
        return f"{place}: {message}"
    found = (
        "" if isinstance(error["input"], dict) or error["type"] == "missing" else f", found {shortened(error['input'])}"
    )
    return f"{place}: {shown}: {message}{found}".replace(": : ", ": ")


def _known_keys(path: Sequence[str | int]) -> list[str]:
    kind: Any = Recipe
    for part in path:
        kind = _section(kind.model_fields[part].annotation) if isinstance(part, str) else kind
    return list(kind.model_fields)


def _section(kind: Any) -> Any:
    """Return the section inside `Section | None`, `tuple[Section, ...]` and the like, or None."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for inner in get_args(kind) if (found := _section(inner)) is not None), None)


def _line_of(text: str, path: Sequence[str | int]) -> int | None:
    node: Any = yaml.compose(text, BoundedYaml)
    line: int | None = None
    for part in path:
        if isinstance(part, int) and isinstance(node, yaml.SequenceNode) and part < len(node.value):
            line, node = node.value[part].start_mark.line + 1, node.value[part]
            continue
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((key, value) for key, value in pairs if key.value == part), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line
