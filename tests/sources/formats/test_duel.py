"""Two responses and a verdict: sets of this kind are rows of one table."""

from typing import Any

import pytest

from curate.errors import InputError
from curate.sources.formats import FORMATS
from curate.sources.formats.duel import DUELS
from tests.staged import assistant, staged, texts, user

BETTER = ("user: q", "assistant: a", "assistant: b")
WORSE = ("user: q", "assistant: b", "assistant: a")
TALK_A, TALK_B = [user("q"), assistant("a")], [user("q"), assistant("b")]
# Rows in which a wins, b wins, and neither does.
ROWS: dict[str, list[dict[str, Any]]] = {
    "helpsteer2_preference": [
        {"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": n} for n in (-3, 1, 0)
    ],
    "helpsteer3": [
        {"context": [user("q")], "response1": "a", "response2": "b", "overall_preference": n} for n in (-1, 3, 0)
    ],
    "pku_saferlhf": [
        {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": n, "safer_response_id": 1 - n}
        for n in (0, 1)
    ],
    "shp": [{"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": n} for n in (1, 0)],
    "arena": [{"conversation_a": TALK_A, "conversation_b": TALK_B, "winner": w} for w in ("model_a", "model_b", "tie")],
    "unified_feedback": [
        {"conv_A": TALK_A, "conv_B": TALK_B, "conv_A_rating": a, "conv_B_rating": b}
        for a, b in ((1, 0), (0, 1), (2, 2))
    ],
    "preference_collection": [
        {
            "orig_instruction": "q",
            "orig_response_A": "a",
            "orig_response_B": "b",
            "orig_preference": w,
            "instruction": "x",
        }
        for w in ("A", "B")
    ],
    "judge_bench": [
        {"question": "q", "response_A": "a", "response_B": "b", "label": w, "pair_id": 1, "original_id": 2}
        | {"response_model": "m"}
        for w in ("A>B", "B>A")
    ],
    "two_answers": [
        {"prompt": "q", "response_a": "a", "response_b": "b", "winner": w} for w in ("Response A", "b", "neither")
    ],
    "two_answers_from_1": [
        {"prompt": "q", "answer_1": "a", "answer_2": "b", "label": w} for w in (1, "answer_2", "tie")
    ],
    "two_answers_from_0": [{"prompt": "q", "output0": "a", "output1": "b", "better": w} for w in (0, 1.0, "draw")],
    "response_ab_scores": [
        {"prompt": "q", "response_a": "a", "response_b": "b", "score_a": a, "score_b": b}
        for a, b in ((2, "1"), (-1, 0.5), (3, 3.0))
    ],
    "webgpt": [
        {"question": {"full_text": "q", "id": "x"}, "answer_0": "a", "answer_1": "b", "score_0": s, "score_1": -s}
        for s in (0.5, -0.5, 0)
    ],
}


def test_every_set_of_the_table_is_tested() -> None:
    assert list(ROWS) == list(DUELS)
    assert set(DUELS) <= set(FORMATS)


@pytest.mark.parametrize("name", ROWS)
def test_the_better_one_is_chosen_and_a_tie_is_none(name: str) -> None:
    rows = staged(*ROWS[name])
    assert [texts(row) for row in rows[:2]] == [BETTER, WORSE]
    assert [row["problem"] for row in rows] == [None, None, "tie"][: len(rows)]


@pytest.mark.parametrize("winner", ["A", "A>B", "[[A]]", "model_a", "left"])
@pytest.mark.parametrize(
    ("a", "b"), [("response_A", "response_B"), ("answer_a", "answer_b"), ("completionA", "completionB")]
)
@pytest.mark.parametrize("name", ["winner", "label", "chosen", "human_preference"])
def test_other_names_and_words(a: str, b: str, name: str, winner: str) -> None:
    (row,) = staged({"prompt": "q", a: "a", b: "b", name: winner})
    assert texts(row) == BETTER


def test_labels_of_sides_are_no_answers() -> None:
    row = {"prompt": "q", "ans_one": "a", "ans_two": "b", "chosen": "A", "rejected": "B"}
    with pytest.raises(InputError, match="says which answer is better"):
        staged(row)


def test_what_the_verdict_says_besides() -> None:
    rows = staged(*ROWS["helpsteer2_preference"])
    assert [row["strength"] for row in rows[:2]] == [1.0, pytest.approx(1 / 3)]
    rows = staged(*ROWS["response_ab_scores"])
    assert [(row["chosen_score"], row["rejected_score"]) for row in rows[:2]] == [(2.0, 1.0), (0.5, -1.0)]
    arena = ROWS["arena"][1] | {"model_a": "m-one", "model_b": "m-two"}
    (row,) = staged(arena)
    assert (row["chosen_model"], row["rejected_model"]) == ("m-two", "m-one")


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("pku_saferlhf", {"better_response_id": 2}),  # from 1?
        ("shp", {"labels": 2}),
        ("two_answers", {"winner": "gpt-4"}),
        ("two_answers", {"winner": 1}),
        ("two_answers", {"winner": None}),
        ("two_answers_from_1", {"label": 0}),
        ("two_answers_from_0", {"better": 2}),
        ("helpsteer2_preference", {"preference_strength": "much better"}),
    ],
)
def test_a_verdict_of_another_kind_is_not_guessed(name: str, verdict: dict[str, Any]) -> None:
    good = ROWS[name][0]
    columns = {column: [value, verdict.get(column, value)] for column, value in good.items()}
    only = {column: [verdict.get(column, value)] for column, value in good.items()}
    assert DUELS[name].fields(only) is None
    assert (DUELS[name].fields(columns) is None) == (verdict != {"winner": None})


def test_turns_of_the_lmsys_competition() -> None:
    def row(asked: str, a: str, b: str, votes: tuple[int, int, int]) -> dict[str, Any]:
        names = ("winner_model_a", "winner_model_b", "winner_tie")
        return {"prompt": asked, "response_a": a, "response_b": b, **dict(zip(names, votes, strict=True))}

    rows = staged(
        row('["q"]', '["a"]', '["b"]', (1, 0, 0)),
        row('["q"]', '["a"]', '["b"]', (0, 1, 0)),
        row('["q"]', '["a"]', '["b"]', (0, 0, 1)),
        row('["q"]', "[null]", '["b"]', (0, 1, 0)),
        row('["q", "r"]', '["a", "c"]', '["b", "d"]', (1, 0, 0)),
        row("q", '["a"]', '["b"]', (1, 0, 0)),
    )
    assert [texts(row) for row in rows[:2]] == [BETTER, WORSE]
    problems = [row["problem"] for row in rows]
    assert problems == [None, None, "tie", "missing_response_a", None, "missing_response_a"]
    assert rows[4]["prompt"] == "user: q"
    assert rows[4]["chosen"] == "assistant: a | user: r | assistant: c"
