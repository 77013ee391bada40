"""TRL's preference types and similar ones: with or without a prompt, as texts or messages, repaired where needed."""

import json
from typing import Any

import pytest

from tests.staged import Row, assistant, problem, staged, system, texts, user

A, B = [assistant("a")], [assistant("b")]
Q = [user("q")]
EXPECTED = ("user: q", "assistant: a", "assistant: b")
SHARED = [user("p"), assistant("o"), user("q")]  # turns before the last user turn


def one(**columns: Any) -> Row:
    """Return the row as a pair. The row next to it cannot become one; neither affects the other."""
    good, bad = staged(columns, dict.fromkeys(columns))
    assert good["problem"] is None
    assert bad["problem"] is not None
    return good


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"prompt": "q", "chosen": "a", "rejected": "b"}, id="explicit, texts"),
        pytest.param({"prompt": Q, "chosen": A, "rejected": B}, id="explicit, messages"),
        pytest.param({"prompt": "q", "chosen": A, "rejected": B}, id="prompt as text, messages"),
        pytest.param({"prompt": Q, "chosen": "a", "rejected": "b"}, id="prompt as messages, texts"),
        pytest.param({"prompt": "q", "chosen": "a", "rejected": B}, id="each side of another kind"),
        pytest.param({"chosen": "q a", "rejected": "q b"}, id="implicit, texts"),
        pytest.param({"chosen": Q + A, "rejected": Q + B}, id="implicit, messages"),
        pytest.param({"prompt": "q", "chosen": Q + A, "rejected": Q + B}, id="prompt as text, conversations"),
        pytest.param({"prompt": Q, "chosen": Q + A, "rejected": Q + B}, id="prompt as messages, conversations"),
        pytest.param({"prompt": None, "chosen": Q + A, "rejected": Q + B}, id="null prompt, conversations"),
        pytest.param({"prompt": Q, "chosen": Q + A, "rejected": B}, id="one side a conversation"),
        pytest.param({"prompt": "q", "chosen": A, "rejected": Q + B}, id="the other side a conversation"),
        *(
            pytest.param({name: "q", "chosen": "a", "rejected": "b"}, id=f"prompt called {name}")
            for name in ("instruction", "question", "query", "input", "context")
        ),
    ],
)
def test_one_turn_each(columns: dict[str, Any]) -> None:
    assert texts(one(**columns)) == EXPECTED


@pytest.mark.parametrize("prompt", [{}, {"prompt": "p"}, {"prompt": "q"}, {"prompt": SHARED}, {"prompt": SHARED[2:]}])
def test_shared_turns_move_to_the_prompt(prompt: dict[str, Any]) -> None:
    row = one(chosen=SHARED + A, rejected=SHARED + B, **prompt)
    assert texts(row) == ("user: p | assistant: o | user: q", "assistant: a", "assistant: b")


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        pytest.param([system("s"), user("q")], "system: s | user: q", id="a system turn"),
        pytest.param(SHARED, "user: p | assistant: o | user: q", id="an earlier dialogue"),
        pytest.param([user("q"), assistant("o"), user("q")], "user: q | assistant: o | user: q", id="q asked twice"),
        pytest.param([system("s")], "system: s | user: q", id="a system turn alone"),
        pytest.param([user("p")], "user: p | user: q", id="another question"),
        pytest.param([system("s"), user("p")], "system: s | user: p | user: q", id="a system turn, another question"),
        pytest.param(" ", "user: q", id="a blank text"),
        pytest.param("p", "user: p | user: q", id="another question as text"),
    ],
)
def test_prompt_turns_that_the_conversation_does_not_repeat_stay_before_it(prompt: Any, expected: str) -> None:
    assert texts(one(prompt=prompt, chosen=Q + A, rejected=Q + B)) == (expected, "assistant: a", "assistant: b")


def test_one_side_is_a_conversation_that_does_not_start_with_the_prompt() -> None:
    row = staged({"prompt": "q", "chosen": SHARED + A, "rejected": B})[0]
    assert problem(row) == NO_PROMPT


def test_conversations_that_diverge_before_their_last_turn() -> None:
    row = one(chosen=[*Q, *A, user("r"), *B], rejected=[*Q, *B, user("r"), *A])
    assert texts(row) == ("user: q", "assistant: a | user: r | assistant: b", "assistant: b | user: r | assistant: a")


