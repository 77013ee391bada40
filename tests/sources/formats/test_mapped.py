"""Any other columns, mapped by the user."""

import json
from typing import Any

import pytest

from curate.errors import RecipeError
from tests.staged import assistant, problem, staged, system, texts, user

PAIR = {"prompt": "q", "chosen": "good", "rejected": "bad"}
DUEL = {"prompt": "q", "response_a": "left", "response_b": "right", "winner": "who"}
FIRST = ("user: Q", "assistant: a", "assistant: b")
SECOND = ("user: Q", "assistant: b", "assistant: a")


def duel(who: Any, **more: Any) -> dict[str, Any]:
    return {"q": "Q", "left": "a", "right": "b", "who": who} | more


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"q": "Q", "good": "a", "bad": "b"}, PAIR),
        ({"q": [user("Q")], "good": [assistant("a")], "bad": "b"}, PAIR),
        ({"good": "Q a", "bad": "Q b"}, {"chosen": "good", "rejected": "bad"}),
        (
            {"good": [user("Q"), assistant("a")], "bad": [user("Q"), assistant("b")]},
            {"chosen": "good", "rejected": "bad"},
        ),
        ({"in.text": "Q", "good": "a", "bad": "b"}, PAIR | {"prompt": "in.text"}),  # a name with a dot
        ({"in": {"text": {"en": "Q"}}, "good": "a", "bad": "b"}, PAIR | {"prompt": "in.text.en"}),
        ({"q": "Q", "both": {"good": "a", "bad": "b"}}, {"prompt": "q", "chosen": "both.good", "rejected": "both.bad"}),
    ],
)
def test_chosen_and_rejected(row: dict[str, Any], columns: dict[str, str]) -> None:
    assert texts(staged(row, columns=columns)[0]) == FIRST


def test_a_path_to_a_missing_key_is_null() -> None:
    rows = staged(
        *({"in": value, "good": "a", "bad": "b"} for value in ({"text": "Q"}, {"text": None}, {}, None, 5, "Q", ["Q"])),
        columns=PAIR | {"prompt": "in.text"},
    )
    assert [problem(row) for row in rows] == [(None, None), *[("missing_prompt", "in.text: null")] * 6]


def test_an_object_with_a_mapped_field_is_kept_whole() -> None:
    row = staged({"in": {"text": "Q", "id": 3}, "good": "a", "bad": "b"}, columns=PAIR | {"prompt": "in.text"})[0]
    assert json.loads(row["extra"]) == {"in": {"text": "Q", "id": 3}}


def test_all_other_fields_of_a_mapping() -> None:
    more = {name: name[:3] + name[-5:] for name in ("system", "input", "chosen_model", "rejected_model")}
    numbers = {"chosen_score": "n1", "rejected_score": "n2", "strength": "n3"}
    row = {
        "q": "Q",
        "good": "a",
        "bad": "b",
        **{name: f"<{name}>" for name in more.values()},
        "n1": 1,
        "n2": "2",
        "n3": "?",
    }
    found = staged(row, columns=PAIR | more | numbers)[0]
    assert texts(found) == ("system: <sysystem> | user: Q\n\n<inpinput>", "assistant: a", "assistant: b")
    assert [found[name] for name in ("chosen_score", "rejected_score", "strength")] == [1.0, 2.0, None]
    assert [found[name] for name in ("chosen_model", "rejected_model", "extra")] == ["<chomodel>", "<rejmodel>", None]


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("a", FIRST),
        ("model_a", FIRST),
        ("response_a", FIRST),
        ("b", SECOND),
        ("model_b", SECOND),
        ("response_b", SECOND),
    ],
)
def test_a_winner(who: str, expected: tuple[str, ...]) -> None:
    models = {"model_a": "m1", "model_b": "m2"}
    row = staged(duel(who, m1="first", m2="second"), columns=DUEL | models)[0]
    assert texts(row) == expected
    winner = "first" if expected == FIRST else "second"
    assert {row["chosen_model"]: row["chosen"], row["rejected_model"]: row["rejected"]} == {
        "first": "assistant: a",
        "second": "assistant: b",
    }
    assert row["chosen_model"] == winner


