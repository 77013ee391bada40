"""Base class and types for the sections of a recipe, and what of their values may be published."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from curate.errors import RecipeError

# The text of a pair that is compared with that of others.
Compared = Literal["prompt", "prompt+chosen", "chosen", "rejected"]


Kind = TypeVar("Kind", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Published:
    """
    How a setting is published, as metadata of its field; see `curate.recipe.published`. Numbers, switches and choices
    are published as they are; of all other fields only those with such a mark are.

    as_is: text that its author writes for readers. name: a path, without its folders. file: the same, and the file
    itself is published beside the recipe, unless the value is one of `known`. model: a model's line. address: only that
    of a public provider. request, trainer: a mapping of options, of which those are published that hold no local facts.
    """

    how: Literal["as_is", "name", "file", "model", "address", "request", "trainer", "never"]
    known: tuple[str, ...] = ()


AS_IS, NAME, MODEL, NEVER = Published("as_is"), Published("name"), Published("model"), Published("never")


class Section(BaseModel):
    """A section of the recipe: unknown keys are errors, and values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def checked(section: type[Kind], **values: Any) -> Kind:
    """Return a section with these values. Raise RecipeError naming the invalid value."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecipeError(f"{where}: {first['msg']}, found {first['input']!r}") from error


Texts = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]),
]
