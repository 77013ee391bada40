"""The definition of a signal: a function that measures a text or a pair, and how the report shows its values."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from curate.errors import RecipeError

SIDES = ("prompt", "chosen", "rejected")
RESPONSES = ("chosen", "rejected")

# What a signal's function takes and returns:
#   text  : (pl.Expr: str) -> pl.Expr, evaluated once per distinct text of a block
#   texts : (pl.Series: str, Tokens) -> pl.DataFrame, a column per signal that shares the function
#   pair  : () -> pl.Expr over PAIR, the texts (`prompt_text`, …) and the signals of each side
#   words : (texts, Tokens, places of prompt, chosen, rejected) -> pl.DataFrame, a column per signal that shares it
#   calls : (pl.DataFrame: PAIR, side) -> pl.Series: bool, for each of its sides
#   block : (pl.DataFrame: PAIR, texts and all other requested signals) -> pl.Series, one value per row
#   model : not called; the stage `models` measures its columns (`signals.scored`)
Kind = Literal["text", "texts", "pair", "words", "calls", "block", "model"]
Which = tuple[str, ...] | bool  # some sides of a signal; for a signal of the pair, yes or no


@dataclass(frozen=True, slots=True)
class Signal:
    """
    One measure, stored in one column per side (`chosen_chars`, `rejected_chars`), or in one for the pair (`margin`).

    `charted` and `on_card` name the sides whose distribution the report charts and the card shows (for a signal of the
    pair: `True`). For a `counted` signal (occurrences: URLs, keys) the report lists the share of pairs with any, as it
    does for boolean signals.
    """

    name: str
    about: str  # its definition, one paragraph
    function: Callable[..., Any]
    kind: Kind
    sides: tuple[str, ...] = ()  # empty for a signal of the whole pair
    charted: Which = ()
    on_card: Which = ()
    counted: bool = False
    is_text: bool = False  # its values are strings (a language), which only `only_` rules can compare

    @classmethod
    def of_text(
        cls,
        function: Callable[[pl.Expr], pl.Expr],
        sides: tuple[str, ...] = SIDES,
        *,
        charted: tuple[str, ...] = (),
        on_card: tuple[str, ...] = (),
        counted: bool = False,
    ) -> "Signal":
        """Wrap a function of a text; its name and docstring become those of the signal."""
        return cls(function.__name__, _about(function), function, "text", sides, charted, on_card, counted)

    @classmethod
    def of_pair(cls, function: Callable[[], pl.Expr], *, charted: bool = False, on_card: bool = False) -> "Signal":
        """Wrap a function without arguments that returns an expression over the whole pair."""
        return cls(function.__name__, _about(function), function, "pair", (), charted, on_card)

    @classmethod
    def of_calls(cls, function: Callable[[pl.DataFrame, str], pl.Series], sides: tuple[str, ...]) -> "Signal":
        """Wrap a function of the messages of a side, for what texts do not tell."""
        return cls(function.__name__, _about(function), function, "calls", sides)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        return self._columns(self.sides or True)

    @property
    def charted_columns(self) -> tuple[str, ...]:
        """The columns that the report charts."""
        return self._columns(self.charted)

    @property
    def card_columns(self) -> tuple[str, ...]:
        """The columns whose distribution the dataset card shows."""
        return self._columns(self.on_card)

    def _columns(self, sides: Which) -> tuple[str, ...]:
        if isinstance(sides, bool):
            return (self.name,) if sides else ()
        return tuple(f"{side}_{self.name}" for side in sides)


def as_signal(function: Callable[..., Any]) -> Signal:
    """
    Make a signal from a user's function. The function's parameters decide what it measures:

    No parameter: it returns a polars expression over the pair. A parameter `pairs` (or one annotated `pl.DataFrame`):
    it takes a whole block and returns a Series with one value per row. Any other single parameter: it takes a text, as
    an expression, and is measured for prompt, chosen and rejected.
    Raises RecipeError for any other signature, and for a function name that cannot be a column name.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if not function.__name__.isidentifier():
        raise RecipeError(f"a signal has the name of its function, and {function.__name__!r} cannot be a column name")
    if not parameters:
        return Signal.of_pair(function)
    if len(parameters) > 1:
        raise RecipeError(f"signal {function.__name__}: expected no parameter, or one: text or pairs")
    if parameters[0].name == "pairs" or parameters[0].annotation in (pl.DataFrame, "pl.DataFrame"):
        return Signal(function.__name__, _about(function), function, "block")
    return Signal.of_text(function)


def _about(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip()
