"""Base class and types for the sections of a recipe, and what of their values may be published."""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Holds:
    """
    What a text of a recipe holds, as metadata of its field. It decides how the text is published (`recipe.published`),
    and whether a recipe from elsewhere may use it without consent (`recipe.consent`). Numbers, switches and choices
    need no mark; a text without one is not published.

    as_is: text that its author writes for readers. name: a path or Hub id; published without its folders. file: a
    path; the file itself is published beside the recipe, unless the value is one of `known`, which ship with us. model:
    a model's line. address: that of an endpoint; only public providers are published. request, trainer: a mapping of
    options, of which those are published that hold no local facts. never: nothing of it is published.
    """

    what: Literal["as_is", "name", "file", "model", "address", "request", "trainer", "never"]
    known: tuple[str, ...] = ()


AS_IS, NAME, MODEL, NEVER = Holds("as_is"), Holds("name"), Holds("model"), Holds("never")


class Section(BaseModel):
    """
    A section of the recipe: unknown keys are errors, values are immutable, and every number has bounds.

    The upper bounds are far above what anybody means: they turn a slip or an attack into an error instead of a run that
    does not end.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
        raise RecipeError(f"{where}: {first['msg']}, found {shortened(first['input'])}") from error


Texts = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]),
]
