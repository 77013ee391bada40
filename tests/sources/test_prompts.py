"""Prompts in any form: alone, from pairs (also unusable ones), from our own table, from a text file."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.errors import InputError, RecipeError
from curate.schema import PAIR, PROMPTS, STAGED
from curate.sources import STAGED_PROMPTS, Feed, open_feeds, read, read_prompts
from curate.sources import prompts as reading
from tests.staged import Row, assistant, block_of, line, system, user

Q, A, B = user("q"), assistant("a"), assistant("b")
TALK = "\n\nHuman: p\n\nAssistant: o\n\nHuman: q\n\nAssistant: "
OWN = dict.fromkeys(PAIR) | {
    "prompt": [Q],
    "chosen": [A],
    "rejected": [B],
    "source": "a.jsonl",
    "source_row": 9,
    "extra": '{"topic":"x"}',
}
NO_TURN = ("missing_prompt", "there is no user turn")


def feed_of(*rows: Row) -> Feed:
    return Feed("s", "", lambda: iter([block_of(*rows)]))


def found(*rows: Row, **options: Any) -> tuple[list[Row], str]:
    """Return rows as STAGED_PROMPTS, and their format."""
    ((frame, shape),) = read_prompts(feed_of(*rows), **options)
    assert frame.schema == STAGED_PROMPTS
    assert len(frame) == len(rows)
    return [row | {"prompt": line(row["prompt"])} for row in frame.rows(named=True)], shape.name


def one(row: Row, **options: Any) -> Row:
    """Return a row with a prompt; the rows around it have none, and do not affect it."""
    bad, good, _ = found(dict.fromkeys(row), row, dict.fromkeys(row), **options)[0]
    assert (good["problem"], good["detail"], good["source_row"]) == (None, None, row.get("source_row", 1))
    assert good["prompt_id"] is not None
    assert (bad["problem"] is None, bad["prompt_id"]) == (False, None)
    return good


def in_files(*paths: Path, **options: Any) -> list[Row]:
    feeds = open_feeds([str(path) for path in paths])
    frames = [frame for feed in feeds for frame, _ in read_prompts(feed, **options)]
    return [row | {"prompt": line(row["prompt"])} for frame in frames for row in frame.rows(named=True)]


def problems(rows: list[Row]) -> list[tuple[str | None, str | None]]:
    return [(row["problem"], row["detail"]) for row in rows]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        *(
            pytest.param({name: "q"}, "user: q", id=name)
            for name in ("prompt", "instruction", "question", "query", "input", "task", "text")
        ),
        *(
            pytest.param({name: [Q]}, "user: q", id=f"{name} as messages")
            for name in ("prompt", "messages", "conversations", "conversation", "question")
        ),
        ({"messages": [system("s"), Q, A]}, "system: s | user: q"),
        ({"messages": [Q, A, user("r"), B, assistant("c")]}, "user: q | assistant: a | user: r"),
        ({"prompt": [Q, A]}, "user: q"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, "user: q"),
        ({"prompt": "q", "system": "s"}, "system: s | user: q"),
        ({"prompt": "q", "system_prompt": "s"}, "system: s | user: q"),
        ({"instruction": "q", "input": "data"}, "user: q\n\ndata"),
        ({"instruction": "q", "input": "", "system": " "}, "user: q"),
        ({"messages": [Q, A], "system": "s"}, "system: s | user: q"),
        ({"messages": [system("turn"), Q, A], "system": "s"}, "system: turn | user: q"),
        ({"system": "s", "input": "q"}, "system: s | user: q"),
    ],
)
def test_prompts_alone(row: Row, expected: str) -> None:
    prompt = one(row)
    assert (prompt["prompt"], prompt["source"], prompt["extra"]) == (expected, "s", None)
    assert found(row)[1] == "prompts"


@pytest.mark.parametrize(
    ("row", "expected", "extra"),
    [
        ({"text": "no", "prompt": "q"}, "user: q", {"text": "no"}),
        ({"text": "Human: q", "messages": [Q, A]}, "user: q", {"text": "Human: q"}),
        ({"messages": "a text", "question": "q"}, "user: q", {"messages": "a text"}),
        ({"messages": [Q, A], "input": "q"}, "user: q", {"input": "q"}),
        ({"prompt": "q", "chosen": "a", "topic": 3}, "user: q", {"chosen": "a", "topic": 3}),
    ],
)
def test_one_column_is_the_prompt_and_the_others_are_kept(row: Row, expected: str, extra: Row) -> None:
    prompt = one(row)
    assert (prompt["prompt"], json.loads(prompt["extra"])) == (expected, extra)


def test_a_prompt_that_occurs_twice_is_read_twice() -> None:
    rows, _ = found({"prompt": "q"}, {"prompt": "r"}, {"prompt": "q"})
    assert [row["prompt"] for row in rows] == ["user: q", "user: r", "user: q"]
    assert rows[0]["prompt_id"] == rows[2]["prompt_id"] != rows[1]["prompt_id"]


@pytest.mark.parametrize(
    ("row", "expected", "name"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "user: q", "preference"),
        ({"prompt": "q", "chosen": [Q, A], "rejected": [Q, B], "system": "s"}, "system: s | user: q", "preference"),
        ({"chosen": "q a", "rejected": "q b"}, "user: q", "preference"),
        ({"chosen": TALK + "a", "rejected": TALK + "b"}, "user: p | assistant: o | user: q", "hh_rlhf"),
        ({"input": "q", "output_1": "a", "output_2": "b", "label": 1}, "user: q", "llmbar"),
        ({"instruction": "q", "output_1": "a", "output_2": "b", "preference": 2}, "user: q", "alpaca_eval"),
        (OWN, "user: q", "prefcurate"),
    ],
)
def test_the_prompt_of_a_pair_is_that_of_the_pair_format(row: Row, expected: str, name: str) -> None:
    prompt = one(row)
    assert (prompt["prompt"], found(row)[1]) == (expected, name)
    ((pair, _),) = read(feed_of(row))
    assert prompt["prompt_id"] == pair.get_column("prompt_id").item()


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({"instruction": "q", "output_1": "a", "output_2": "b", "preference": 1.5}, id="a tie"),
        pytest.param({"instruction": "q", "output_1": "a", "output_2": "b", "preference": None}, id="no verdict"),
        pytest.param({"instruction": "q", "output_1": None, "output_2": 3, "preference": 1}, id="no answers"),
        pytest.param({"instruction": "q", "output_1": "a", "output_2": [], "preference": 1}, id="an empty output"),
        pytest.param({"prompt": "q", "chosen": None, "rejected": "b"}, id="chosen missing"),
        pytest.param({"prompt": "q", "chosen": "a", "rejected": 3}, id="rejected is not text"),
        pytest.param({"prompt": "q", "chosen": [A], "rejected": "b"}, id="of two kinds"),
        pytest.param({"prompt": [Q], "chosen": [A], "rejected": []}, id="an empty answer"),
        pytest.param({"chosen": [Q, A], "rejected": None}, id="one conversation"),
        pytest.param({"chosen": [], "rejected": [Q, B]}, id="the other conversation"),
        pytest.param({"chosen": [Q, A], "rejected": [Q, {"role": "?"}]}, id="a broken conversation"),
        pytest.param({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": ""}, id="one transcript"),
        pytest.param({"chosen": None, "rejected": "\n\nHuman: q\n\nAssistant: a"}, id="the other transcript"),
        pytest.param(OWN | {"source": "s", "source_row": 0, "chosen": None, "rejected": [B]}, id="of our own table"),
    ],
)
def test_a_problem_of_the_pair_does_not_affect_its_prompt(row: Row) -> None:
    sides = [name for name in ("chosen", "rejected", "output_1", "output_2") if name in row]
    whole = next(row[side] for side in sides if row[side])
    prompt = found(row, row | dict.fromkeys(sides, whole))[0][0]
    assert (prompt["prompt"], prompt["problem"], prompt["detail"]) == ("user: q", None, None)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": None}, ("missing_prompt", "prompt: null")),
        ({"prompt": 3}, ("not_text", "prompt: a number where text should be")),
        ({"prompt": [Q]}, ("not_text", "prompt: a list where text should be")),
        ({"prompt": " \n"}, ("prompt_empty", "the last user turn is blank")),
        ({"prompt": "q", "system": 3}, ("not_text", "system: a number where text should be")),
        ({"chosen": "yes", "rejected": "no"}, ("missing_prompt", "there is no user turn")),
        ({"prompt": "", "chosen": "a", "rejected": "b"}, ("prompt_empty", "the last user turn is blank")),
        ({"prompt": 3, "chosen": "a", "rejected": None}, ("not_text", "prompt: a number where text should be")),
        ({"chosen": None, "rejected": "q b"}, ("missing_prompt", "chosen: null")),
        ({"chosen": 3, "rejected": "q b"}, ("not_text", "chosen: a number where text should be")),
    ],
)
def test_a_row_without_a_prompt_keeps_its_position(row: Row, expected: tuple[str, str]) -> None:
    names = {"prompt": "q", "chosen": "q a", "rejected": "q b", "system": "s"}
    good = {name: names[name] for name in row}
    if row == {"chosen": "yes", "rejected": "no"}:
        expected = ("missing_prompt", "no prompt column, and chosen and rejected share no user turn")
    rows, _ = found(good, row, good)
    assert problems(rows) == [(None, None), expected, (None, None)]
    assert [row["prompt_id"] is None for row in rows] == [False, True, False]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (None, ("missing_prompt", "messages: null")),
        ([], ("no_messages", "messages: the list of messages is empty")),
        ("q", ("not_messages", "messages: text where messages should be")),
        ([system("s"), A], NO_TURN),
        ([user(" "), A], ("prompt_empty", "the last user turn is blank")),
        ([{"role": "narrator", "content": "q"}], None),
    ],
)
def test_an_invalid_conversation_keeps_its_position(messages: Any, expected: tuple[str, str] | None) -> None:
    rows, _ = found({"messages": [Q, A]}, {"messages": messages})
    assert rows[0]["problem"] is None
    if expected is None:
        assert rows[1]["problem"] == "unknown_role"
    else:
        assert problems(rows)[1] == expected


def test_conversations_on_one_side_only() -> None:
    rows, name = found({"chosen": None, "rejected": [Q, A]}, {"chosen": None, "rejected": [user("r"), A]})
    assert ([row["prompt"] for row in rows], name) == (["user: q", "user: r"], "preference")


def test_our_own_prompts_are_unchanged() -> None:
    row = {"prompt_id": "old", "prompt": [Q, A], "source": "a.jsonl", "source_row": 9, "extra": '{"topic":"x"}'}
    rows, name = found(row | {"lang": "en"}, row | {"lang": None, "source": None, "source_row": None, "prompt": None})
    assert name == "prefcurate"
    assert rows[0] | {"prompt_id": None} == row | {
        "prompt_id": None,
        "prompt": "user: q | assistant: a",
        "extra": '{"topic":"x","lang":"en"}',
        "problem": None,
        "detail": None,
    }
    assert rows[0]["prompt_id"] not in ("old", None)
    assert (rows[1]["source"], rows[1]["source_row"], rows[1]["problem"]) == ("s", 1, "missing_prompt")


def test_a_written_table_is_read_as_it_was(tmp_path: Path) -> None:
    ((frame, _),) = read_prompts(feed_of({"prompt": "q", "topic": "x"}, {"prompt": "r", "topic": "y"}))
    path = tmp_path / "prompts.parquet"
    frame.select(list(PROMPTS)).write_parquet(path)
    ((again, shape),) = read_prompts(open_feeds([str(path)])[0])
    assert shape.name == "prefcurate"
    assert again.equals(frame)


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        ({"q": "Q", "s": "S"}, {"prompt": "q"}, "user: Q"),
        ({"q": "Q", "s": "S"}, {"prompt": "q", "system": "s"}, "system: S | user: Q"),
        ({"q": "Q", "i": "I"}, {"prompt": "q", "input": "i"}, "user: Q\n\nI"),
        ({"q": [user("Q"), A], "s": "S"}, {"prompt": "q", "system": "s"}, "system: S | user: Q"),
        ({"q": {"text": "Q"}}, {"prompt": "q.text"}, "user: Q"),
        ({"q": "Q", "good": "a", "bad": "b"}, {"prompt": "q", "chosen": "good", "rejected": "bad"}, "user: Q"),
        (
            {"q": "Q", "x": "a", "y": "b", "w": "tie"},
            {"prompt": "q", "response_a": "x", "response_b": "y", "winner": "w"},
            "user: Q",
        ),
    ],
)
def test_columns_that_are_named(row: Row, columns: dict[str, str], expected: str) -> None:
    assert one(row, columns=columns)["prompt"] == expected
    assert found(row, columns=columns)[1] == "columns"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prompt": "qq"}, r"unknown column for prompt 'qq'\. Did you mean 'q'\? Known: q"),
        ({"system": "q"}, "source.columns must name prompt"),
        ({"promt": "q"}, r"unknown field in source\.columns 'promt'\. Did you mean 'prompt'\?"),
    ],
)
def test_an_invalid_mapping(columns: dict[str, str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        found({"q": "Q"}, columns=columns)


def test_the_format_can_be_requested_by_name() -> None:
    pair = {"prompt": "q", "chosen": [user("other"), A], "rejected": [user("other"), B]}
    assert found(pair)[0][0]["prompt"] == "user: q | user: other"
    assert found(pair, format="prompts")[0][0]["prompt"] == "user: q"
    assert found(OWN, format="preference")[1] == "preference"


@pytest.mark.parametrize(
    ("row", "name", "message"),
    [
        ({"title": "x", "body": "y"}, None, "s: none of the columns title, body contains prompts. Expected one of"),
        ({"messages": "a transcript"}, None, "s: none of the columns messages contains prompts."),
        ({"title": "x"}, "prompts", "s: none of the columns title contains prompts."),
        ({"prompt": "q"}, "hh_rlhf", "s: the columns prompt do not match the format hh_rlhf."),
    ],
)  # fmt: skip
def test_columns_without_a_prompt(row: Row, name: str | None, message: str) -> None:
    with pytest.raises(InputError) as caught:
        found(row, format=name)
    assert str(caught.value).startswith(message)
    assert "Name" in str(caught.value)


def test_an_unknown_format() -> None:
    with pytest.raises(RecipeError, match=r"unknown format 'prompt'\. Did you mean 'prompts'\?"):
        found({"prompt": "q"}, format="prompt")


def test_a_broken_line_keeps_its_position(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "q"}\n{\n\n{"prompt": null}\n', "utf-8")
    rows = in_files(tmp_path)
    assert [(row["source"], row["source_row"], row["problem"]) for row in rows] == [
        ("p.jsonl", 0, None),
        ("p.jsonl", 1, "broken_row"),
        ("p.jsonl", 2, "missing_prompt"),
    ]
    assert rows[1]["detail"].startswith("line 2: invalid JSON")


TEXT = b"\xef\xbb\xbfWhat is q?\r\n\n  [INST] and r? \n{name} asks: \xff\n{name} asks: s?"


def test_a_text_file_holds_one_prompt_per_line(tmp_path: Path) -> None:
    (tmp_path / "p.TXT").write_bytes(TEXT)
    rows = in_files(tmp_path / "p.TXT")
    assert [(row["source_row"], row["prompt"], row["problem"], row["detail"]) for row in rows] == [
        (0, "user: What is q?", None, None),
        (1, "user: [INST] and r?", None, None),
        (2, None, "broken_row", "line 4: invalid UTF-8"),
        (3, "user: {name} asks: s?", None, None),
    ]


def test_lines_are_counted_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LINES_BYTES", 20)
    (tmp_path / "p.txt").write_bytes(b"".join(b"question %d\n\n" % i for i in range(50)) + b"\xff\n")
    rows = in_files(tmp_path / "p.txt")
    assert [row["source_row"] for row in rows] == list(range(51))
    assert [row["prompt"] for row in rows] == [*(f"user: question {i}" for i in range(50)), None]
    assert rows[50]["detail"] == "line 101: invalid UTF-8"


@pytest.mark.parametrize("data", [b'{"question": "q"}\n', b' [\n {"question": "q"}]'])
def test_a_txt_file_of_another_type_is_read_as_that_type(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p.txt").write_bytes(data)
    assert [row["prompt"] for row in in_files(tmp_path / "p.txt")] == ["user: q"]


@pytest.mark.parametrize("data", [b"", b" \n", "What is q?".encode("utf-16"), b"\x1f\x8b\x08"])
def test_a_text_file_that_cannot_be_read(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p.txt").write_bytes(data)
    with pytest.raises(InputError, match=r"^p\.txt"):
        in_files(tmp_path / "p.txt")


def test_a_text_file_is_not_a_source_of_pairs_and_a_folder_skips_it(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(TEXT)
    with pytest.raises(InputError, match=r"p\.txt: the content is of an unknown type"):
        list(read(open_feeds([str(tmp_path / "p.txt")])[0]))
    with pytest.raises(InputError, match="contains no data file"):
        open_feeds([str(tmp_path)])


def test_every_row_of_a_table_is_kept(tmp_path: Path) -> None:
    table = pl.DataFrame({"messages": [[Q, A], None, [A], [Q]]}, schema={"messages": STAGED["prompt"]})
    table.write_parquet(tmp_path / "p.parquet")
    assert problems(in_files(tmp_path)) == [(None, None), ("missing_prompt", "messages: null"), NO_TURN, (None, None)]
