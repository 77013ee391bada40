"""What a signal is: a function that measures a text or a pair, and what the report does with its values."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from curate.errors import RecipeError

SIDES = ("prompt", "chosen", "rejected")
RESPONSES = ("chosen", "rejected")

# What the function of a signal takes and returns:
#   text  : (pl.Expr: str) -> pl.Expr, evaluated once per distinct text of a block
#   texts : (pl.Series: str, Tokens) -> pl.DataFrame, a column per signal that shares the function
#   pair  : () -> pl.Expr over PAIR, the texts (`prompt_text`, …) and the signals of each side
#   words : (texts, Tokens, chosen places, rejected places) -> pl.DataFrame, a column per signal that shares it
#   block : (pl.DataFrame: PAIR, texts and all other signals asked for) -> pl.Series, one value per row; for models
Kind = Literal["text", "texts", "pair", "words", "block"]
Which = tuple[str, ...] | bool  # sides of a signal; of a signal of the pair, whether at all


@dataclass(frozen=True, slots=True)
class Signal:
    """
    One measure, stored in one column per side (`chosen_chars`, `rejected_chars`), or one of the whole pair (`margin`).

    `charted` and `on_card` name the sides whose distribution the report charts and the card shows (`True`: of a signal
    of the pair). Of a `counted` signal (occurrences: URLs, keys) the report lists the share of pairs that have any, as
    it does for every boolean one.
    """

    name: str
    about: str  # its definition, one paragraph
    function: Callable[..., Any]
    kind: Kind
    sides: tuple[str, ...] = ()  # empty for a signal of the whole pair
    charted: Which = ()
    on_card: Which = ()
    counted: bool = False
    is_text: bool = False  # its values are texts (a language), which only `only_` rules compare

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
        """Wrap a function of a text; its name and docstring are the signal's."""
        return cls(function.__name__, _about(function), function, "text", sides, charted, on_card, counted)

    @classmethod
    def of_pair(cls, function: Callable[[], pl.Expr], *, charted: bool = False, on_card: bool = False) -> "Signal":
        """Wrap a function without arguments that returns an expression over the whole pair."""
        return cls(function.__name__, _about(function), function, "pair", (), charted, on_card)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it fills."""
        return self._columns(self.sides or True)

    @property
    def charted_columns(self) -> tuple[str, ...]:
        """Those of its columns that the report charts."""
        return self._columns(self.charted)

    @property
    def card_columns(self) -> tuple[str, ...]:
        """Those of its columns whose distribution the card shows."""
        return self._columns(self.on_card)

    def _columns(self, sides: Which) -> tuple[str, ...]:
        if isinstance(sides, bool):
            return (self.name,) if sides else ()
        return tuple(f"{side}_{self.name}" for side in sides)


def as_signal(function: Callable[..., Any]) -> Signal:
    """
    Make a signal of a function of the user's own. What the function takes decides what it measures:

    no argument: a polars expression over the pair. An argument `pairs` (or annotated `pl.DataFrame`): a whole block,
    one value per row comes back as a Series. Any other single argument: a text, as an expression; it is measured for
    prompt, chosen and rejected. Raises RecipeError for any other signature, and for a name that no column can have.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if not function.__name__.isidentifier():
        raise RecipeError(f"a signal takes its name from its function; {function.__name__!r} cannot be a column")
    if not parameters:
        return Signal.of_pair(function)
    if len(parameters) > 1:
        raise RecipeError(f"signal {function.__name__}: expected a function of no argument, of text, or of pairs")
    if parameters[0].name == "pairs" or parameters[0].annotation in (pl.DataFrame, "pl.DataFrame"):
        return Signal(function.__name__, _about(function), function, "block")
    return Signal.of_text(function)


def _about(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip()
