"""
AlpacaEval annotations: the outputs of a baseline and a model, with a graded preference.

in : instruction: str | output_1, output_2: str | generator_1, generator_2: str
     preference: 1 (output_1 is better) … 2 (output_2 is better), graded in between; 1.5 = tie; null = not judged
out: PAIR; strength = distance of the preference from a tie, scaled to 0..1

https://github.com/tatsu-lab/alpaca_eval
"""

import polars as pl

from curate.sources.columns import Field, text_field
from curate.sources.formats.comparison import orient
from curate.sources.raw_block import Columns

MARKS = ("instruction", "output_1", "output_2", "preference")
TIE = 1.5


def fields(columns: Columns) -> dict[str, Field] | None:
    """Return the fields of an instruction, two outputs and a preference; None for other columns."""
    if not set(MARKS) <= set(columns):
        return None
    return {
        "prompt": text_field("instruction", columns),
        "response_a": text_field("output_1", columns),
        "response_b": text_field("output_2", columns),
        "model_a": Field("generator_1", "label", needed=False),
        "model_b": Field("generator_2", "label", needed=False),
        "preference": Field("preference", "number", needed=False),
    }


def to_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    """Orient by whether the preference is below or above 1.5; a value outside of 1..2 counts as no preference."""
    value = pl.when(pl.col("preference").is_between(1, 2)).then("preference")
    better = (
        pl.when(value < TIE)
        .then(pl.lit("a"))
        .when(value > TIE)
        .then(pl.lit("b"))
        .when(value == TIE)
        .then(pl.lit("tie"))
    )
    return orient(frame, better).with_columns(strength=(value - TIE).abs() * 2)
