"""
Recipes from elsewhere: what one would use of this machine and of the network, and the user's consent to it.

`curate pull` writes into a recipe where it came from (`origin`), and the line goes with it wherever it is copied. Such
a recipe may measure, filter, deduplicate, select and split. Anything else that it names (sources, files, models,
endpoints with their keys, options of TRL) is used only after the user agreed to exactly this recipe.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from curate.errors import RecipeError
from curate.files import write_text
from curate.recipe.endpoint import endpoint_of
from curate.recipe.models import Model
from curate.schema.section import AS_IS, Holds
from curate.selection.sections import STEPS, Step
from curate.sources.paths import SHIPPED

if TYPE_CHECKING:
    from curate.recipe.load import Recipe

TRAIN = "train"  # the section that only training uses
UNUSED = ("origin", "signals", "rules", "publish")  # sections of numbers, and of texts for readers
STEP_KEYS = tuple(f"select.{name}" for name in STEPS)
VALUE_CHARS = 200  # of a value that are shown


class Use(NamedTuple):
    """One thing that a recipe would use: the key that sets it, and a phrase such as `read the file rubric.txt`."""

    key: str
    text: str


class ConsentNeeded(RecipeError):
    """A recipe from elsewhere names something that is used only after the user agreed."""


def uses(recipe: "Recipe", *, training: bool | None = None) -> list[Use]:
    """
    Return what a recipe would use apart from its own rules: sources, files, models, endpoints and keys, TRL options.

    `training` restricts it to the train section (True) or to the others (False). Defaults, and values that the user
    set over those of the recipe, are not in it.

        uses(load_recipe("recipe.yaml"))  # [Use("judge.rubric", "read the file mine.txt"), …]
    """
    sections = [name for name in type(recipe).model_fields if training is None or (name == TRAIN) == training]
    sections = [name for name in sections if name not in UNUSED]
    found = [use for name in sections for use in _of(getattr(recipe, name), name)]
    if training is False:
        found += _of_auto(recipe)
    own = recipe.overridden
    whole = [key for key in own if key not in STEP_KEYS]  # a step keeps what `--set select.like={…}` does not name
    return [use for use in found if use.key not in own and not any(use.key.startswith(f"{key}.") for key in whole)]


def agreed(recipe: "Recipe") -> bool:
    """Return whether a recipe is the user's own, or one that he agreed to."""
    return recipe.origin is None or _record(recipe).is_file()


def check_consent(recipe: "Recipe", *, training: bool = False) -> None:
    """
    Raise ConsentNeeded for a recipe from elsewhere that would use something the user did not agree to.

    `training` checks the train section, otherwise all others.
    """
    if agreed(recipe) or not (wanted := uses(recipe, training=training)):
        return
    assert recipe.origin is not None  # noqa: S101 - else there is nothing to agree to
    listed = "; ".join(f"{use.text} ({use.key})" for use in wanted)
    raise ConsentNeeded(
        f"this recipe came from {recipe.origin.repo} on the Hub and would {listed}; nothing of it was done. "
        f"Agree with --trust (from Python: curate.trust), or set these keys yourself"
    )


def trust(recipe: "Recipe", agree: Callable[[Sequence[Use]], bool]) -> list[Use]:
    """
    Show what a recipe from elsewhere would use, and remember the user's consent to exactly this recipe.

    `agree` gets the uses and returns the answer; it is not called for the user's own recipes, for those that use
    nothing, and for those agreed to before. Returns the uses; raises ConsentNeeded if the answer is no.
    """
    wanted = uses(recipe)
    if recipe.origin is None or not wanted or agreed(recipe):
        return wanted
    if not agree(wanted):
        raise ConsentNeeded(f"the recipe from {recipe.origin.repo} is not trusted; nothing of it was done")
    lines = [f"{recipe.origin.repo} {recipe.origin.revision}", *(f"{use.key}: {use.text}" for use in wanted)]
    write_text(_record(recipe), "\n".join(lines) + "\n")
    return wanted


def _record(recipe: "Recipe") -> Path:
    """Return the file that exists if the user agreed to this recipe."""
    import typer

    return Path(typer.get_app_dir("prefcurate")) / "trusted" / f"{recipe.identity}.txt"


def _of(value: Any, key: str) -> Iterator[Use]:
    """Yield what a section, or each of a list of them, would use."""
    if isinstance(value, Model):
        yield Use(key, _asked(value))
        yield from _options(value.extra, f"{key}.extra")
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from _of_field(getattr(value, name), field, f"{key}.{name}")
    elif isinstance(value, tuple) and all(isinstance(item, Step) for item in value):
        names = [item.name for item in value]
        for item, name in zip(value, names, strict=True):
            step = f"{key.removesuffix('.steps')}.{name}"
            found = _of(item.settings, step)
            yield from found if names.count(name) == 1 else _as_whole(found, key)
    elif isinstance(value, tuple):
        for item in value:
            yield from _as_whole(_of(item, key), key)


def _as_whole(found: Iterator[Use], key: str) -> Iterator[Use]:
    """Yield the uses of an item of a list, which `--set` sets as a whole."""
    yield from (Use(key, use.text) for use in found)


def _of_auto(recipe: "Recipe") -> Iterator[Use]:
    """Yield the model of the train section where it is also the one under which answers are measured."""
    section, model = recipe.generate, recipe.trained
    if section and model and section.on_policy == "auto" and model.model not in [one.model for one in section.models]:
        yield Use("train.model", _asked(model))


def _of_field(value: Any, field: FieldInfo, key: str) -> Iterator[Use]:
    holds = next((mark for mark in field.metadata if isinstance(mark, Holds)), AS_IS)
    if holds.what in ("request", "trainer"):
        yield from _options(value, key)
    elif holds.what == "address" and isinstance(value, str):
        yield Use(key, f"connect to {_shown(value)}")
    elif holds.what not in ("name", "file"):
        yield from _of(value, key)
    elif value is not None and value != field.default:
        verb = "load the model" if key.endswith(".model") or key.startswith("models.") else "read"
        for text in [value] if isinstance(value, str) else value:
            if text not in holds.known and not text.startswith(SHIPPED):
                yield Use(key, f"{verb} {_shown(text)}")


def _asked(model: Model) -> str:
    endpoint = endpoint_of(model)
    if endpoint is None:
        return f"load the model {_shown(model.model)}"
    key = f" with the key in {_shown(endpoint.key)}" if endpoint.key else ""
    return f"send prompts to {_shown(endpoint.shown)}{key} for the model {_shown(model.model)}"


def _options(options: dict[str, Any], key: str) -> Iterator[Use]:
    for name, value in options.items():
        yield Use(f"{key}.{name}", f"set the option {_shown(name)} to {_shown(json.dumps(value, default=str))}")


def _shown(text: str) -> str:
    return text if len(text) <= VALUE_CHARS else f"{text[:VALUE_CHARS]}…"
