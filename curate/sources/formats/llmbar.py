"""
LLMBar: two outputs and a human label. In some subsets the worse output looks better.

in : input: str | output_1, output_2: str | label: 1 or 2, the better output
out: PAIR

https://github.com/princeton-nlp/LLMBar
"""

import polars as pl

from curate.sources.columns import Field, text_field
from curate.sources.formats.comparison import orient
from curate.sources.raw_block import Columns

MARKS = ("input", "output_1", "output_2", "label")


def fields(columns: Columns) -> dict[str, Field] | None:
    """Return the fields of an input, two outputs and a label; None for other columns."""
    if not set(MARKS) <= set(columns):
        return None
    return {
        "prompt": text_field("input", columns),
        "response_a": text_field("output_1", columns),
        "response_b": text_field("output_2", columns),
        "label": Field("label", "number", needed=False),
    }


def to_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    """Orient by the label; any label other than 1 and 2 counts as no preference."""
    return orient(frame, pl.col("label").replace_strict({1: "a", 2: "b"}, default=None, return_dtype=pl.String))
