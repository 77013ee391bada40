"""Two responses and a verdict → chosen and rejected. A tie or a missing verdict never becomes a pair."""

import polars as pl

from curate.schema import MESSAGES
from curate.text.messages import one_message


def as_messages(name: str, role: str, schema: pl.Schema) -> pl.Expr:
    """Return a text column as one message of the role; in a column of turns, a plain text gets the role."""
    return with_role(name, role) if schema[name] == MESSAGES else one_message(role, pl.col(name)).alias(name)


def with_role(name: str, role: str) -> pl.Expr:
    """Return a column of turns as messages: a plain text gets the role."""
    turn = pl.element().struct
    return pl.col(name).list.eval(turn.with_fields(turn.field("role").fill_null(role)))


def is_text(name: str) -> pl.Expr:
    """Return whether each value of a column of turns is a plain text; false where it is null."""
    first = pl.col(name).list.first().struct
    return (first.field("content").is_not_null() & first.field("role").is_null()).fill_null(value=False)


def text(name: str) -> pl.Expr:
    """Return the plain texts of a column of turns; null for conversations."""
    return pl.when(is_text(name)).then(pl.col(name).list.first().struct.field("content")).alias(name)


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
