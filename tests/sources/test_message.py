"""Calls of tools, their results, reasoning and offered tools: read in every form, or refused by name."""

import json
from typing import Any

import pytest

import curate
from tests.data import plain

CALL = {"id": "c1", "type": "function", "function": {"name": "oven", "arguments": {"dish": "pizza", "at": 2}}}
ASKED = [{"role": "user", "content": "How hot?"}]
ANSWER = [{"role": "assistant", "content": "220 degrees."}]
REJECTED = [{"role": "assistant", "content": "No idea."}]


def read(chosen: Any, prompt: Any = ASKED, **more: Any) -> tuple[Any, str | None]:
    """Return the one pair that is read (prompt, chosen, tools), or its problem."""
    row = {"prompt": prompt, "chosen": chosen, "rejected": REJECTED, **more}
    pairs, problems = curate.read([row], errors="return")
    if len(problems):
        return None, ": ".join(problems.select("problem", "detail").row(0))
    found = pairs.row(0, named=True)
    return (plain(found["prompt"]), plain(found["chosen"]), found["tools"]), None


def calling(**fields: Any) -> list[dict[str, Any]]:
    return [{"role": "assistant", **fields}]


def written(*calls: dict[str, Any]) -> str:
    return json.dumps(calls, separators=(",", ":"))


@pytest.mark.parametrize(
    "fields",
    [
        {"content": "", "tool_calls": [CALL]},
        {"content": None, "tool_calls": [CALL]},
        {"tool_calls": [CALL]},
        {"content": "", "tool_calls": json.dumps([CALL])},
        {"content": "", "tool_calls": [json.dumps(CALL)]},
        {"content": "", "tool_calls": CALL},
        {
            "content": "",
            "tool_calls": [{**CALL, "function": {"name": "oven", "arguments": '{"dish": "pizza", "at": 2}'}}],
        },
        {"content": "", "tool_calls": [{"id": "c1", "name": "oven", "arguments": {"dish": "pizza", "at": 2}}]},
    ],
)
def test_calls_in_every_form(fields: dict[str, Any]) -> None:
    (_, chosen, _), _ = read(calling(**fields))
    assert chosen == [{"role": "assistant", "content": "", "tool_calls": written(CALL)}]


def test_a_call_keeps_its_text_and_the_order_of_its_arguments() -> None:
    (_, chosen, _), _ = read(
        calling(content="Let me look.", function_call={"name": "f", "arguments": '{"z":1,"a":null}'})
    )
    assert chosen == [
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": '[{"type":"function","function":{"name":"f","arguments":{"z":1,"a":null}}}]',
        }
    ]


@pytest.mark.parametrize(
    "calls",
    ["look it up", 3, [3], [{"id": "1"}], [{"type": "retrieval", "name": "f"}], [{"name": "f", "arguments": "x"}]],
)
def test_what_is_no_call_is_refused(calls: Any) -> None:
    _, problem = read(calling(content="a", tool_calls=calls))
    assert problem == "not_supported: chosen: message 1 has a call of a tool that cannot be read: it would be lost"


@pytest.mark.parametrize("key", ["reasoning", "reasoning_content", "thinking"])
def test_reasoning(key: str) -> None:
    (_, chosen, _), _ = read(calling(content="a", **{key: "hm"}))
    assert chosen == [{"role": "assistant", "content": "a", "reasoning": "hm"}]
    _, problem = read(calling(content="a", **{key: [{"text": "hm"}]}))
    assert problem == "not_supported: chosen: message 1 has reasoning that is a list instead of text: it would be lost"


def test_a_thought_in_the_text_stays_there() -> None:
    (_, chosen, _), _ = read(calling(content="<think>hm</think>a"))
    assert chosen == [{"role": "assistant", "content": "<think>hm</think>a"}]


@pytest.mark.parametrize(("call", "result"), [("function_call", "observation"), ("tool_call", "tool_response")])
def test_turns_of_their_own_are_calls_and_results(call: str, result: str) -> None:
    turns = [
        {"from": "human", "value": "How hot?"},
        {"from": call, "value": '{"name": "oven", "arguments": {"dish": "pie"}}'},
        {"from": result, "value": "220"},
    ]  # fmt: skip
    whole = {side: [*turns, {"from": "gpt", "value": side}] for side in ("chosen", "rejected")}
    (pair,) = curate.read([whole]).to_dicts()
    assert plain(pair["prompt"]) == [
        {"role": "user", "content": "How hot?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": '[{"type":"function","function":{"name":"oven","arguments":{"dish":"pie"}}}]',
        },
        {"role": "tool", "content": "220"},
    ]
    assert plain(pair["chosen"]) == [{"role": "assistant", "content": "chosen"}]


def test_a_result_says_which_call_it_answers() -> None:
    result = {"role": "tool", "content": "220", "name": "oven", "tool_call_id": "c1"}
    (prompt, _, _), _ = read(ANSWER, [*ASKED, *calling(content="", tool_calls=[CALL]), result])
    assert prompt[-1] == result


OFFERED = '[{"type":"function","function":{"name":"oven","parameters":{"type":"object"}}}]'


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("tools", json.loads(OFFERED), OFFERED),
        ("tools", OFFERED, OFFERED),
        ("tools", json.dumps([{"name": "oven", "parameters": {"type": "object"}}]), OFFERED),
        ("functions", [{"name": "oven", "parameters": {"type": "object"}}], OFFERED),
        ("tools", [], None), ("tools", "[]", None), ("tools", None, None), ("tools", "", None),
    ],
)  # fmt: skip
def test_offered_tools(column: str, value: Any, expected: str | None) -> None:
    (_, _, tools), _ = read(ANSWER, **{column: value})
    assert tools == expected


@pytest.mark.parametrize(
    "more", [{"images": ["a.png"]}, {"image": {"path": "a.png"}}, {"tools": [{"description": "?"}]}]
)
def test_what_cannot_be_carried_is_refused_by_name(more: dict[str, Any]) -> None:
    _, problem = read(ANSWER, **more)
    assert problem is not None
    assert problem.startswith(f"not_supported: {next(iter(more))}: ")


def test_ids_tell_calls_reasoning_and_tools_apart() -> None:
    chosen = [
        calling(content=""), calling(content="", tool_calls=[CALL]), calling(content="", reasoning="hm"),
        calling(content="", name="a"), calling(content="", tool_call_id="a"),
    ]  # fmt: skip
    rows: list[dict[str, Any]] = [{"prompt": ASKED, "chosen": side, "rejected": REJECTED} for side in chosen]
    rows.append({**rows[0], "tools": OFFERED})
    pairs = curate.read(rows)
    assert pairs["pair_id"].n_unique() == len(rows)
    assert pairs["prompt_id"].n_unique() == 2  # other tools are another prompt
