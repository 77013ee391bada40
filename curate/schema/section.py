"""Base class and types for the sections of a recipe."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from curate.errors import RecipeError

# The text of a pair that is compared with that of others.
Compared = Literal["prompt", "prompt+chosen", "chosen", "rejected"]


Kind = TypeVar("Kind", bound=BaseModel)


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
