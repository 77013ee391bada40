"""A text or a conversation in any of the forms in which public datasets write one, row by row."""

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.schema import MESSAGES
from curate.sources.readers import read_turns
from tests.staged import Row, assistant, line, staged, texts, user

TALK = [user("q"), assistant("a")]
EXPECTED = ("user: q", "assistant: a", "assistant: b")


def read(value: Any) -> str | None:
    """Return the turns of one value as a line, or its problem."""
    rows, problems = read_turns([value])
    assert rows.dtype == MESSAGES
    return line(rows.to_list()[0]) if not problems else f"{problems[0].rule}: {problems[0].detail}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain text", "None: plain text"),
        ("", "None: "),
        (None, None),
        (TALK, "user: q | assistant: a"),
        (user("q"), "user: q"),
        ({"from": "gpt", "value": "a"}, "assistant: a"),
        ({"role": "assistant", "text": "a"}, "assistant: a"),
        ({"messages": TALK}, "user: q | assistant: a"),
        ({"conversations": [{"from": "human", "value": "q"}], "id": 3}, "user: q"),
        (["only"], "None: only"),
        ([["q", "a"], ["r", "c"]], "user: q | assistant: a | user: r | assistant: c"),
        ([{"input": "q", "output": "a"}], "user: q | assistant: a"),
        ([{"role": "user", "content": [{"type": "text", "value": "q"}]}], "user: q"),
        ({"full_text": "q", "dataset": "eli5"}, "None: q"),
        (json.dumps(TALK), "user: q | assistant: a"),
        (json.dumps({"messages": TALK}), "user: q | assistant: a"),
        (str(TALK), "user: q | assistant: a"),  # a Python literal, as pandas writes it
        (f" {json.dumps(user('q'))}\n", "user: q"),
        ('{"role": "user"}', 'None: {"role": "user"}'),  # says nothing
        ("[1, 2]", "None: [1, 2]"),
        ('{"a": [1]}', 'None: {"a": [1]}'),
        ("[not json]", "None: [not json]"),
        ("['role': {]", "None: ['role': {]"),
        (3, "not_text: a number where text should be"),
        ([], "no_messages: the list of messages is empty"),
        (["a", "b"], "not_messages: 2 texts in a list; whose turn each one is cannot be told"),
        (
            [assistant("a") | {"tool_calls": [{"id": "1"}]}],
            "not_supported: message 1 has a call of a tool that cannot be read: it would be lost",
        ),
        ([assistant("a") | {"tool_calls": None, "images": []}], "assistant: a"),
        (
            [user("q"), assistant("a") | {"audio": {"id": "x"}}],
            "not_supported: message 2 has audio, which would be lost; only text is supported",
        ),
        (
            {"messages": TALK, "tools": [{"name": "f"}]},
            "not_supported: it has tools, which would be lost; only text is supported",
        ),
        ({"messages": TALK, "tools": []}, "user: q | assistant: a"),
        (
            [{"role": "wizard", "content": "x"}],
            "unknown_role: message 1 has the role 'wizard'; known: system, developer, user, assistant, tool",
        ),
    ],
)
def test_forms_of_a_value(value: Any, expected: str | None) -> None:
    assert read(value) == expected


def test_a_column_of_texts_is_read_as_a_list_is() -> None:
    values = ["plain", json.dumps(TALK), None, '[{"role": "x", "content": "y"}]', "[", ""]
    column, problems = read_turns(pl.Series(values))
    listed, same = read_turns([*values, 3])
    assert column.equals(listed.head(6))
    assert problems.keys() == {3} == same.keys() - {6}


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "messages", "from", "value", "input", "output"]), inner)
    ),
    max_leaves=10,
)


@given(st.lists(ANY, max_size=4))
def test_no_value_is_an_exception(values: list[Any]) -> None:
    for given_values in (values, [json.dumps(value) for value in values], [str(value) for value in values]):
        rows, problems = read_turns(given_values)
        assert (len(rows), rows.dtype) == (len(values), MESSAGES)
        assert all(rows[place] is None for place in problems)


