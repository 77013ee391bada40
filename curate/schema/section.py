"""Base class and types for the sections of a recipe."""

from enum import Enum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from curate.errors import RecipeError

# The text of a pair that is compared with that of others.
Compared = Literal["prompt", "prompt+chosen", "chosen", "rejected"]


Kind = TypeVar("Kind", bound=BaseModel)


class Reach(Enum):
    """
    What a text in a recipe makes a run do besides computing: written into the type of every text field, so that a
    recipe from elsewhere can be asked what it would use (`recipe.consent`). Numbers and choices need none.
    """

    NOTHING = "nothing"
    SOURCE = "read the file or dataset"
    FILE = "read the file"
    MODEL = "load the model"
    ENDPOINT = "send prompts to"
    OPTION = "set the option"


class Shipped(frozenset[str]):
    """Names of files that come with prefcurate: a field with them beside its Reach touches nothing else by these."""


class Section(BaseModel):
    """A section of the recipe: unknown keys are errors, and values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def refuse_remote_code(tree: Any) -> None:
    """Raise RecipeError where plain data of a recipe has the key trust_remote_code, at any depth."""
    if isinstance(tree, dict):
        if "trust_remote_code" in tree:
            raise RecipeError("trust_remote_code cannot be set in a recipe or config file; use --trust-remote-code")
        for value in tree.values():
            refuse_remote_code(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            refuse_remote_code(value)


def checked(section: type[Kind], **values: Any) -> Kind:
    """Return a section with these values. Raise RecipeError naming the invalid value."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecipeError(f"{where}: {first['msg']}, found {first['input']!r}") from error


# Texts that touch nothing, unless a Reach stands after them: `Annotated[Texts, Reach.FILE]`.
Text = Annotated[str, Reach.NOTHING]
Texts = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]),
    Reach.NOTHING,
]
ModelName = Annotated[str | None, Reach.MODEL]
