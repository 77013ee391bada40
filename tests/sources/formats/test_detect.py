"""A dataset's format is detected from its columns and first values; no format is mistaken for another."""

from typing import Any

import polars as pl
import pytest

from curate.errors import InputError, RecipeError
from curate.schema import MESSAGES, PAIR
from curate.sources.formats import EVAL_SETS, FORMATS, detect, reward_bench
from tests.sources.formats.test_answers import ANSWERS
from tests.staged import Row, assistant, block_of, user

TALK = "\n\nHuman: q\n\nAssistant: a"
OWN = dict.fromkeys(PAIR) | {"prompt": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]}
ROWS: dict[str, list[Row]] = {
    "prefcurate": [OWN, OWN | {"more": 1}],
    "alpaca_eval": [{"instruction": "q", "output_1": "a", "output_2": "b", "preference": 1, "input": "x", "label": 1}],
    "llmbar": [{"input": "q", "output_1": "a", "output_2": "b", "label": 1}],
    "arena_55k": [
        {
            "prompt": '["q"]',
            "response_a": '["a"]',
            "response_b": '["b"]',
            "winner_model_a": 1,
            "winner_model_b": 0,
            "winner_tie": 0,
        }
    ],
    "hh_rlhf": [
        {"chosen": TALK, "rejected": TALK},
        {"chosen": "Human: q\n\nAssistant: a", "rejected": ""},
        {"chosen": " \nAssistant: a", "rejected": None, "topic": 3},
    ],
    "reward_bench": [dict.fromkeys(reward_bench.MARKS, "x")],
    "reward_bench_2": [
        {"prompt": "q", "chosen": ["a"], "rejected": ["b", "c"], "num_correct": 1, "num_incorrect": 2, "subset": "s"}
    ],
    "judge_bench": [
        {"question": "q", "response_A": "a", "response_B": "b", "label": "A>B", "pair_id": 1, "original_id": 2}
        | {"response_model": "m"}
    ],
    "helpsteer2_preference": [{"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": -3}],
    "helpsteer3": [{"context": [user("q")], "response1": "a", "response2": "b", "overall_preference": 0}],
    "pku_saferlhf": [
        {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0, "safer_response_id": 1}
    ],
    "shp": [{"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 0, "score_A": 1, "score_B": 2}],
    "arena": [{"conversation_a": [user("q")], "conversation_b": [user("q")], "winner": "tie (bothbad)", "turn": 1}],
    "unified_feedback": [{"conv_A": [user("q")], "conv_B": [user("q")], "conv_A_rating": 1.0, "conv_B_rating": 0.0}],
    "preference_collection": [
        {
            "orig_instruction": "q",
            "orig_response_A": "a",
            "orig_response_B": "b",
            "orig_preference": "B",
            "instruction": "x",
        }
    ],
    "two_answers": [
        {"prompt": "q", "response_a": "a", "response_b": "b", "winner": w} for w in ("model_a", "B", "tie")
    ],
    "two_answers_from_1": [{"prompt": "q", "response_1": "a", "response_2": "b", "preference": 2}],
    "two_answers_from_0": [{"prompt": "q", "response_0": "a", "response_1": "b", "preference": "0"}],
    "response_ab_scores": [{"prompt": "q", "response_a": "a", "response_b": "b", "score_a": 1, "score_b": "2"}],
    "webgpt": [{"question": {"full_text": "q"}, "answer_0": "a", "answer_1": "b", "score_0": 0.5, "score_1": -0.5}],
    "correct_answers": [{"prompt": "q", "chosen": ["a"], "rejected": ["b", "c"]}],
    "preference": [
        {"chosen": "a", "rejected": "b"},
        {"chosen": "a Human: b", "rejected": "b"},
        {"chosen": TALK, "rejected": TALK, "prompt": "q"},
        {"chosen": [user(TALK)], "rejected": [user(TALK)]},
        {"chosen": None, "rejected": None},
        OWN | {"prompt": "q", "chosen": "a", "rejected": "b"},  # only the names of our columns
        {name: value for name, value in OWN.items() if name != "strength"},
        {"prompt": "q", "chosen": ["a"], "rejected": ["b"]},
    ],
    **{name: [rows[0]] for name, (rows, _) in ANSWERS.items() if name != "correct_answers"},
}


@pytest.mark.parametrize(("name", "row"), [(name, row) for name, rows in ROWS.items() for row in rows])
def test_a_dataset_has_one_format(name: str, row: Row) -> None:
    assert detect(block_of(row).columns).name == name


def test_every_format_is_tested() -> None:
    assert set(EVAL_SETS) <= set(FORMATS)
    assert sorted(ROWS) == sorted(FORMATS)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([None, "", 3, TALK], "hh_rlhf"),
        (["Lead in.", TALK, TALK], "hh_rlhf"),
        ([TALK, "Lead in."], "hh_rlhf"),  # half of them
        ([TALK, "Lead in.", "Lead in."], "preference"),
        (["", None], "preference"),
        ([TALK] * 10 + ["Lead in."] * 11, "hh_rlhf"),  # the first twenty decide
        (["Human: is a word", "a", "b"], "preference"),
        ([3, [], TALK], "hh_rlhf"),
        ([3, [user("q")], TALK], "preference"),
    ],
)
def test_junk_in_the_first_rows_does_not_decide(values: list[Any], name: str) -> None:
    assert detect({"chosen": values, "rejected": values}).name == name


def test_a_table_is_detected_by_its_column_types() -> None:
    talk = pl.Series([None, [user("q")]], dtype=MESSAGES)
    assert detect({"chosen": talk, "rejected": talk}).fields["chosen"].kind == "turns"
    assert detect({"chosen": pl.Series([None, TALK]), "rejected": pl.Series(["", ""])}).name == "hh_rlhf"
    assert detect({"chosen": pl.Series([1]), "rejected": pl.Series([2])}).fields["chosen"].kind == "turns"


def test_a_requested_format_takes_precedence_over_detection() -> None:
    columns = {"chosen": [TALK], "rejected": [TALK]}
    assert [detect(columns, name).name for name in (None, "hh_rlhf", "preference")] == [
        "hh_rlhf",
        "hh_rlhf",
        "preference",
    ]


@pytest.mark.parametrize(
    ("columns", "name", "message"),
    [
        (
            {"chosen": ["a"], "rejected": ["b"]},
            "llmbar",
            "the columns chosen, rejected do not match the format llmbar. ",
        ),
        (
            {"chosen": ["a"], "rejected": ["b"]},
            "hh_rlhf",
            "the columns chosen, rejected do not match the format hh_rlhf",
        ),
        ({}, None, "no columns match no known format: there is nothing to read"),
    ],
)
def test_columns_of_no_format(columns: dict[str, list[str]], name: str | None, message: str) -> None:
    with pytest.raises(InputError) as caught:
        detect(columns, name)
    assert str(caught.value).startswith(message)
    assert "Name them: --columns prompt=…,chosen=…,rejected=…" in str(caught.value)


def test_an_unknown_format() -> None:
    with pytest.raises(RecipeError, match=r"unknown format 'lmbar'\. Did you mean 'llmbar'\? Known: alpaca_eval, "):
        detect({}, "lmbar")
