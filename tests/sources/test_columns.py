"""Raw values → typed columns. A value of the wrong kind is reported as a problem of its row only."""

import datetime as dt
import decimal
import json
from typing import Any

import polars as pl
import pytest

from curate.errors import InputError
from curate.schema import MESSAGES
from curate.sources.columns import Field, kind_of, typed
from curate.sources.raw_block import RawBlock
from tests.data import plain
from tests.staged import block_of, line, staged

PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}


def column(kind: Any, values: list[Any] | pl.Series, *, needed: bool = True) -> tuple[list[Any], list[str | None]]:
    """Return the values read as that kind, and the problem of each."""
    frame = typed(RawBlock({"raw": values}, range(len(values))), {"field": Field("raw", kind, needed)})
    assert frame.height == len(values)
    problems = [rule and f"{rule} {detail}" for rule, detail in frame.select("problem", "detail").rows()]
    return [plain(value) for value in frame.get_column("field").to_list()], problems


def test_text_and_other_values() -> None:
    values = ["a", "", None, 3, 0.5, True, ["a"], {"a": 1}, b"a"]
    assert column("text", values) == (
        ["a", "", None, None, None, None, None, None, None],
        [
            None,
            None,
            "missing_field raw: null",
            "not_text raw: a number where text should be",
            "not_text raw: a number where text should be",
            "not_text raw: a boolean where text should be",
            "not_text raw: a list where text should be",
            "not_text raw: an object where text should be",
            "not_text raw: bytes where text should be",
        ],
    )


@pytest.mark.parametrize(
    "series",
    [
        pl.Series(["a", None, "b"]),
        pl.Series(["a", None, "b"], dtype=pl.Categorical),
        pl.Series(["a", None, "b"], dtype=pl.Enum(["a", "b"])),
    ],
)
def test_text_of_a_table(series: pl.Series) -> None:
    assert column("text", series, needed=False) == (["a", None, "b"], [None] * 3)


def test_a_table_column_of_another_type_is_not_text() -> None:
    wrong = "not_text raw: a number where text should be"
    assert column("text", pl.Series([1, None]), needed=False) == ([None, None], [wrong, None])
    assert column("text", pl.Series([None, None])) == ([None, None], ["missing_field raw: null"] * 2)
    assert column("text", pl.Series([dt.date(2026, 1, 2)]))[1] == ["not_text raw: date where text should be"]


def test_a_null_is_fine_where_the_field_is_not_needed() -> None:
    assert column("text", [None, 3], needed=False) == (
        [None, None],
        [None, "not_text raw: a number where text should be"],
    )


def test_a_deeply_nested_value_is_rejected_quickly() -> None:
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    assert column("text", ["a", deep])[1] == [None, "not_text raw: a list where text should be"]


@pytest.mark.parametrize(
    ("series", "problem"),
    [
        (pl.Series(["a"]), "not_messages raw: text where messages should be"),
        (pl.Series([3]), "not_messages raw: a number where messages should be"),
        (pl.Series([{"role": "user", "content": "a"}]), "not_messages raw: an object where messages should be"),
        (pl.Series([["a"]]), "not_messages raw: message 1 is text, not an object"),
    ],
)
def test_a_table_column_of_another_type_is_not_messages(series: pl.Series, problem: str) -> None:
    assert column("messages", series) == ([None], [problem])


def test_messages_of_a_table_may_have_other_keys() -> None:
    messages = pl.Series([[{"from": "human", "value": "q"}], [{"from": "gpt", "value": "a"}]])
    found = [[{"role": "user", "content": "q"}], [{"role": "assistant", "content": "a"}]]
    assert column("messages", messages) == (found, [None, None])


