"""
Calls of tools: whether they fit the tools that are offered, arguments the tools' parameters, and results the calls.

Only rows that have calls or results are looked at one by one; blocks without any cost one look at a column of nulls.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from curate.signals.base import RESPONSES, SIDES, Signal
from curate.text.messages import calls_text

Rows = Sequence[Mapping[str, Any]]
TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
    "null": type(None),
}  # fmt: skip


def unknown_tool(pairs: pl.DataFrame, side: str) -> pl.Series:
    """Calls a tool that is not offered; any call where no tools are."""

    def wrong(row: Mapping[str, Any]) -> bool:
        offered = _parameters(row["tools"])
        return any(call["name"] not in offered for call in _calls(row[side]))

    return _where(pairs, _has(pairs, side, "tool_calls"), (side, "tools"), wrong)


def invalid_arguments(pairs: pl.DataFrame, side: str) -> pl.Series:
    """
    Calls an offered tool with arguments that do not fit its parameters: one is missing or unknown, or has another type
    or value than the JSON schema allows (type, enum, const, properties, required, additionalProperties, items).
    """

    def wrong(row: Mapping[str, Any]) -> bool:
        offered = _parameters(row["tools"])
        return any(not _fits(call["arguments"], offered.get(call["name"])) for call in _calls(row[side]))

    return _where(pairs, _has(pairs, side, "tool_calls"), (side, "tools"), wrong)


def result_without_call(pairs: pl.DataFrame, side: str) -> pl.Series:
    """A result of a tool, here or in the prompt, answers no call before it: none has its id, or there are too few."""
    columns = ("prompt",) if side == "prompt" else ("prompt", side)

    def wrong(row: Mapping[str, Any]) -> bool:
        return _is_unmatched([turn for column in columns for turn in row[column] or ()])

    is_result = pl.element().struct.field("role") == "tool"
    some = pl.any_horizontal(pl.col(column).list.eval(is_result).list.any() for column in columns)
    return _where(pairs, pairs.select(some.fill_null(value=False)).to_series(), columns, wrong)


def reasoning_differs() -> pl.Expr:
    """Only one of the responses has reasoning apart from its text (the field `reasoning`)."""
    return has_field("chosen", "reasoning") != has_field("rejected", "reasoning")


def with_calls(table: pl.DataFrame) -> pl.DataFrame:
    """
    Correct what was measured of texts alone: an answer that calls a tool is not empty, and two that call different
    tools, or the same with different arguments, are not identical.

    in : PAIR and signals
    out: the same columns
    """
    if not any(_has(table, side, "tool_calls").any() for side in RESPONSES):
        return table
    differ = calls_text("chosen").ne_missing(calls_text("rejected")).fill_null(value=False)
    empty = {f"{side}_empty": ~has_field(side, "tool_calls").fill_null(value=False) for side in RESPONSES}
    holds = empty | dict.fromkeys(("identical", "identical_normalized"), ~differ)
    return table.with_columns(pl.col(name) & too for name, too in holds.items() if name in table.columns)


def has_field(side: str, name: str) -> pl.Expr:
    """Return whether a message of the side has an optional field; null where there is no side."""
    return pl.col(side).list.eval(pl.element().struct.field(name).is_not_null()).list.any()


def _has(pairs: pl.DataFrame, side: str, name: str) -> pl.Series:
    return pairs.select(has_field(side, name).fill_null(value=False)).to_series()


def _where(
    pairs: pl.DataFrame, some: pl.Series, columns: Sequence[str], wrong: Callable[[Mapping[str, Any]], bool]
) -> pl.Series:
    """Return `wrong` of each row of `some`, false for all others; null where there is no side."""
    found = pairs.select(pl.when(pl.col(columns[0]).is_not_null()).then(pl.lit(value=False))).to_series()
    places = some.arg_true()
    if not len(places):
        return found
    return found.scatter(places, [wrong(row) for row in pairs.filter(some).select(columns).iter_rows(named=True)])


def _calls(turns: Rows | None) -> list[dict[str, Any]]:
    """Return name and arguments of each call in some turns."""
    texts = [turn["tool_calls"] for turn in turns or () if turn["tool_calls"]]
    return [call["function"] for text in texts for call in msgspec.json.decode(text)]


def _parameters(tools: str | None) -> dict[str, Any]:
    """Return the JSON schema of each offered tool's parameters by its name."""
    functions = [tool["function"] for tool in msgspec.json.decode(tools)] if tools else []
    return {function["name"]: function.get("parameters") for function in functions}


def _is_unmatched(turns: Rows) -> bool:
    """Whether a result has no call before it: with its id or, where one of them has none, without a result yet."""
    waiting: Counter[str | None] = Counter()
    for turn in turns:
        if turn["tool_calls"]:
            waiting.update(call.get("id") for call in msgspec.json.decode(turn["tool_calls"]))
        if turn["role"] == "tool":
            number = turn["tool_call_id"]
            answered = [one for one in ((number, None) if number else tuple(waiting)) if waiting[one] > 0]
            if not answered:
                return True
            waiting[answered[0]] -= 1
    return False


def _fits(value: Any, schema: Any) -> bool:
    """
    Whether a value fits a JSON schema, as far as its plain keywords tell; true for a schema that is none.

    A complete validator would follow references to the network and run patterns of the source's choosing.
    """
    if not isinstance(schema, dict):
        return True
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else [value])
    if not _has_type(value, schema.get("type")) or (isinstance(allowed, list) and value not in allowed):
        return False
    if isinstance(value, list):
        return all(_fits(item, schema.get("items")) for item in value)
    return not isinstance(value, dict) or _fit_properties(value, schema)


def _fit_properties(value: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    known, required = schema.get("properties"), schema.get("required")
    known = known if isinstance(known, dict) else {}
    if isinstance(required, list) and any(name not in value for name in required if isinstance(name, str)):
        return False
    # Trainers and endpoints take the listed parameters for all there are.
    is_closed = known and not schema.get("additionalProperties") and not schema.keys() & {"anyOf", "allOf", "oneOf"}
    if is_closed and not value.keys() <= known.keys():
        return False
    return all(_fits(item, known.get(name)) for name, item in value.items())


def _has_type(value: Any, kind: Any) -> bool:
    kinds = [name for name in (kind if isinstance(kind, list) else [kind]) if isinstance(name, str) and name in TYPES]
    if not kinds:
        return True
    if isinstance(value, bool):
        return "boolean" in kinds
    whole = isinstance(value, float) and value.is_integer() and "integer" in kinds
    return whole or any(isinstance(value, TYPES[name]) for name in kinds)


CALLS = (
    Signal.of_calls(unknown_tool, SIDES),
    Signal.of_calls(invalid_arguments, RESPONSES),
    Signal.of_calls(result_without_call, RESPONSES),
)
PAIR = (Signal.of_pair(reasoning_differs),)
