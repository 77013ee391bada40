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
from curate.signals import characters, length, markup, pairwise, patterns
from curate.signals.language import ABOUT as LANGUAGE
from curate.signals.language import language
from curate.signals.repetition import ABOUT as REPETITION
from curate.signals.repetition import repetition
from curate.text.messages import last_user_text, text_of
from curate.text.tokens import Tokens, words

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
        *(Signal(f.__name__, _about(f), ()) for f in pairwise.PAIR),
        *(Signal(name, about, ()) for name, about in pairwise.WORD_ABOUT.items()),
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
    # Texts recur in preference data (one prompt, one baseline, many pairs): each is measured once a block.
    distinct, places = _distinct(texts.select(f"{side}_text" for side in SIDES))
    tokens = words(distinct)
    of_texts = _measure_texts(distinct, tokens)
    sides = [_of_side(of_texts, side, place) for side, place in zip(SIDES, places, strict=True)]
    sides.append(pairwise.compare_words(distinct, tokens, places[1].to_numpy(), places[2].to_numpy()))
    measured = pl.concat(sides, how="horizontal")
    everything = pl.concat([pairs, texts, measured], how="horizontal")
    of_pairs = everything.select(signal().alias(signal.__name__) for signal in pairwise.PAIR)
    return measured.with_columns(of_pairs.get_columns()).select(list(COLUMNS))


def _distinct(texts: pl.DataFrame) -> tuple[pl.Series, list[pl.Series]]:
    """The different texts of all columns, and for each column the places of its texts among them."""
    columns = [texts.get_column(name).alias("text") for name in texts.columns]
    distinct = pl.concat(columns).unique(maintain_order=True).to_frame().with_row_index("place")
    places = [
        column.to_frame()
        .join(distinct, on="text", how="left", maintain_order="left", nulls_equal=True)
        .get_column("place")
        for column in columns
    ]
    return distinct.get_column("text"), places


def _measure_texts(texts: pl.Series, tokens: Tokens) -> pl.DataFrame:
    """One row a text, a column for every signal of a text."""
    # Lazily, so that what several signals need (lower case, symbols, fences) is computed once; in sequence, because
    # several blocks are measured at the same time anyway.
    expressions = (signal(pl.col("text")).alias(signal.__name__) for signal in (*TEXT, *RESPONSE))
    measured = texts.alias("text").to_frame().lazy().select_seq(*expressions).collect()
    return pl.concat([measured, repetition(texts, tokens), language(texts)], how="horizontal")


def _of_side(of_texts: pl.DataFrame, side: str, places: pl.Series) -> pl.DataFrame:
    """The rows of one side's texts, under the names of that side's columns."""
    wanted = {name: f"{side}_{name}" for name in of_texts.columns if side in SIGNALS[name].sides}
    return of_texts.select(pl.col(name).gather(places).alias(column) for name, column in wanted.items())


def with_signals(pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs with every signal as a column beside them."""
    return pairs.with_columns(measure(pairs).get_columns())


def signal_of(column: str) -> Signal:
    """The signal behind a column. Raises RecipeError for a name that is none."""
    if column not in COLUMNS:
        raise unknown("signal", column, COLUMNS)
    return COLUMNS[column]