def test_the_first_item_of_a_list_decides_whether_it_holds_messages() -> None:
    message = {"role": "user", "content": "x"}
    assert kind_of([[message, "and a text"]]) == "messages"
    assert kind_of([["a text", message]]) is None


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({"role": None, "content": "y"}, "unknown_role"),
        ({"role": "narrator", "content": "y"}, "unknown_role"),
        ({"role": "user", "content": None}, "no_content"),
        ({"role": None, "content": None}, "unknown_role"),
    ],
)
def test_one_message_of_a_table_that_is_invalid(message: dict[str, str | None], problem: str) -> None:
    good = {"role": "user", "content": "x"}
    messages, problems = column("messages", pl.Series([[good], [message]]))
    assert messages == [[good], None]
    assert [found and found.partition(" ")[0] for found in problems] == [None, problem]


def turns(*items: Any) -> tuple[str | None, str | None]:
    """Return one list of messages as a line, and its problem."""
    (messages,), (problem,) = column("messages", [list(items)])
    return line(messages), problem


NAMES = {
    "system": ["system", "System"],
    "developer": ["developer"],
    "user": ["user", "human", "prompter", "User"],
    "assistant": ["assistant", "gpt", "bot", "model", "chatgpt", "GPT"],
    "tool": ["tool", "function"],
}


@pytest.mark.parametrize(("role", "given"), [(role, name) for role, names in NAMES.items() for name in names])
def test_names_of_roles_are_translated(given: str, role: str) -> None:
    assert turns({"role": given, "content": "x"}) == (f"{role}: x", None)
    assert turns({"from": given, "value": "x"}) == (f"{role}: x", None)


def test_messages_lose_their_other_keys() -> None:
    assert turns({"role": "user", "content": "q", "id": 3}, {"from": "gpt", "value": "", "weight": 1}) == (
        "user: q | assistant: ",
        None,
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}], "a"),
        ([{"type": "text", "text": "a"}, {"text": "b"}, "c"], "a\nb\nc"),
        ([{"type": "text", "text": "a", "image": None}], "a"),  # as padded by Arrow
        ([], ""),
    ],
)
def test_text_parts_are_joined(content: list[Any], text: str) -> None:
    assert turns({"role": "user", "content": content}) == (f"user: {text}", None)


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ({"role": "critic", "content": "x"}, "unknown_role raw: message 2 has the role 'critic'; known: system, "),
        ({"role": "x" * 99, "content": "x"}, f"unknown_role raw: message 2 has the role '{'x' * 40}'; known: "),
        ({"role": 3, "content": "x"}, "unknown_role raw: message 2 has the role a number; known: "),
        ({"content": "x"}, "unknown_role raw: message 2 has the role null; known: "),
        ({"role": "user"}, "no_content raw: message 2 has no content"),
        ({"role": "user", "content": None}, "no_content raw: message 2 has no content"),
        ({"role": "user", "content": 3}, "not_text raw: a number where text should be"),
        ({"role": "user", "content": {"text": "x"}}, "not_text raw: an object where text should be"),
        (
            {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": "x"}]},
            "not_supported raw: message 2 has a part of type 'image_url'; only text is supported",
        ),
        ({"role": "user", "content": [3]}, "not_supported raw: message 2 has a part of type '3'"),
        ("x", "not_messages raw: message 2 is text, not an object"),
        (None, "not_messages raw: message 2 is null, not an object"),
    ],
)
def test_problems_of_a_message(item: Any, problem: str) -> None:
    messages, found = turns({"role": "user", "content": "q"}, item)
    assert messages is None
    assert str(found).startswith(problem)


def test_problems_of_a_list_of_messages() -> None:
    assert column("messages", [[], "text", {"role": "user"}, None, 3]) == (
        [None] * 5,
        [
            "no_messages raw: the list of messages is empty",
            "not_messages raw: text where messages should be",
            "not_messages raw: an object where messages should be",
            "missing_field raw: null",
            "not_messages raw: a number where messages should be",
        ],
    )


