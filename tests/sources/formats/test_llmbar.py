"""LLMBar: two outputs, and the number of the better one."""

import pytest

from tests.staged import problem, staged, texts

ROW = {"input": "q", "output_1": "one", "output_2": "two"}
FIRST = ("user: q", "assistant: one", "assistant: two")
SECOND = ("user: q", "assistant: two", "assistant: one")


@pytest.mark.parametrize(
    ("label", "expected"), [(1, FIRST), (2, SECOND), (1.0, FIRST), (2.0, SECOND), ("1", FIRST), ("2", SECOND)]
)
def test_the_label_names_the_better_output(label: object, expected: tuple[str, ...]) -> None:
    row = staged(ROW | {"label": label})[0]
    assert problem(row) == (None, None)
    assert texts(row) == expected
    assert row["strength"] is None


@pytest.mark.parametrize("label", [None, 0, 3, -1, 1.5, "x", "", [1], {"a": 1}])
def test_any_other_label_is_no_preference(label: object) -> None:
    rows = staged(*(ROW | {"label": value} for value in (1, label, 2)))
    assert [problem(row)[0] for row in rows] == [None, "no_preference", None]
    assert (texts(rows[0]), texts(rows[2])) == (FIRST, SECOND)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"input": None}, ("missing_prompt", "input: null")),
        ({"output_2": None}, ("missing_response_b", "output_2: null")),
        ({"output_1": ["one"]}, ("not_text", "output_1: a list where text should be")),
    ],
)
def test_an_unusable_row_keeps_its_position(changes: dict[str, object], expected: tuple[str, str]) -> None:
    good = ROW | {"label": 1}
    rows = staged(good, good | changes, good)
    assert [problem(row) for row in rows] == [(None, None), expected, (None, None)]


def test_other_columns_are_kept() -> None:
    assert staged(ROW | {"label": 1, "subset": "Natural"})[0]["extra"] == '{"subset":"Natural"}'
