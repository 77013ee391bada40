"""Base class and types for the sections of a recipe."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from curate.errors import RecipeError, shortened

COUNT = 10**9  # upper bound of a number of pairs, prompts or rows
TOKENS = 10**7  # upper bound of a length in tokens
WEEK = 7 * 24 * 3600  # seconds
Seed = Annotated[int, Field(ge=0, lt=2**32)]

# The text of a pair that is compared with that of others.
Compared = Literal["prompt", "prompt+chosen", "chosen", "rejected"]


Kind = TypeVar("Kind", bound=BaseModel)


class Section(BaseModel):
    """
    A section of the recipe: unknown keys are errors, values are immutable, and every number has bounds.

    The upper bounds are far above what anybody means: they turn a slip or an attack into an error instead of a run that
    does not end.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def checked(section: type[Kind], **values: Any) -> Kind:
    """Return a section with these values. Raise RecipeError naming the invalid value."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecipeError(f"{where}: {first['msg']}, found {shortened(first['input'])}") from error


Texts = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]),
]