GOOD, ODD = {"role": "user", "content": "q"}, {"role": "human", "content": "q"}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[GOOD], None, [GOOD, GOOD]], [[GOOD], None, [GOOD, GOOD]]),
        ([[GOOD], [ODD]], [[GOOD], [GOOD]]),
        ([[], [GOOD]], [None, [GOOD]]),
        ([[{"role": "user", "content": None}], [GOOD]], [None, [GOOD]]),
        ([[None], [GOOD]], [None, [GOOD]]),
    ],
)
def test_messages_of_a_table_are_checked_like_those_of_json(rows: list[Any], expected: list[Any]) -> None:
    table, plain = column("messages", pl.Series(rows, dtype=MESSAGES)), column("messages", rows)
    assert table[0] == plain[0] == expected
    assert [text is None for text in table[1]] == [text is None for text in plain[1]]


def test_numbers_and_values_that_count_as_not_measured() -> None:
    values = [1, 2.5, "4.5", "N/A", "", None, True, float("nan"), float("inf"), 2**70, [1], {"a": 1}]
    none = [None] * len(values)
    assert column("number", values, needed=False)[1] == none
    assert column("number", values[:6], needed=False)[0] == [1.0, 2.5, 4.5, None, None, None]
    assert column("number", values[7:], needed=False)[0] == [None, None, 2.0**70, None, None]
    assert column("number", [True, 2], needed=False)[0] == [1.0, 2.0]
    assert column("number", [None, None], needed=False)[0] == [None, None]


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pl.Series([1, None], dtype=pl.UInt8), [1.0, None]),
        (pl.Series([0.5, float("nan")]), [0.5, None]),
        (pl.Series(["4.5", "N/A"]), [4.5, None]),
        (pl.Series(["4.5", "N/A"], dtype=pl.Categorical), [4.5, None]),
        (pl.Series([decimal.Decimal("4.5"), None]), [4.5, None]),
        (pl.Series([None, None]), [None, None]),
    ],
)
def test_numbers_of_a_table(series: pl.Series, expected: list[float | None]) -> None:
    assert column("number", series, needed=False)[0] == expected


def test_a_table_column_without_numbers_is_an_error() -> None:
    with pytest.raises(InputError, match=r"column 'score' has the type List\(Int64\), expected a number"):
        column("number", pl.Series("score", [[1]]))


def test_labels() -> None:
    values = ["model_a", 1, 1.0, 0.5, True, None, -1]
    expected = ["model_a", "1", "1", "0.5", "true", None, "-1"]
    assert column("label", values, needed=False)[0] == expected
    assert column("label", pl.Series([1.0, None]), needed=False)[0] == ["1", None]
    assert column("label", pl.Series([["x", "y"]]), needed=False)[0] == ["['x', 'y']"]


def test_the_first_problem_of_a_row_is_reported() -> None:
    fields = {name: Field(name, "text") for name in ("chosen", "rejected")}
    frame = typed(block_of({"chosen": 1, "rejected": None}, {"chosen": "a", "rejected": None}), fields)
    assert frame.select("problem", "detail").rows() == [
        ("not_text", "chosen: a number where text should be"),
        ("missing_rejected", "rejected: null"),
    ]


def test_a_column_that_a_block_lacks_is_null() -> None:
    frame = typed(RawBlock({}, [7, 8]), {"system": Field("system", "text", needed=False)})
    assert frame.rows(named=True) == [
        {"system": None, "source_row": row, "extra": None, "problem": None, "detail": None} for row in (7, 8)
    ]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a"], "text"),
        ([None, "a", [GOOD]], "text"),
        ([[GOOD], "a"], "messages"),
        ([[]], "messages"),
        ([[], "a"], "text"),  # an empty list is no evidence
        ([3, {"a": 1}, [1], True, [GOOD], "a"], "messages"),  # junk before the first conclusive value
        ([3, None, ["a"]], None),
        ([None], None),
        ([], None),
        (pl.Series([None, "a"]), "text"),
        (pl.Series([[], [GOOD]], dtype=MESSAGES), "messages"),
        (pl.Series([None], dtype=MESSAGES), None),
        (pl.Series([1]), None),
        (pl.Series([["a"]]), None),
        (pl.Series([[1]] * 99 + [[]]), "messages"),
        (pl.Series([[1]] * 100 + [[]]), None),  # only the first hundred are looked at
        (pl.Series([[]] + [[1]] * 100), "messages"),
    ],
)
def test_kind_of(values: Any, kind: str | None) -> None:
    assert kind_of(values) == kind


