"""The recipe, one YAML file. It is validated when loaded; a run contains it with every default written out."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from curate.errors import RecipeError, nearest, shortened
from curate.files import FILES, BoundedYaml, read_yaml, yaml_text
from curate.recipe.data import Decontaminate, Dedup, Publish, Rules, Source, Split, Switch
from curate.recipe.machines import ByName, Engine
from curate.recipe.models import Budget, Generate, Judge, Model, Pair, Prompts
from curate.recipe.overrides import keys_set, set_value
from curate.recipe.presets import with_preset
from curate.recipe.rankings import check_rankings
from curate.recipe.scoring import LabelNoise, ModelSignals
from curate.recipe.training import Train
from curate.rules import Rule, Where, plain_rules
from curate.schema.section import AS_IS, Section, Texts, refuse_remote_code
from curate.selection.sections import Select

KEPT_FILE = re.compile(rf"{FILES}/[a-z_]+/[0-9A-Za-z_-][0-9A-Za-z_.-]{{0,99}}")  # a path in it


class Origin(Section):
    """The published run that a recipe came with."""

    repo: Annotated[str, AS_IS] = Field(description="OWNER/NAME on the Hub")
    revision: Annotated[str, AS_IS] = Field(description="Commit")
    config: Annotated[str, AS_IS] = "default"


class Recipe(Section):
    """A recipe; its sections are in the order of the data flow."""

    origin: Origin | None = Field(
        None, description="Written by `curate pull`: such a recipe uses models, files and keys only with your consent"
    )
    preset: Annotated[Literal["helpful", "safety", "code", "strict"] | None, AS_IS] = Field(
        None, description="Start from the rules of a preset (`curate recipe --preset NAME` prints them)"
    )
    source: Source = Source()
    prompts: Prompts | None = None
    generate: Generate | None = None
    judge: Judge | None = None
    pair: Pair | None = None
    budget: Budget | None = None
    signals: Annotated[Texts, AS_IS] = Field(
        (), description="Columns of signals of your own; `--signals FILE.py:FUNCTION` says where these are"
    )
    models: ModelSignals | None = None
    label_noise: Annotated[LabelNoise | None, Switch] = Field(None, description="true = with the defaults")
    rules: Rules = Rules()
    dedup: Dedup = Dedup()
    decontaminate: Decontaminate | None = None
    select: Select | None = None
    split: Split = Split()
    publish: Publish = Publish()
    train: Train | None = None
    engine: Annotated[Engine | None, ByName] = Field(None, description="Where the work is done; not kept in the run")

    _identity: str = PrivateAttr("")
    _overridden: tuple[str, ...] = PrivateAttr(())

    def model_post_init(self, _: Any, /) -> None:
        """Note which recipe this is while it is whole: parts of it (`model_copy`) are trusted as it is."""
        if self.origin is not None:
            plain = json.dumps(resolved(self), sort_keys=True, ensure_ascii=True)
            self._identity = hashlib.sha256(plain.encode()).hexdigest()

    @property
    def identity(self) -> str:
        """For a recipe from elsewhere: SHA-256 of its resolved form before overrides; empty for others."""
        return self._identity

    @property
    def overridden(self) -> tuple[str, ...]:
        """Keys that the user set over those of the file: `train.model`."""
        return self._overridden

    @property
    def asks_models(self) -> bool:
        """Whether candidates are generated or judged first, with `pipelines.run`; `curate.run` only reads pairs."""
        return any((self.prompts, self.generate, self.judge, self.pair))

    @property
    def trained(self) -> Model | None:
        """
        The model to be trained, under which the answers' likelihood is measured; None where the recipe does not ask.

        Raises ValueError where `generate.on_policy: auto` leaves open which one it is.
        """
        section = self.generate
        if section is None or section.on_policy is None:
            return None
        marked = {model.model: model for model in section.models if section.is_on_policy(model)}
        if isinstance(section.on_policy, Model):
            return marked.get(section.on_policy.model, section.on_policy)
        if len(marked) > 1:
            raise ValueError(f"generate.on_policy: auto may be {' or '.join(marked)}; name one of them instead")
        if not marked and not (self.train and self.train.model):
            raise ValueError(
                "generate.on_policy: auto does not know the model to be trained; mark one of generate.models with "
                "on_policy: true, set train.model, or name it (on_policy: transformers:ID_OR_FOLDER)"
            )
        return next(iter(marked.values()), None) or Model(model=f"transformers:{self.train and self.train.model}")

    def check_reads_pairs(self) -> None:
        """Raise RecipeError for a recipe that asks models. A pair section alone may be about the source's answers."""
        if self.prompts or self.generate or self.judge:
            raise RecipeError("this recipe generates its pairs: run it with pipelines.run, or `curate run`")

    @property
    def built_rules(self) -> list[Rule | Where]:
        """The rules, in the order in which reasons are reported."""
        return self.rules.build(self.signals)

    @model_validator(mode="before")
    @classmethod
    def _on_a_preset(cls, value: Any) -> Any:
        return with_preset(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _rules_are_known(self) -> "Recipe":
        self.rules.check(self.signals)
        return self

    @model_validator(mode="after")
    def _sections_fit(self) -> "Recipe":
        if not self.source.paths and not (self.prompts and (self.prompts.description or self.prompts.documents)):
            raise ValueError("source.paths: name at least one source")
        if self.prompts and not self.generate:
            raise ValueError("prompts: no model answers them; add a generate section")
        bound = self.pair and self.pair.min_logp_per_token
        if self.trained is None and self.generate and bound is not None:
            raise ValueError("pair.min_logp_per_token: nothing is measured; set generate.on_policy")
        if self.pair and self.pair.strategy == "delta" and len(self.pair.order) < 2:
            raise ValueError("pair.order: delta needs two or more models, the strongest first")
        return self

    @model_validator(mode="after")
    def _best_can_be_compared(self) -> "Recipe":
        check_rankings(self.dedup.keep, self.select, self.signals)
        return self


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and validate a recipe file. Raise RecipeError with the path, the line and the nearest known key."""
    sections = ", ".join(name for name in Recipe.model_fields if name != "origin")
    tree, text = read_yaml(Path(path), f"sections: {sections}")
    recipe = make_recipe(_with_files(tree, Path(path).parent), overrides, where=str(path), text=text)
    if recipe.origin is not None:  # the same recipe wherever the run lies
        recipe._identity = make_recipe(tree).identity
    return recipe


def _with_files(tree: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the recipe of a run with the places of the files that the run keeps beside it, wherever that is now."""

    def placed(value: Any) -> Any:
        if isinstance(value, list):
            return [placed(one) for one in value]
        is_kept = isinstance(value, str) and KEPT_FILE.fullmatch(value) and (folder / value).is_file()
        return str(folder / value) if is_kept else value

    return {
        name: {key: placed(value) for key, value in section.items()} if isinstance(section, dict) else section
        for name, section in tree.items()
    }


def make_recipe(
    tree: Mapping[str, Any], overrides: Sequence[str] = (), *, where: str = "recipe", text: str | None = None
) -> Recipe:
    """Return a recipe from plain data and `section.key=value` overrides. Raise RecipeError if it is invalid."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(tree, default=str))  # a copy with plain data only
    except (ValueError, TypeError, RecursionError) as error:  # circular, of thousands of digits, or nested too deeply
        raise RecipeError(f"{where}: expected plain data: {error}") from error
    if overrides and plain.get("origin"):
        return changed(_validated(plain, where, text), plain, overrides, where=where, text=text)
    for override in overrides:
        set_value(plain, override, Recipe.model_fields)
    return _validated(plain, where, text)


def changed(
    recipe: Recipe, tree: Mapping[str, Any], overrides: Sequence[str] = (), *, keys: Sequence[str] = (), **place: Any
) -> Recipe:
    """
    Return a recipe as the user changed it: it stays the same one for his consent, except for what he set himself.

    `tree` is its plain data, already changed at `keys` (`train.model`); `overrides` are applied on top, `place` as for
    `make_recipe`.
    """
    new = make_recipe({name: section for name, section in tree.items() if name != "origin"}, overrides, **place)
    new = new.model_copy(update={"origin": recipe.origin})
    new._identity = recipe.identity
    new._overridden = (*recipe.overridden, *keys, *(key for text in overrides for key in keys_set(text)))
    return new


def _validated(plain: dict[str, Any], where: str, text: str | None) -> Recipe:
    refuse_remote_code(plain)
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        raise RecipeError("; ".join(_explain(e, plain, where, text) for e in error.errors())) from error


def as_recipe(source: "str | Path | Mapping[str, Any] | Recipe", overrides: Sequence[str] = ()) -> Recipe:
    """Return a recipe from a file, plain data or a recipe, with `section.key=value` overrides. Raise RecipeError."""
    if isinstance(source, Recipe):
        return changed(source, resolved(source), overrides) if overrides else source
    return make_recipe(source, overrides) if isinstance(source, Mapping) else load_recipe(source, overrides)


def resolved(recipe: Recipe) -> dict[str, Any]:
    """Return plain data with every default written out, including the rules, as in `recipe.yaml` of a run."""
    tree = {name: section for name, section in recipe.model_dump(mode="json").items() if section is not None}
    return tree | {"rules": {"defaults": False, **plain_rules(recipe.built_rules)}}


def to_yaml(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML."""
    return yaml_text(resolved(recipe))


def _explain(error: Any, plain: Mapping[str, Any], where: str, text: str | None) -> str:
    path = ["rules", error["ctx"]["rule"]] if error["type"] == "rule" else list(error["loc"])
    written = _as_written(path, plain)
    line = _line_of(text, written) if text else None
    place = f"{where}, line {line}" if line else where
    shown = ".".join(map(str, written))
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


def _as_written(path: Sequence[str | int], plain: Mapping[str, Any]) -> Sequence[str | int]:
    """Return the path of a step that is written as a key of the section select without its place in `steps`."""
    is_step = len(path) > 3 and list(path[:2]) == ["select", "steps"] and isinstance(plain["select"], dict)
    return ["select", *path[3:]] if is_step and path[3] in plain["select"] else path


def _known_keys(path: Sequence[str | int]) -> list[str]:
    kind: Any = Recipe
    for part in path:
        kind = section_in(kind.model_fields[part].annotation) if isinstance(part, str) else kind
    return list(kind.model_fields)


def section_in(kind: Any) -> Any:
    """Return the section inside `Section | None`, `tuple[Section, ...]` and the like, or None."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for inner in get_args(kind) if (found := section_in(inner)) is not None), None)


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
