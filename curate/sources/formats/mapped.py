"""
Any other columns, mapped by the user: `{prompt: q, chosen: good, rejected: bad}`, or two responses and a winner,
`{prompt: q, response_a: x, response_b: y, winner: w}`, or an answer per row, `{prompt: q, response: x, score: s}`. A
dot selects a field of an object: `info.post`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import polars as pl

from curate.errors import RecipeError, unknown
from curate.sources.columns import Field, Kind
from curate.sources.formats import preference
from curate.sources.formats.answer_rows import AnswerRows
from curate.sources.formats.comparison import orient
from curate.sources.raw_block import Columns, RawBlock

TEXTS = ("prompt", "chosen", "rejected", "response_a", "response_b")
ANSWER = {"prompt", "response", "score"}
DUEL = ("response_a", "response_b", "winner", "model_a", "model_b")
OTHERS: dict[str, Kind] = {
    "system": "text",
    "input": "text",
    "earlier": "earlier",
    "tools": "tools",
    "winner": "label",
    "chosen_score": "number",
    "rejected_score": "number",
    "strength": "number",
    "chosen_model": "label",
    "rejected_model": "label",
    "model_a": "label",
    "model_b": "label",
}
# Labels of a winner column for a, b or a tie. Numbers must be mapped by the user (source.winners); an unknown label
# counts as no preference, which the ledger records.
WINNERS = {"a": ("a", "model_a", "response_a"), "b": ("b", "model_b", "response_b")}
TIES = ("tie", "tie (bothbad)", "both_bad", "bothbad", "both", "neither", "equal", "same", "")


def fields(columns: Columns, mapping: Mapping[str, str]) -> dict[str, Field]:
    """Return the fields named by the mapping. Raise RecipeError for an unknown field or a missing column."""
    found: dict[str, Field] = {}
    for name, column in mapping.items():
        if name not in TEXTS and name not in OTHERS:
            raise unknown("field in source.columns", name, [*TEXTS, *OTHERS])
        if column not in columns:
            raise unknown(f"column for {name}", column, columns)
        found[name] = Field(column, "turns") if name in TEXTS else Field(column, OTHERS[name], needed=False)
    if not ({"chosen", "rejected"} <= set(found) or {"prompt", "response_a", "response_b", "winner"} <= set(found)):
        raise RecipeError("source.columns must name chosen and rejected, or prompt, response_a, response_b and winner")
    if "chosen" in found and (more := [name for name in DUEL if name in found]):
        raise RecipeError(f"source.columns names chosen and rejected, so it cannot name {', '.join(more)}")
    return found


def answers(columns: Columns, mapping: Mapping[str, str]) -> tuple[AnswerRows, dict[str, Field]]:
    """Return the shape and the fields of rows with an answer each. Raise RecipeError as `fields` does."""
    for name, column in mapping.items():
        if name not in ANSWER | {"system", "model"}:
            raise unknown("field of an answer in source.columns", name, [*sorted(ANSWER), "system", "model"])
        if column not in columns:
            raise unknown(f"column for {name}", column, columns)
    named = {name: columns[column] for name, column in mapping.items()}
    measures: tuple[Literal["score", "label"], ...] = ("score", "label")
    for measure in measures:
        shape = AnswerRows("An answer per row.", measure, ("score",))
        if found := shape.fields(named):
            return shape, {field: replace(each, column=mapping[each.column]) for field, each in found.items()}
    raise RecipeError(
        f"source.columns: {mapping['score']} is neither a number nor a label such as true, false, good, bad"
    )


def reach(block: RawBlock, mapping: Mapping[str, str]) -> RawBlock:
    """Add a column for each mapped name with a dot that is a path into an object column."""
    paths = [name for name in mapping.values() if name not in block.columns and name.split(".")[0] in block.columns]
    reached = {path: _follow(block.columns[path.split(".")[0]], path.split(".")[1:]) for path in paths}
    return RawBlock(dict(block.columns) | reached, block.source_row, block.broken)


def to_pairs(frame: pl.DataFrame, winners: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    """Orient by the winner column if there is one, then convert as the preference format does."""
    if "winner" not in frame.columns:
        return preference.to_pairs(frame)
    winner = pl.col("winner")
    wins = {side: winner.is_in([str(v) for v in winners.get(side) or WINNERS[side]]) for side in ("a", "b")}
    better = (
        pl.when(wins["a"])
        .then(pl.lit("a"))
        .when(wins["b"])
        .then(pl.lit("b"))
        .when(winner.str.to_lowercase().is_in(TIES))
        .then(pl.lit("tie"))
    )
    return preference.to_pairs(orient(frame, better))  # it joins `system` and splits whole conversations


def _follow(values: Sequence[Any] | pl.Series, path: Sequence[str]) -> list[Any]:
    for key in path:
        values = [value.get(key) if isinstance(value, dict) else None for value in values]
    return list(values)