def extra_of(columns: dict[str, Any]) -> Any:
    frame = typed(RawBlock(columns, [0]), {})
    return json.loads(frame.item(0, "extra"))


def test_extra_keeps_every_other_column_as_json() -> None:
    assert extra_of(
        {
            "text": ["é\0\n"],
            "whole": [2**64],
            "bytes": [b"\xff"],
            "none": [None],
            "nested": [{"a": [1, {"b": None}], "": True}],
            "day": pl.Series([dt.date(2026, 1, 2)]),
            "time": pl.Series([dt.datetime(2026, 1, 2, 3, 4, 5)]),
            "zone": pl.Series([dt.datetime(2026, 1, 2, tzinfo=dt.UTC)]),
            "hours": pl.Series([dt.timedelta(hours=2)]),
            "price": pl.Series([decimal.Decimal("1.50")]),
            "nan": pl.Series([float("nan")]),
            "struct": pl.Series([{"a": [1, None], "b": dt.date(2026, 1, 2)}]),
            "packed": pl.Series([b"\xff"]),
            "array": pl.Series([[1, 2]], dtype=pl.Array(pl.Int8, 2)),
            "kind": pl.Series(["x"], dtype=pl.Categorical),
        }
    ) == {
        "text": "é\0\n",
        "whole": 2**64,
        "bytes": "/w==",
        "none": None,
        "nested": {"a": [1, {"b": None}], "": True},
        "day": "2026-01-02",
        "time": "2026-01-02T03:04:05",
        "zone": "2026-01-02T00:00:00Z",
        "hours": "PT7200S",
        "price": "1.50",
        "nan": None,
        "struct": {"a": [1, None], "b": "2026-01-02"},
        "packed": "/w==",
        "array": [1, 2],
        "kind": "x",
    }


def test_extra_has_the_stored_number_of_a_date_that_python_cannot_represent() -> None:
    assert extra_of({"day": pl.Series([10_000_000], dtype=pl.Int32).cast(pl.Date)}) == {"day": 10_000_000}


def test_extra_is_null_where_there_is_no_other_column() -> None:
    assert staged(PAIR)[0]["extra"] is None


OURS = {
    "source": "x", "source_row": 7, "prompt_id": "y", "pair_id": 1, "flipped_id": 2, "extra": {"k": 1},
    "problem": "none", "detail": "d", "strength": "x", "better": "z", "row": 1, "cut": 2, "field": 3,
    "response_a": 4, "place": 5, "winner": 6,
}  # fmt: skip


def test_columns_named_like_ours_are_kept_as_the_users() -> None:
    row = staged(PAIR | OURS)[0]
    assert (row["source"], row["source_row"], row["problem"], row["detail"], row["strength"]) == (
        "s",
        0,
        None,
        None,
        None,
    )
    assert row["pair_id"] == staged(PAIR)[0]["pair_id"]
    assert json.loads(row["extra"]) == OURS


@pytest.mark.parametrize("name", OURS)
def test_a_column_named_like_ours_in_every_format(name: str) -> None:
    duel = {"instruction": "q", "input": "q", "output_1": "a", "output_2": "b", "preference": 1, "label": 1}
    talk = {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}
    for row, wanted in ((duel, "alpaca_eval"), (duel, "llmbar"), (talk, "hh_rlhf")):
        plain, more = staged(row, name=wanted)[0], staged(row | {name: OURS[name]}, name=wanted)[0]
        assert more["pair_id"] == plain["pair_id"]
        assert json.loads(more["extra"])[name] == OURS[name]