def test_equal_conversations_keep_their_last_turn() -> None:
    assert texts(one(chosen=SHARED + A, rejected=SHARED + A)) == (
        "user: p | assistant: o | user: q",
        "assistant: a",
        "assistant: a",
    )


def test_a_system_turn_is_shared_too() -> None:
    row = one(chosen=[system("s"), *Q, *A], rejected=[system("s"), *Q, *B])
    assert texts(row) == ("system: s | user: q", "assistant: a", "assistant: b")


def test_a_prompt_of_a_system_turn_that_the_conversation_repeats() -> None:
    row = one(prompt=[system("s")], chosen=[system("s"), *Q, *A], rejected=[system("s"), *Q, *B])
    assert texts(row) == ("system: s | user: q", "assistant: a", "assistant: b")


def test_sharegpt_conversations() -> None:
    talk = [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}]
    row = one(chosen=[*talk, {"from": "gpt", "value": "a"}], rejected=[*talk, {"from": "gpt", "value": "b"}])
    assert texts(row) == ("system: s | user: q", "assistant: a", "assistant: b")


@pytest.mark.parametrize(
    ("columns", "prompt"),
    [
        pytest.param({"system": "s"}, "system: s | user: q", id="system"),
        pytest.param({"system_prompt": "s"}, "system: s | user: q", id="system_prompt"),
        pytest.param({"system": " "}, "user: q", id="blank system"),
        pytest.param({"system": None}, "user: q", id="null system"),
        pytest.param({"input": "data"}, "user: q\n\ndata", id="input"),
        pytest.param({"input": ""}, "user: q", id="blank input"),
        pytest.param({"input": None}, "user: q", id="null input"),
        pytest.param({"system": "s", "input": "data"}, "system: s | user: q\n\ndata", id="both"),
    ],
)
@pytest.mark.parametrize(
    "pair",
    [{"prompt": "q", "chosen": "a", "rejected": "b"}, {"prompt": Q, "chosen": Q + A, "rejected": Q + B}],
    ids=["texts", "conversations"],
)
def test_system_and_input_are_added_to_the_prompt(columns: dict[str, Any], prompt: str, pair: dict[str, Any]) -> None:
    row = one(**pair, **columns)
    assert texts(row) == (prompt, "assistant: a", "assistant: b")
    assert row["extra"] is None


def test_input_is_added_to_the_last_turn_of_a_dialogue() -> None:
    row = one(prompt=[system("s"), *SHARED], input="data", chosen="a", rejected="b")
    assert texts(row)[0] == "system: s | user: p | assistant: o | user: q\n\ndata"


def test_a_system_turn_of_the_conversation_comes_before_the_column() -> None:
    talk = [system("turn"), *Q]
    assert texts(one(system="column", chosen=talk + A, rejected=talk + B))[0] == "system: turn | user: q"


def test_input_alone_is_the_prompt() -> None:
    assert texts(one(system="s", input="q", chosen="a", rejected="b"))[0] == "system: s | user: q"


def test_the_first_of_several_names_is_the_prompt_and_the_others_are_kept() -> None:
    row = one(question="other", prompt="q", chosen="a", rejected="b")
    assert (row["prompt"], row["extra"]) == ("user: q", '{"question":"other"}')


def test_argillas_columns() -> None:
    row = one(**{
        "source": "evol", "prompt": "q", "chosen": Q + A, "chosen-rating": 4.5, "chosen-model": "big",
        "rejected": Q + B, "rejected-rating": "N/A", "rejected-model": "small",
    })  # fmt: skip
    assert texts(row) == EXPECTED
    assert (row["chosen_score"], row["rejected_score"]) == (4.5, None)
    assert (row["chosen_model"], row["rejected_model"]) == ("big", "small")
    assert (row["source"], json.loads(row["extra"])) == ("s", {"source": "evol"})


@pytest.mark.parametrize(
    "name", ["chosen_score", "score_chosen", "chosen-rating", "chosen_rating", "chosen_avg_rating"]
)
def test_names_of_scores(name: str) -> None:
    rejected = name.replace("chosen", "rejected")
    row = one(prompt="q", chosen="a", rejected="b", **{name: "7", rejected: 3})
    assert (row["chosen_score"], row["rejected_score"], row["extra"]) == (7.0, 3.0, None)


