"""Signals of calls: what texts do not tell."""

import json
from typing import Any

import polars as pl
import pytest

from curate.rules import apply_rules, make_rules
from curate.schema import PAIR
from curate.signals import COLUMNS, measure

OVEN = {
    "type": "object",
    "properties": {
        "dish": {"type": "string", "enum": ["pie", "pizza"]},
        "at": {"type": ["integer", "null"]},
        "racks": {"type": "array", "items": {"type": "number"}},
    },
    "required": ["dish"],
}
TOOLS = json.dumps([{"type": "function", "function": {"name": "oven", "parameters": OVEN}}])


def call(name: str = "oven", number: str | None = "c1", content: str = "", **arguments: Any) -> dict[str, Any]:
    known = {"id": number} if number else {}
    calls = [{**known, "type": "function", "function": {"name": name, "arguments": arguments}}]
    return {"role": "assistant", "content": content, "tool_calls": json.dumps(calls, separators=(",", ":"))}


def result(number: str | None = "c1") -> dict[str, Any]:
    return {"role": "tool", "content": "220", "tool_call_id": number}


def measured(
    chosen: dict[str, Any] | str,
    rejected: dict[str, Any] | str = "No idea, sorry.",
    *,
    tools: str | None = TOOLS,
    prompt: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    sides = [{"role": "assistant", "content": side} if isinstance(side, str) else side for side in (chosen, rejected)]
    question = [{"role": "user", "content": "How hot must the oven be?"}]
    pair = {"prompt": [*question, *(prompt or [])], "chosen": sides[:1], "rejected": sides[1:], "tools": tools}
    frame = pl.DataFrame([pair], schema_overrides={name: PAIR[name] for name in pair})
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in PAIR.items() if name not in frame.columns]
    return measure(frame.with_columns(missing)).row(0, named=True)


@pytest.mark.parametrize(("tools", "expected"), [(TOOLS, False), (TOOLS.replace("oven", "fridge"), True), (None, True)])
def test_unknown_tool(tools: str | None, expected: bool) -> None:
    assert measured(call(dish="pie"), tools=tools)["chosen_unknown_tool"] is expected
    assert measured("a", call(dish="pie"), tools=tools)["rejected_unknown_tool"] is expected
    assert measured("a", prompt=[call(dish="pie"), result()], tools=tools)["prompt_unknown_tool"] is expected
    assert measured("a", tools=tools)["chosen_unknown_tool"] is False


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"dish": "pie"}, False), ({"dish": "pie", "at": 3}, False), ({"dish": "pie", "at": 3.0}, False),
        ({"dish": "pie", "at": None}, False), ({"dish": "pie", "racks": [1, 2.5]}, False), ({}, True),
        ({"dish": 3}, True), ({"dish": "soup"}, True), ({"dish": "pie", "at": 3.5}, True),
        ({"dish": "pie", "at": True}, True), ({"dish": "pie", "racks": ["top"]}, True),
        ({"dish": "pie", "of": 1}, True),
    ],
)  # fmt: skip
def test_invalid_arguments(arguments: dict[str, Any], expected: bool) -> None:
    assert measured(call(**arguments))["chosen_invalid_arguments"] is expected


@pytest.mark.parametrize("parameters", [None, {}, True, {"type": "object"}, {"type": "thing", "properties": 3}])
def test_a_schema_that_says_nothing_refuses_nothing(parameters: Any) -> None:
    tools = json.dumps([{"type": "function", "function": {"name": "oven", "parameters": parameters}}])
    assert measured(call(dish=1), tools=tools)["chosen_invalid_arguments"] is False


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ([], False), ([call(), result()], False), ([call(number=None), result(None)], False),
        ([call(), result(None)], False), ([call(number=None), result("c9")], False), ([result()], True),
        ([call(), result("c2")], True), ([call(), result(), result()], True),
        ([call(number="c1"), call(number="c2"), result("c2"), result("c1")], False),
    ],
)  # fmt: skip
def test_result_without_call(prompt: list[dict[str, Any]], expected: bool) -> None:
    assert measured("a", prompt=prompt)["chosen_result_without_call"] is expected


def test_reasoning_on_one_side() -> None:
    thought = {"role": "assistant", "content": "220.", "reasoning": "hm"}
    for chosen, rejected, expected in ((thought, "a", True), (thought, thought, False), ("a", "b", False)):
        found = measured(chosen, rejected)
        assert (found["reasoning_differs"], found["think_differs"]) == (expected, expected)
    both = measured(thought, "<think>hm</think>a")
    assert (both["reasoning_differs"], both["think_differs"]) == (True, False)


def test_an_answer_that_is_a_call_is_not_empty() -> None:
    assert [measured(side)["chosen_empty"] for side in (call(dish="pie"), "", "a")] == [False, True, False]


def test_two_calls_are_identical_when_they_do_the_same() -> None:
    pie, again, pizza = call(dish="pie"), call(number="c2", dish="pie"), call(dish="pizza")
    for rejected, expected in ((again, True), (pizza, False), ("", False)):
        found = measured(pie, rejected)
        assert (found["identical"], found["identical_normalized"]) == (expected, expected)


@pytest.mark.parametrize(
    ("chosen", "rule"),
    [
        (call(dish="pie"), None), (call("fridge"), "no_chosen_unknown_tool"), (call(), "no_chosen_invalid_arguments"),
    ],
)  # fmt: skip
def test_default_rules(chosen: dict[str, Any], rule: str | None) -> None:
    row = pl.DataFrame([measured(chosen)], infer_schema_length=None)
    row = row.with_columns(pl.lit(None, pl.Float64).alias(name) for name in COLUMNS if row.schema[name] == pl.Null)
    assert apply_rules(row, make_rules({}))["rule"][0] == rule
