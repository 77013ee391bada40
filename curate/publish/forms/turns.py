"""Messages in the words of other projects, as expressions over whole columns."""

from typing import Any

import msgspec
import polars as pl

from curate.rundir.file_form import SIDES
from curate.schema import MESSAGE, MESSAGES

# ShareGPT's names, as LLaMA-Factory reads them; other roles keep theirs.
SPEAKERS = {"user": "human", "assistant": "gpt", "tool": "observation"}
CALL = "function_call"  # a turn of its own, whose text is the call

_field = pl.element().struct.field


def whole(pairs: pl.DataFrame, side: str) -> pl.Series:
    """
    Return conversations: the prompt's turns, then those of an answer.

    Turns are gathered by row; `pl.concat_list` of lists of messages takes ten times as long.
    """
    row = pl.int_range(pl.len()).alias("row")
    parts = [pairs.select(row, turns=name) for name in ("prompt", side)]
    turns = pl.concat(parts).explode("turns", empty_as_null=False, keep_nulls=False)
    gathered = turns.group_by("row", maintain_order=True).agg("turns")
    rows = pairs.select(row).join(gathered, on="row", how="left", maintain_order="left")
    return rows.get_column("turns").alias(side)


def spoken(messages: pl.Expr, *, calls: bool) -> pl.Expr:
    """
    Return messages as ShareGPT writes them: list[message] -> list[struct{from, value}].

    A message with calls of tools (if any has: `calls`) becomes a call as JSON, `{"name": …, "arguments": {…}}` or a
    list of them; its text is not written.
    """
    speaker, value = _field("role").replace(SPEAKERS), _field("content")
    if calls:
        called = _field("tool_calls").is_not_null()
        speaker = pl.when(called).then(pl.lit(CALL)).otherwise(speaker)
        bare = _field("tool_calls").map_batches(_bare_calls, return_dtype=pl.String)
        value = pl.when(called).then(bare).otherwise(value)
    return messages.list.eval(pl.struct(speaker.alias("from"), value.alias("value")))


def with_arguments_as_text(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return pairs in whose calls the arguments are JSON in a text, as OpenAI writes them: PAIR's messages -> same."""
    fields = {name: _field(name) for name in MESSAGE.to_schema()}
    fields["tool_calls"] = fields["tool_calls"].map_batches(_texts_as_arguments, return_dtype=pl.String)
    message = pl.struct(value.alias(name) for name, value in fields.items())
    return pairs.with_columns(pl.col(side).list.eval(message).cast(MESSAGES) for side in SIDES)


def _bare_calls(calls: pl.Series) -> pl.Series:
    def bare(found: list[dict[str, Any]]) -> Any:
        plain = [{name: call["function"][name] for name in ("name", "arguments")} for call in found]
        return plain[0] if len(plain) == 1 else plain

    return _each(calls, bare)


def _texts_as_arguments(calls: pl.Series) -> pl.Series:
    def texts(found: list[dict[str, Any]]) -> Any:
        written = [msgspec.json.encode(call["function"]["arguments"]).decode() for call in found]
        return [
            {**call, "function": {**call["function"], "arguments": text}}
            for call, text in zip(found, written, strict=True)
        ]

    return _each(calls, texts)


def _each(calls: pl.Series, change: Any) -> pl.Series:
    """Return JSON with each value changed; a null stays null, and most columns have nothing else."""
    if not calls.count():
        return calls.cast(pl.String)
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
    rows = [None if text is None else encode(change(decode(text))).decode() for text in calls]
    return pl.Series(calls.name, rows, dtype=pl.String)
