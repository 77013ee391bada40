"""The recipe: one YAML file says all of it. Checked where it enters; every default is written out in the run."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from curate.errors import RecipeError, nearest
from curate.rules import TEXT_COLUMNS, Rule, make_rule, make_rules
from curate.signals import COLUMNS
from curate.sources.formats import FORMATS


class Section(BaseModel):
    """A part of the recipe: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Section):
    """What is read: files, folders, globs, or Hub datasets."""

    paths: tuple[str, ...] = Field(description="Files, folders, globs, Hub ids (OWNER/NAME) or hf:// addresses")
    format: str | None = Field(None, description=f"One of {', '.join(FORMATS)}; null = detect from the columns")
    columns: dict[str, str] = Field({}, description="Any other shape: {prompt: q, chosen: good, rejected: bad}")
    winners: dict[Literal["a", "b"], list[str | int]] = Field(
        {}, description="What the winner column says for a and for b: {a: [1], b: [2]}"
    )
    split: str | None = Field(None, description="Split of a Hub dataset or a save_to_disk folder")
    config: str | None = Field(None, description="Configuration of a Hub dataset")
    revision: str | None = Field(None, description="Revision of a Hub dataset: branch, tag or commit")
    limit: int | None = Field(None, ge=1, description="Read this many rows at most; null = all")
    max_bad_rows: float = Field(0.01, ge=0, le=1, description="Share of unreadable rows above which the run stops")

    @field_validator("paths", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("paths")
    @classmethod
    def _not_none(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(path.strip() for path in value):
            raise ValueError("name at least one source")
        return value


class Rules(BaseModel):
    """Bounds on signals: no_SIGNAL, min_SIGNAL, max_SIGNAL, only_SIGNAL. The defaults hold unless changed here."""

    model_config = ConfigDict(extra="allow", frozen=True)
    defaults: bool = Field(True, description="Start from the default rules (`curate signals --rules` lists them)")

    @model_validator(mode="after")
    def _known(self) -> "Rules":
        for name, value in (self.model_extra or {}).items():
            try:
                make_rule(name, value)
            except RecipeError as error:  # handed on with the rule's name, from which its line is found
                raise PydanticCustomError("rule", "{text}", {"text": str(error), "rule": name}) from error
        return self

    def made(self) -> list[Rule]:
        """The rules themselves, in the order in which reasons are given."""
        return make_rules(self.model_extra or {}, defaults=self.defaults)


class Dedup(Section):
    """What counts as a duplicate, and who survives."""

    exact: bool = Field(True, description="Drop pairs whose prompt and responses are the same")
    contradictions: bool = Field(True, description="Drop both of two pairs that prefer opposite sides")
    keep: str = Field("first", description="Which of several stays: first, or the highest of a signal (margin, …)")
    max_pairs_per_prompt: int | None = Field(None, ge=1, description="Keep this many pairs of a prompt; null = all")


class Split(Section):
    """How pairs are divided, by a hash of their prompt."""

    test: float = Field(0.1, ge=0, lt=1, description="Share of the prompts in the test split")
    salt: str = Field("prefcurate", description="Another salt gives another division")


class Publish(Section):
    """What the dataset card says."""

    name: str | None = Field(None, description="Title of the dataset; null = from the source")
    license: str | None = Field(None, description="Licence as the Hub names it (apache-2.0, mit, cc-by-4.0, …)")
    language: list[str] | None = Field(None, description="ISO codes; null = measured")


class Recipe(Section):
    """Sections in the order in which data flows."""

    source: Source
    rules: Rules = Rules()
    dedup: Dedup = Dedup()
    split: Split = Split()
    publish: Publish = Publish()

    @model_validator(mode="after")
    def _keep_is_a_signal(self) -> "Recipe":
        numeric = [name for name in COLUMNS if name not in TEXT_COLUMNS]
        if self.dedup.keep not in ("first", *numeric):
            keep = self.dedup.keep
            raise ValueError(f"dedup.keep: {keep!r} is no signal that can be compared.{nearest(keep, numeric)}")
        return self


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe file. Raises RecipeError with the path, the line and the nearest known key."""
    path = Path(path)
    try:
        text = path.read_text("utf-8")
        tree = yaml.safe_load(text)
    except FileNotFoundError as error:
        raise RecipeError(f"{path} does not exist") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} is not a YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise RecipeError(f"{path} holds {type(tree).__name__}; expected sections: {', '.join(Recipe.model_fields)}")
    return make_recipe(tree, overrides, where=str(path), text=text)


def make_recipe(
    tree: Mapping[str, Any], overrides: Sequence[str] = (), *, where: str = "recipe", text: str | None = None
) -> Recipe:
    """A recipe from plain data and `section.key=value` overrides. Raises RecipeError."""
    plain: dict[str, Any] = json.loads(json.dumps(tree, default=str))  # a copy, and only plain data
    for override in overrides:
        _override(plain, override)
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        raise RecipeError("; ".join(_explain(e, where, text) for e in error.errors())) from error


def resolved(recipe: Recipe) -> dict[str, Any]:
    """Plain data with every default written out, the rules included: what `recipe.yaml` of a run holds."""
    tree = recipe.model_dump(mode="json")
    rules: dict[str, Any] = {"defaults": False}
    for rule in recipe.rules.made():
        value = list(rule.allowed) or (
            True if rule.name.startswith("no_") else rule.min if rule.max is None else rule.max
        )
        rules[rule.name] = value if rule.on_null == "keep" else {"value": value, "on_null": rule.on_null}
    return tree | {"rules": rules}


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML."""
    return to_plain_yaml(resolved(recipe))


def to_plain_yaml(tree: Mapping[str, Any]) -> str:
    """Plain data as YAML, in its own order."""
    return yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True, width=120)


def fingerprint(*parts: Any) -> str:
    """A key from plain data: equal data, equal key, on every machine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:32]


def _override(tree: dict[str, Any], text: str) -> None:
    name, equals, value = text.partition("=")
    *sections, key = name.strip().split(".")
    if not equals or not sections or not all([*sections, key]):
        raise RecipeError(f"--set {text!r}: expected section.key=value, as in --set rules.max_chars_ratio=4")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise RecipeError(f"--set {text!r}: {section} is not a section")
    try:
        tree[key] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {text!r}: {value!r} is not a value") from error


def _explain(error: Any, where: str, text: str | None) -> str:
    path = [str(part) for part in (*error["loc"], *([error["ctx"]["rule"]] if error["type"] == "rule" else []))]
    line = _line_of(text, path) if text else None
    place = f"{where}, line {line}" if line else where
    message = re.sub(r"^Value error, ", "", error["msg"])
    if error["type"] == "extra_forbidden":
        known = _known_keys(path[:-1])
        return f"{place}: unknown key {'.'.join(path)}.{nearest(path[-1], known)} Known: {', '.join(known)}"
    if error["type"] == "rule":
        return f"{place}: {message}"
    found = "" if isinstance(error["input"], dict) or error["type"] == "missing" else f", found {error['input']!r}"
    return f"{place}: {'.'.join(path)}: {message}{found}".replace(": : ", ": ")


def _known_keys(path: Sequence[str]) -> list[str]:
    model: Any = Recipe
    for part in path:
        model = model.model_fields[part].annotation
    return list(model.model_fields)


def _line_of(text: str, path: Sequence[str]) -> int | None:
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    line: int | None = None
    for part in path:
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((key, value) for key, value in node.value if key.value == part), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line
