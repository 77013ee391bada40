"""
Signals: the measurements of every pair. A signal is a function that returns a polars expression or, where that would be
slow or a model is needed, a batch function. Its docstring is its definition.

To add one, write the function and add it to the tuple at the end of its file, or a new file and its tuple to SIGNALS:

    def exclamations(text: pl.Expr) -> pl.Expr:
        \"\"\"Number of exclamation marks.\"\"\"
        return text.str.count_matches("!", literal=True)

    TEXT = (Signal.of_text(exclamations, charted=("chosen",)),)
"""

from collections.abc import Mapping, Sequence

import polars as pl

from curate.errors import unknown
from curate.schema import PAIR, widened
from curate.signals import calls, characters, language, length, markup, pairwise, patterns, repetition, scored
from curate.signals.base import RESPONSES, SIDES, Signal, as_signal
from curate.text.messages import last_user_text, text_of
from curate.text.tokens import Tokens, words

__all__ = [
    "COLUMNS", "RESPONSES", "SIDES", "SIGNALS", "Signal", "as_signal", "columns_of", "measure", "signal_of", "text_of",
]  # fmt: skip

VERSION = 4  # part of the stage's key: increase it when a signal's value changes

SIGNALS: dict[str, Signal] = {
    signal.name: signal
    for signal in (
        *length.TEXT,
        *repetition.TEXT,
        *characters.TEXT,
        *markup.TEXT,
        *patterns.TEXT,
        *markup.RESPONSE,
        *patterns.RESPONSE,
        *language.TEXT,
        *pairwise.PAIR,
        *pairwise.WORDS,
        *calls.CALLS,
        *calls.PAIR,
        *scored.SCORED,
    )
}


def columns_of(signals: Sequence[Signal]) -> dict[str, Signal]:
    """Return the signals by column name."""
    return {column: signal for signal in signals for column in signal.columns}


COLUMNS: dict[str, Signal] = columns_of(tuple(SIGNALS.values()))


def measure(pairs: pl.DataFrame, signals: Sequence[Signal] | None = None) -> pl.DataFrame:
    """
    Measure signals, by default all of SIGNALS.

    in : a block of PAIR
    out: one row per pair, the columns of the signals. Null means not measured (no text, too little text, no score, no
         model). Signals of models are taken from the columns of the block.
    """
    requested = list(SIGNALS.values()) if signals is None else list(signals)
    needed = _with_dependencies(requested)
    # Measured before, perhaps: columns of these names are replaced, but for those of models.
    columns = columns_of(needed)
    of_models = {name: _dtype(signal) for name, signal in columns.items() if signal.kind == "model"}
    given = [
        pl.col(name).cast(dtype) if name in pairs.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in of_models.items()
    ]
    pairs = widened(pairs).drop([name for name in columns if name not in (*PAIR, *of_models)], strict=False)
    pairs = pairs.with_columns(given)
    texts = pairs.select(*(text_of(side).alias(f"{side}_text") for side in SIDES), asked=last_user_text("prompt"))
    # Texts repeat in preference data (one prompt, one baseline, many pairs): each is measured once per block.
    distinct, places = _distinct(texts.select(f"{side}_text" for side in SIDES))
    tokens = words(distinct) if any(signal.kind in ("texts", "words") for signal in needed) else None
    text_signals = _measure_texts(distinct, tokens, needed)
    sides = [
        text_signals.select(
            pl.col(signal.name).gather(place).alias(f"{side}_{signal.name}")
            for signal in needed
            if signal.kind not in ("calls", "model") and side in signal.sides
        )
        for side, place in zip(SIDES, places, strict=True)
    ]
    sides += [
        function(distinct, tokens, *(place.to_numpy() for place in places))
        for function in dict.fromkeys(signal.function for signal in needed if signal.kind == "words")
    ]
    sides += [
        pl.DataFrame({f"{side}_{signal.name}": signal.function(pairs, side) for side in signal.sides})
        for signal in needed
        if signal.kind == "calls"
    ]
    table = _side_by_side([pairs, texts, *sides])
    pair_signals = table.select(signal.function().alias(signal.name) for signal in needed if signal.kind == "pair")
    table = calls.with_calls(table.with_columns(pair_signals.get_columns()))
    block_signals = [signal.function(table).alias(signal.name) for signal in needed if signal.kind == "block"]
    return table.with_columns(block_signals).select(list(columns_of(requested)))


def _dtype(signal: Signal) -> pl.DataType:
    return pl.String() if signal.is_text else pl.Float64()


def _with_dependencies(signals: Sequence[Signal]) -> list[Signal]:
    """Return the signals, and those of SIGNALS whose columns their expressions read."""
    needed = dict.fromkeys(signals)
    for signal in signals:
        if signal.kind == "pair":
            roots = signal.function().meta.root_names()
            needed |= dict.fromkeys(
                _with_dependencies([COLUMNS[name] for name in roots if name in COLUMNS and name not in PAIR])
            )
    return list(needed)


def _distinct(texts: pl.DataFrame) -> tuple[pl.Series, list[pl.Series]]:
    """Return the distinct texts of all columns, and for each column the indices of its texts among them."""
    columns = [texts.get_column(name).alias("text") for name in texts.columns]
    distinct = pl.concat(columns).unique(maintain_order=True).to_frame().with_row_index("place")
    places = [
        column.to_frame()
        .join(distinct, on="text", how="left", maintain_order="left", nulls_equal=True)
        .get_column("place")
        for column in columns
    ]
    return distinct.get_column("text"), places


def _measure_texts(texts: pl.Series, tokens: Tokens | None, signals: Sequence[Signal]) -> pl.DataFrame:
    """Return one row per text, one column per text signal."""
    # Lazily, so that subexpressions shared by several signals (lower case, symbols, fences) are computed once; in
    # sequence, because several blocks are measured in parallel anyway.
    expressions = [signal.function(pl.col("text")).alias(signal.name) for signal in signals if signal.kind == "text"]
    measured = texts.alias("text").to_frame().lazy().select_seq(*expressions).collect()
    batches = dict.fromkeys(signal.function for signal in signals if signal.kind == "texts")
    return _side_by_side([measured, *(function(texts, tokens) for function in batches)])


def _side_by_side(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the columns of all frames; frames without columns are ignored."""
    return pl.concat([pl.DataFrame(), *(frame for frame in frames if frame.width)], how="horizontal")


def with_signals(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return the pairs with every signal as a column beside them."""
    return pairs.with_columns(measure(pairs).get_columns())


def signal_of(column: str, columns: Mapping[str, Signal] = COLUMNS) -> Signal:
    """Return the signal behind a column. Raises RecipeError for an unknown name."""
    if column not in columns:
        raise unknown("signal", column, columns)
    return columns[column]


def __dir__() -> list[str]:
    return sorted(__all__)
