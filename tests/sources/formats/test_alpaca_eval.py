"""AlpacaEval annotations: 1 means that the first output is better, 2 the second; values in between are graded."""

import pytest

from tests.staged import assistant, problem, staged, texts, user

ROW = {"instruction": "q", "output_1": "one", "output_2": "two", "generator_1": "m1", "generator_2": "m2"}
FIRST = ("user: q", "assistant: one", "assistant: two")
SECOND = ("user: q", "assistant: two", "assistant: one")
NO_PREFERENCE = ("no_preference", "the source does not say which response is better")


@pytest.mark.parametrize(
    ("preference", "expected", "strength"),
    [
        (1, FIRST, 1.0),
        (1.25, FIRST, 0.5),
        ("1.0", FIRST, 1.0),
        (1.75, SECOND, 0.5),
        (2, SECOND, 1.0),
        (2.0, SECOND, 1.0),
    ],
)
def test_a_graded_preference(preference: object, expected: tuple[str, ...], strength: float) -> None:
    row = staged(ROW | {"preference": preference})[0]
    assert problem(row) == (None, None)
    assert (texts(row), row["strength"]) == (expected, strength)
    models = ("m1", "m2") if expected == FIRST else ("m2", "m1")
    assert (row["chosen_model"], row["rejected_model"]) == models


@pytest.mark.parametrize(
    ("preference", "expected"),
    [
        (1.5, ("tie", "the source marks it as a tie")),
        ("1.5", ("tie", "the source marks it as a tie")),
        (None, NO_PREFERENCE),
        (0.99, NO_PREFERENCE),
        (2.01, NO_PREFERENCE),
        (0, NO_PREFERENCE),
        (-1, NO_PREFERENCE),
        ("N/A", NO_PREFERENCE),
        ([1], NO_PREFERENCE),
        (float("nan"), NO_PREFERENCE),
    ],
)
def test_a_tie_or_no_preference_is_not_a_pair(preference: object, expected: tuple[str, str]) -> None:
    rows = staged(*(ROW | {"preference": value} for value in (1, preference, 2)))
    assert [problem(row) for row in rows] == [(None, None), expected, (None, None)]
    assert (texts(rows[0]), texts(rows[2])) == (FIRST, SECOND)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"instruction": None}, ("missing_prompt", "instruction: null")),
        ({"output_1": None}, ("missing_response_a", "output_1: null")),
        ({"output_2": 3}, ("not_text", "output_2: a number where text should be")),
        ({"output_1": None, "preference": 1.5}, ("missing_response_a", "output_1: null")),  # the first problem
    ],
)
def test_an_unusable_row_keeps_its_position(changes: dict[str, object], expected: tuple[str, str]) -> None:
    good = ROW | {"preference": 1}
    rows = staged(good, good | changes, good)
    assert [problem(row) for row in rows] == [(None, None), expected, (None, None)]


def test_a_set_without_models() -> None:
    row = staged({"instruction": "q", "output_1": "one", "output_2": "two", "preference": 2})[0]
    assert (texts(row), row["chosen_model"], row["rejected_model"]) == (SECOND, None, None)


def test_outputs_as_messages() -> None:
    given = {
        "instruction": [user("q")],
        "output_1": [assistant("one")],
        "output_2": [assistant("two")],
        "preference": 1,
    }
    assert texts(staged(given)[0]) == FIRST


def test_other_columns_are_kept() -> None:
    row = staged(ROW | {"preference": 1, "dataset": "koala", "price": 0.01})[0]
    assert row["extra"] == '{"dataset":"koala","price":0.01}'