@pytest.mark.parametrize("name", ["chosen_model", "chosen-model", "model_chosen", "chosen_policy"])
def test_names_of_models(name: str) -> None:
    row = one(prompt="q", chosen="a", rejected="b", **{name: "big"})
    assert (row["chosen_model"], row["rejected_model"], row["extra"]) == ("big", None, None)
    assert one(prompt="q", chosen="a", rejected="b", **{name: None})["chosen_model"] is None


def test_scores_do_not_swap_a_pair() -> None:
    row = one(prompt="q", chosen="a", rejected="b", chosen_score=1, rejected_score=5)
    assert (*texts(row), row["chosen_score"]) == (*EXPECTED, 1.0)


NO_PROMPT = ("missing_prompt", "no prompt column, and chosen and rejected share no user turn")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"prompt": None, "chosen": "a", "rejected": "b"}, NO_PROMPT),
        ({"chosen": "yes", "rejected": "no"}, NO_PROMPT),
        ({"chosen": A, "rejected": B}, NO_PROMPT),
        ({"chosen": Q + A, "rejected": [user("other"), *B]}, NO_PROMPT),
        ({"chosen": Q, "rejected": Q + B}, ("no_assistant_turn", "chosen has no turn of the assistant")),
        ({"prompt": Q, "chosen": A, "rejected": Q}, ("no_assistant_turn", "rejected has no turn of the assistant")),
        ({"chosen": "q a", "rejected": B}, NO_PROMPT),
        ({"chosen": A, "rejected": "q b"}, NO_PROMPT),
        ({"chosen": [system("s"), *A], "rejected": [system("s"), *B]}, NO_PROMPT),
        ({"system": "s", "chosen": A, "rejected": B}, NO_PROMPT),
        ({"prompt": [], "chosen": A, "rejected": B}, ("no_messages", "prompt: the list of messages is empty")),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, ("not_text", "prompt: a number where text should be")),
        ({"prompt": "q", "chosen": "a", "rejected": None}, ("missing_rejected", "rejected: null")),
        ({"prompt": "q", "chosen": None, "rejected": Q + B}, ("missing_chosen", "chosen: null")),
        ({"prompt": "q", "chosen": Q + A, "rejected": []}, ("no_messages", "rejected: the list of messages is empty")),
        ({"system": 3, "chosen": "q a", "rejected": "q b"}, ("not_text", "system: a number where text should be")),
    ],
)
def test_an_unusable_row_keeps_its_position(columns: dict[str, Any], expected: tuple[str, str]) -> None:
    rows = staged(columns, columns)
    assert [(row["source_row"], *problem(row)) for row in rows] == [(0, *expected), (1, *expected)]


def test_a_row_without_a_response_keeps_its_prompt() -> None:
    row = staged({"prompt": "q", "chosen": None, "rejected": B})[0]
    assert (row["prompt"], *problem(row)) == ("user: q", "missing_chosen", "chosen: null")


def test_texts_among_messages_are_read() -> None:
    rows = staged(
        {"chosen": Q + A, "rejected": Q + B}, {"chosen": "a", "rejected": "b"}, {"chosen": "q a", "rejected": "q b"}
    )
    assert [problem(row)[0] for row in rows] == [None, "missing_prompt", None]
    assert [texts(row) for row in rows[::2]] == [EXPECTED, EXPECTED]


def test_junk_before_the_first_good_row_does_not_hide_it() -> None:
    junk = {"prompt": 5, "chosen": [], "rejected": {"a": 1}}
    messages = staged(junk, {"prompt": Q, "chosen": A, "rejected": B})
    plain = staged(junk, {"prompt": "q", "chosen": "a", "rejected": "b"})
    assert [texts(rows[1]) for rows in (messages, plain)] == [EXPECTED, EXPECTED]
    assert [problem(rows[0])[0] for rows in (messages, plain)] == ["no_messages", "no_messages"]


def test_empty_texts_are_pairs_which_a_rule_may_drop() -> None:
    row = one(prompt="", chosen="", rejected="b")
    assert texts(row) == ("user: ", "assistant: ", "assistant: b")


def test_tools_beside_the_messages_of_a_prompt() -> None:
    offered = [{"type": "function", "function": {"name": "brew", "parameters": {}}}]
    asked = [{"messages": Q, "tools": offered}, {"messages": Q}]
    rows = staged(*({"input": one, "preferred_output": A, "non_preferred_output": B} for one in asked))
    assert [texts(row) for row in rows] == [EXPECTED] * 2
    assert [json.loads(row["tools"] or "null") for row in rows] == [offered, None]