@pytest.mark.parametrize("who", ["tie", "tie (bothbad)", "both_bad", "Tie", ""])
def test_ties_are_ties(who: Any) -> None:
    rows = staged(duel("a"), duel(who), duel("b"), columns=DUEL)
    assert [problem(row)[0] for row in rows] == [None, "tie", None]
    assert (texts(rows[0]), texts(rows[2])) == (FIRST, SECOND)


@pytest.mark.parametrize("who", [None, 1, "left", True])
def test_no_winner_or_an_unknown_one_is_no_preference(who: Any) -> None:
    assert [problem(row)[0] for row in staged(duel("a"), duel(who), columns=DUEL)] == [None, "no_preference"]


@pytest.mark.parametrize(
    ("values", "winners"),
    [
        ([0, 1, 2], {"a": ["0"], "b": ["1"]}),
        ([1, 2, 0], {"a": [1], "b": [2]}),
        ([0.0, 1.0, None], {"a": ["0"], "b": ["1"]}),  # a column of integers with nulls
        (["0", "1", "x"], {"a": ["0"], "b": ["1"]}),
        ([True, False, None], {"a": ["true"], "b": ["false"]}),
        (["left", "right", "none"], {"a": ["left", "first"], "b": ["right", "second"]}),
        (["left", "b", "a"], {"a": ["left"]}),  # b keeps its default labels
    ],
)
def test_values_of_the_winner_column_can_be_mapped(values: list[Any], winners: dict[str, list[Any]]) -> None:
    rows = staged(*map(duel, values), columns=DUEL, winners=winners)
    assert [texts(row) for row in rows[:2]] == [FIRST, SECOND]
    assert problem(rows[2])[0] in ("tie", "no_preference")


def test_a_system_column_and_whole_conversations_with_a_winner() -> None:
    left, right = [user("Q"), assistant("a")], [user("Q"), assistant("b")]
    row = staged(duel("b", left=left, right=right, sys="S"), columns=DUEL | {"system": "sys"})[0]
    assert texts(row) == ("system: S | user: Q", "assistant: b", "assistant: a")
    assert system("S")["content"] == "S"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"q": None}, ("missing_prompt", "q: null")),
        ({"left": None}, ("missing_response_a", "left: null")),
        ({"right": 3}, ("not_text", "right: a number where text should be")),
    ],
)
def test_an_unusable_row_keeps_its_position(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    rows = staged(duel("a"), duel("a", **changes), duel("a"), columns=DUEL)
    assert [problem(row) for row in rows] == [(None, None), expected, (None, None)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (PAIR | {"prompt": "qq"}, r"unknown column for prompt 'qq'\. Did you mean 'q'\? Known: bad, good, q"),
        (PAIR | {"prompt": "qq.text"}, r"unknown column for prompt 'qq\.text'"),
        (PAIR | {"promt": "q"}, r"unknown field in source\.columns 'promt'\. Did you mean 'prompt'\?"),
        (
            {"prompt": "q", "chosen": "good"},
            "must name chosen and rejected, or prompt, response_a, response_b and winner",
        ),
        ({"response_a": "good", "response_b": "bad", "winner": "q"}, "must name chosen and rejected, or prompt"),
        (PAIR | {"winner": "q"}, "names chosen and rejected, so it cannot name winner"),
        (PAIR | {"model_a": "q", "model_b": "q"}, "names chosen and rejected, so it cannot name model_a, model_b"),
    ],
)
def test_an_invalid_mapping(columns: dict[str, str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        staged({"q": "Q", "good": "a", "bad": "b"}, columns=columns)


def test_earlier_turns_and_tools() -> None:
    tool = '{"name": "brew", "parameters": {"type": "object", "properties": {}}}'
    row = {"q": "Tea?", "g": "Green.", "b": "No.", "past": "Human: Hi\nAssistant: Hello", "api": f"[{tool}]"}
    columns = {"prompt": "q", "chosen": "g", "rejected": "b", "earlier": "past", "tools": "api"}
    found = staged(row, columns=columns)[0]
    assert texts(found) == ("user: Hi | assistant: Hello | user: Tea?", "assistant: Green.", "assistant: No.")
    assert found["tools"] == f'[{{"type":"function","function":{json.dumps(json.loads(tool), separators=(",", ":"))}}}]'
