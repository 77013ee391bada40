"""Two responses and a verdict → chosen and rejected. A tie or a missing verdict never becomes a pair."""

import polars as pl

from curate.schema import MESSAGES
from curate.sources.columns import Field, kind_of
from curate.sources.raw_block import Columns
from curate.text.messages import one_message


def text_field(column: str, columns: Columns, *, needed: bool = True) -> Field:
    """Return a field of texts or of messages, depending on the column's first values."""
    return Field(column, kind_of(columns[column]) or "text", needed)


def as_messages(name: str, role: str, schema: pl.Schema) -> pl.Expr:
    """Return a text column as one message of the role; a column of messages is returned unchanged."""
    return pl.col(name) if schema[name] == MESSAGES else one_message(role, pl.col(name)).alias(name)


def add_problem(frame: pl.DataFrame, bad: pl.Expr, rule: str, detail: str) -> pl.DataFrame:
    """Mark rows that cannot become pairs; a row keeps the problem that it already has."""
    new = bad & pl.col("problem").is_null()
    return frame.with_columns(
        problem=pl.when(new).then(pl.lit(rule)).otherwise("problem"),
        detail=pl.when(new).then(pl.lit(detail)).otherwise("detail"),
    )


def orient(frame: pl.DataFrame, better: pl.Expr) -> pl.DataFrame:
    """
    Add chosen and rejected by `better`, which evaluates to "a", "b", "tie" or null.

    in : prompt, response_a, response_b: str or messages | model_a, model_b: str, optional
    out: prompt, chosen, rejected, chosen_model, rejected_model; a tie or null becomes a problem
    """
    sides = frame.with_columns(
        as_messages("prompt", "user", frame.schema),
        as_messages("response_a", "assistant", frame.schema),
        as_messages("response_b", "assistant", frame.schema),
        better=better,
        **{name: pl.lit(None, pl.String) for name in ("model_a", "model_b") if name not in frame.columns},
    )
    a_wins = pl.col("better") == "a"
    sides = add_problem(
        sides, pl.col("better").is_null(), "no_preference", "the source does not say which response is better"
    )
    sides = add_problem(sides, pl.col("better") == "tie", "tie", "the source marks it as a tie")
    return sides.with_columns(
        chosen=pl.when(a_wins).then("response_a").otherwise("response_b"),
        rejected=pl.when(a_wins).then("response_b").otherwise("response_a"),
        chosen_model=pl.when(a_wins).then("model_a").otherwise("model_b"),
        rejected_model=pl.when(a_wins).then("model_b").otherwise("model_a"),
    )
