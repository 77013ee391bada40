"""Messages in the words of other projects, as expressions over whole columns."""

from typing import Any

import msgspec
import polars as pl

from curate.rundir.file_form import SIDES
from curate.schema import MESSAGES

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


def with_ids_and_texts(pairs: pl.DataFrame) -> pl.DataFrame:
    """
    Return pairs with calls as OpenAI requires them: PAIR's messages -> same.

    The arguments are JSON in a text. A call without an id gets `call_` and its number in the conversation, and a result
    without one that of the first call which has none yet.
    """
    rows = []
    for row in pairs.select(SIDES).iter_rows():
        prompt, open_calls, count = _answered(row[0], [], 0)
        rows.append((prompt, *(_answered(turns, list(open_calls), count)[0] for turns in row[1:])))
    sides = pl.DataFrame(rows, schema=dict.fromkeys(SIDES, MESSAGES), orient="row")
    return pairs.with_columns(sides.get_columns())


def _answered(
    turns: list[dict[str, Any]], open_calls: list[str], count: int
) -> tuple[list[dict[str, Any]], list[str], int]:
    """Return messages with ids and texts, the ids of calls without a result, and the number of calls so far."""
    found = []
    for turn in turns:
        calls = msgspec.json.decode(turn["tool_calls"]) if turn["tool_calls"] else []
        for number, call in enumerate(calls, count + 1):
            text = msgspec.json.encode(call["function"]["arguments"]).decode()
            call |= {"function": call["function"] | {"arguments": text}}
            open_calls.append(call.setdefault("id", f"call_{number}"))
        count += len(calls)
        written = {"tool_calls": msgspec.json.encode(calls).decode()} if calls else {}
        if turn["role"] == "tool" and open_calls:
            answered = turn["tool_call_id"] or open_calls[0]
            written["tool_call_id"] = answered
            open_calls = [each for each in open_calls if each != answered]
        found.append(turn | written)
    return found, open_calls, count


def _bare_calls(calls: pl.Series) -> pl.Series:
    def bare(found: list[dict[str, Any]]) -> Any:
        plain = [{name: call["function"][name] for name in ("name", "arguments")} for call in found]
        return plain[0] if len(plain) == 1 else plain

    return _each(calls, bare)


def _each(calls: pl.Series, change: Any) -> pl.Series:
    """Return JSON with each value changed; a null stays null, and most columns have nothing else."""
    if not calls.count():
        return calls.cast(pl.String)
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
    rows = [None if text is None else encode(change(decode(text))).decode() for text in calls]
    return pl.Series(calls.name, rows, dtype=pl.String)