PAIR = {"chosen": "a", "rejected": "b"}
LITERAL = {side: json.dumps([user("q"), assistant(text)]) for side, text in PAIR.items()}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"problem": "q", **PAIR}, "user: q"),
        ({"messages": [user("q")], **PAIR}, "user: q"),
        ({"trajectory": [{"from": "user", "value": "q"}], **PAIR}, "user: q"),
        (
            {"conversations": [{"from": "human", "value": "q"}]}
            | {side: {"from": "gpt", "value": text} for side, text in PAIR.items()},
            "user: q",
        ),
        ({"prompt": "q", "chosen": ["a"], "rejected": ["b"]}, "user: q"),
        ({"prompt": "q", **LITERAL}, "user: q"),
        (LITERAL, "user: q"),
        ({"prompt": "q", "chosen": "q\na", "rejected": "q\nb"}, "user: q"),
        ({"prompt": "q", "history": [], **PAIR}, "user: q"),
        ({"prompt": "q", "history": [["x", "y"]], **PAIR}, "user: x | assistant: y | user: q"),
        ({"prompt": "q", "messages": [user("x"), assistant("y")], **PAIR}, "user: x | assistant: y | user: q"),
        ({"prompt": "q", "messages": [user("q"), assistant("a")], **PAIR}, "user: q"),  # the whole conversation
        ({"question": "q", "schema": "CREATE TABLE t", **PAIR}, "user: q\n\nCREATE TABLE t"),
        ({"prompt": "q", "initial_reason_steps": "Step 1", **PAIR}, "user: q\n\nStep 1"),
        ({"instruction": "q", "input": "i", "system": "s", **PAIR}, "system: s | user: q\n\ni"),
        ({"prompt": "q", "images": [], "tools": None, "status": "swapped", **PAIR}, "user: q"),
        ({"instruction": "q", "accepted": "a", "rejected": "b"}, "user: q"),
        ({"question": "q", "response_j": "a", "response_k": "b"}, "user: q"),
        ({"instruction": "q", "chosen_response": "a", "rejected_response": "b"}, "user: q"),
        (
            {
                "input": {"messages": [user("q")], "tools": []}, "preferred_output": [assistant("a")],
                "non_preferred_output": [assistant("b")],
            },
            "user: q",
        ),
        ({"messages": [user("q"), assistant("a")], "rejected_response": "b"}, "user: q"),
    ],
)  # fmt: skip
def test_what_belongs_to_the_prompt(row: Row, prompt: str) -> None:
    assert texts(staged(row)[0]) == (prompt, "assistant: a", "assistant: b")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"status": "tie"}, "tie"), ({"is_tie": True}, "tie"), ({"winner": "Tie (bothbad)"}, "tie"),
        ({"image": {"bytes": "x"}}, "not_supported"), ({"images": ["a.png"]}, "not_supported"),
        ({"tools": [{"description": "f"}]}, "not_supported"), ({"tools": "a hammer"}, "not_supported"),
    ],
)  # fmt: skip
def test_what_a_column_beside_the_sides_says(more: Row, problem: str) -> None:
    row, plain = staged({"prompt": "q", **PAIR, **more}, {"prompt": "q", **PAIR, **dict.fromkeys(more)})
    assert (row["problem"], plain["problem"]) == (problem, None)
    assert texts(plain) == EXPECTED


@pytest.mark.parametrize(
    "more", [{"winner": "1"}, {"winner": 1}, {"status": True}, {"tie": 0}, {"images": [None]}, {"tools": "[]"}]
)
def test_what_a_column_does_not_say(more: Row) -> None:
    assert texts(staged({"prompt": "q", **PAIR, **more})[0]) == EXPECTED


def test_the_word_of_a_verdict_stays_in_extra() -> None:
    assert json.loads(staged({"prompt": "q", **PAIR, "status": "swapped"})[0]["extra"]) == {"status": "swapped"}


def test_a_question_inside_of_one_answer_only_stays() -> None:
    row = staged({"prompt": "q", "chosen": "q\na", "rejected": "b"})[0]
    assert texts(row) == ("user: q", "assistant: q\na", "assistant: b")
    row = staged({"prompt": "q", "chosen": "quick", "rejected": "quiet"})[0]
    assert texts(row) == ("user: q", "assistant: quick", "assistant: quiet")
