"""
Signals: what is measured of every pair. A signal is a function that returns a polars expression, or, where an
expression would be slow or a model is needed, a batch function; its docstring is its definition.

A signal of a text stands in one column a side: `chosen_chars`, `rejected_chars`, `prompt_chars`.
To add one: write the function, put it in its file's tuple.
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from curate.errors import unknown
from curate.messages import last_user_text, text_of
from curate.signals import characters, length, markup, pair, patterns
from curate.signals.language import ABOUT as LANGUAGE
from curate.signals.language import language
from curate.signals.repetition import ABOUT as REPETITION
from curate.signals.repetition import repetition
from curate.signals.tokens import words

VERSION = 1  # part of the stage's key: raise it when a signal's value changes
SIDES = ("prompt", "chosen", "rejected")
RESPONSES = ("chosen", "rejected")

TextSignal = Callable[[pl.Expr], pl.Expr]
TEXT: tuple[TextSignal, ...] = (*length.TEXT, *characters.TEXT, *markup.TEXT, *patterns.TEXT)
RESPONSE: tuple[TextSignal, ...] = (*markup.RESPONSE, *patterns.RESPONSE)


@dataclass(frozen=True, slots=True)
class Signal:
    """What `curate signals` lists. `sides` is empty for a signal of the whole pair."""

    name: str
    about: str
    sides: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it fills."""
        return tuple(f"{side}_{self.name}" for side in self.sides) or (self.name,)


def _about(function: Callable[..., pl.Expr]) -> str:
    return (function.__doc__ or "").strip()


SIGNALS: dict[str, Signal] = {
    signal.name: signal
    for signal in (
        *(Signal(f.__name__, _about(f), SIDES) for f in TEXT),
        *(Signal(f.__name__, _about(f), RESPONSES) for f in RESPONSE),
        *(Signal(name, about, SIDES) for name, about in (REPETITION | LANGUAGE).items()),
        *(Signal(f.__name__, _about(f), ()) for f in pair.PAIR),
        *(Signal(name, about, ()) for name, about in pair.WORD_ABOUT.items()),
    )
}
# Column name -> definition, for rules and reports.
COLUMNS: dict[str, Signal] = {column: signal for signal in SIGNALS.values() for column in signal.columns}


def measure(pairs: pl.DataFrame) -> pl.DataFrame:
    """
    in : PAIR, a block of it
    out: one row a pair, the columns of COLUMNS. Null means not measured (no text, too little text, no score).
    """
    texts = pairs.select(*(text_of(side).alias(f"{side}_text") for side in SIDES), asked=last_user_text("prompt"))
    # Lazily, so that what several signals need (lower case, symbols, fences) is computed once.
    measured = (
        texts.lazy()
        .select(
            *(signal(pl.col(f"{side}_text")).alias(f"{side}_{signal.__name__}") for side in SIDES for signal in TEXT),
            *(
                signal(pl.col(f"{side}_text")).alias(f"{side}_{signal.__name__}")
                for side in RESPONSES
                for signal in RESPONSE
            ),
        )
        .collect()
    )
    tokens = {side: words(texts.get_column(f"{side}_text")) for side in SIDES}
    blocks = [measured, pair.compare_words(texts, tokens["chosen"], tokens["rejected"])]
    for side in SIDES:
        text = texts.get_column(f"{side}_text")
        blocks += [_named(side, repetition(text, tokens[side])), _named(side, language(text))]
    sides = pl.concat(blocks, how="horizontal")
    everything = pl.concat([pairs, texts, sides], how="horizontal")
    return sides.with_columns(everything.select(f().alias(f.__name__) for f in pair.PAIR).get_columns()).select(
        list(COLUMNS)
    )


def with_signals(pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs with every signal as a column beside them."""
    return pairs.with_columns(measure(pairs).get_columns())


def _named(side: str, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.all().name.prefix(f"{side}_"))


def signal_of(column: str) -> Signal:
    """The signal behind a column. Raises RecipeError for a name that is none."""
    if column not in COLUMNS:
        raise unknown("signal", column, COLUMNS)
    return COLUMNS[column]
