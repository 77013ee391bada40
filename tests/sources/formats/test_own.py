"""Our own table, read again: source and row numbers stay valid, and added columns are kept."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.schema import PAIR
from tests.staged import Row, assistant, problem, read_all, staged, texts, user

ROW: Row = dict.fromkeys(PAIR) | {
    "pair_id": "old",
    "prompt_id": "old",
    "source": "a.jsonl",
    "source_row": 9,
    "prompt": [user("q")],
    "chosen": [assistant("a")],
    "rejected": [assistant("b")],
    "chosen_score": 4.5,
    "strength": 0.5,
    "rejected_model": "small",
    "extra": '{"topic":"x"}',
}


def test_a_row_is_unchanged_and_its_ids_are_recomputed() -> None:
    row = staged(ROW)[0]
    assert texts(row) == ("user: q", "assistant: a", "assistant: b")
    ids = {"pair_id", "prompt_id"}
    same = set(PAIR) - ids - {"prompt", "chosen", "rejected"}
    assert {name: row[name] for name in same} == {name: ROW[name] for name in same}
    assert {row[name] for name in ids}.isdisjoint({"old", None})


def test_a_table_with_our_columns_and_texts_for_messages_is_not_our_own() -> None:
    row = staged(ROW | {"chosen": "a", "rejected": "b"})[0]
    assert texts(row) == ("user: q", "assistant: a", "assistant: b")
    assert (row["source"], row["source_row"]) == ("s", 0)


def test_a_published_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    first = staged({"prompt": "q", "chosen": "a", "rejected": "b"}, {"prompt": "q", "chosen": "c", "rejected": "d"})
    turns = {"prompt": user, "chosen": assistant, "rejected": assistant}
    rows = [row | {n: [turn(row[n].split(": ")[1])] for n, turn in turns.items()} for row in first]
    pl.DataFrame(rows, schema=PAIR).write_parquet(tmp_path / "train.parquet")
    assert read_all(tmp_path) == first


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"source": None}, ("s", 9)),
        ({"source_row": None}, ("a.jsonl", 1)),
        ({"source_row": -1}, ("a.jsonl", 1)),
        ({"source_row": "x"}, ("a.jsonl", 1)),
    ],
)
def test_a_row_without_a_source(changes: dict[str, Any], expected: tuple[str, int]) -> None:
    row = staged(ROW, ROW | changes)[1]
    assert (row["source"], row["source_row"]) == expected


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        ('{"topic":"x"}', {"topic": "x", "lang": "pt"}),
        ('{"lang":"en"}', {"lang": "pt"}),
        ("{}", {"lang": "pt"}),
        (None, {"lang": "pt"}),
        ("a remark", {"extra": "a remark", "lang": "pt"}),
        ("[1]", {"extra": "[1]", "lang": "pt"}),
    ],
)
def test_an_added_column_is_merged_into_extra(old: str | None, expected: dict[str, Any]) -> None:
    rows = staged(ROW | {"lang": "en"}, ROW | {"extra": old, "lang": "pt"})
    assert [json.loads(row["extra"]) for row in rows] == [{"topic": "x", "lang": "en"}, expected]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"chosen": None}, ("missing_chosen", "chosen: null")),
        ({"prompt": []}, ("no_messages", "prompt: the list of messages is empty")),
        ({"rejected": "text"}, ("not_messages", "rejected: text where messages should be")),
    ],
)
def test_an_unusable_row_keeps_its_position(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    rows = staged(ROW, ROW | changes, ROW)
    assert [problem(row) for row in rows] == [(None, None), expected, (None, None)]


def test_a_broken_line_keeps_its_position(tmp_path: Path) -> None:
    lines = [json.dumps(ROW), "{", json.dumps(ROW | {"source_row": 0})]
    (tmp_path / "p.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    rows = read_all(tmp_path)
    assert [(row["source"], row["source_row"]) for row in rows] == [("a.jsonl", 9), ("p.jsonl", 1), ("a.jsonl", 0)]
