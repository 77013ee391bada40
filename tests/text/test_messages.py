"""Lists of messages and texts: joining them, and splitting prompt from response."""

from itertools import takewhile

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.schema import MESSAGES
from curate.text.messages import last_user_text, one_message, split_conversations, split_texts, text_of

Turns = list[tuple[str, str]]  # (role, content)
S, U, V, A, B = ("system", "Be brief."), ("user", "Hi"), ("user", "Why?"), ("assistant", "Hello"), ("assistant", "Bye")


def messages(*rows: Turns | None) -> pl.Series:
    lists = [None if row is None else [{"role": role, "content": text} for role, text in row] for row in rows]
    return pl.Series("messages", lists, dtype=MESSAGES)


def turns(column: pl.Series) -> list[Turns | None]:
    return [None if row is None else [(m["role"], m["content"]) for m in row] for row in column.to_list()]


def split_dialogues(*rows: tuple[Turns | None, Turns | None]) -> list[tuple[Turns | None, ...]]:
    """Return (prompt, chosen, rejected) of every row."""
    chosen, rejected = (messages(*side) for side in zip(*rows, strict=True))
    out = split_conversations(pl.DataFrame({"chosen": chosen, "rejected": rejected}))
    return list(zip(*(turns(out.get_column(name)) for name in ("prompt", "chosen", "rejected")), strict=True))


def test_one_message_wraps_every_text_and_keeps_null() -> None:
    frame = pl.DataFrame({"text": ["Olá", "", None]}).select(one_message("user", pl.col("text")))
    assert frame.to_series().dtype == MESSAGES
    assert turns(frame.to_series()) == [[("user", "Olá")], [("user", "")], None]


def test_text_of_joins_contents_by_a_blank_line() -> None:
    frame = messages([U, A], [U], [], None).to_frame()
    assert frame.select(text_of("messages")).to_series().to_list() == ["Hi\n\nHello", "Hi", "", None]


def test_last_user_text_is_null_without_a_user_turn() -> None:
    frame = messages([S, U, A, V], [U, A], [S], [], None).to_frame()
    assert frame.select(last_user_text("messages")).to_series().to_list() == ["Why?", "Hi", None, None, None]


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt", "chosen_left", "rejected_left"),
    [
        pytest.param([U, A], [U, B], [U], [A], [B], id="one turn each"),
        pytest.param([S, U, A], [S, U, B], [S, U], [A], [B], id="a system turn is shared, too"),
        pytest.param([U, A, V, A], [U, A, V, B], [U, A, V], [A], [B], id="many shared turns"),
        pytest.param([U, A, V, A], [U, B, V, B], [U], [A, V, A], [B, V, B], id="diverging early"),
        pytest.param([U, A, V, B], [U, A], [U], [A, V, B], [A], id="one is a prefix of the other"),
        pytest.param([U, A], [U, A, V, B], [U], [A], [A, V, B], id="the longer one is rejected"),
        pytest.param([U, A], [U, A], [U], [A], [A], id="equal ones keep the last turn"),
        pytest.param([U, V], [U, V], [U], [V], [V], id="equal ones that end with the user"),
        pytest.param([U], [U, A], [], [U], [U, A], id="a response keeps at least one turn"),
        pytest.param([U, A], [V, A], [], [U, A], [V, A], id="no shared turn"),
        pytest.param([S, A], [S, B], [], [S, A], [S, B], id="no shared user turn"),
        pytest.param([A], [B], [], [A], [B], id="answers alone"),
        pytest.param([], [U, A], [], [], [U, A], id="an empty side"),
        pytest.param([], [], [], [], [], id="both empty"),
    ],
)
def test_split_conversations(
    chosen: Turns, rejected: Turns, prompt: Turns, chosen_left: Turns, rejected_left: Turns
) -> None:
    assert split_dialogues((chosen, rejected)) == [(prompt, chosen_left, rejected_left)]


def test_split_conversations_treats_every_row_alone() -> None:
    assert split_dialogues(
        ([U, A], [U, B]), (None, [U, A]), ([], [A]), ([V, A], None), (None, None), ([V, A], [V, B])
    ) == [
        ([U], [A], [B]),
        (None, None, [U, A]),
        ([], [], [A]),
        ([], [V, A], None),
        (None, None, None),
        ([V], [A], [B]),
    ]


def test_split_conversations_keeps_other_columns_and_accepts_no_rows() -> None:
    frame = pl.DataFrame([messages([U, A]).alias("chosen"), messages([U, B]).alias("rejected"), pl.Series("cost", [3])])
    assert split_conversations(frame).columns == ["chosen", "rejected", "cost", "prompt"]
    assert split_conversations(frame.clear()).shape == (0, 4)


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ("Q: why? A: because", "Q: why? A: no", ("Q: why? A:", "because", "no")),
        ("Why?\nSo.", "Why?\nNo.", ("Why?", "So.", "No.")),
        ("word wonder", "word wander", ("word", "wonder", "wander")),  # never within a word
        ("olá è", "olá é", ("olá", "è", "é")),  # è and é share their first byte
        ("yes", "no", (None, "yes", "no")),
        ("yes", "yesterday", (None, "yes", "yesterday")),
        ("same text", "same text", ("same", "text", "text")),
        ("Q A", "Q A and more", ("Q", "A", "A and more")),
        ("", "anything", (None, "", "anything")),
        (None, "Q A", (None, None, "Q A")),
        (None, None, (None, None, None)),
    ],
)
def test_split_texts(chosen: str | None, rejected: str | None, expected: tuple[str | None, ...]) -> None:
    frame = pl.DataFrame(
        {"chosen": [chosen], "rejected": [rejected]}, schema={"chosen": pl.String, "rejected": pl.String}
    )
    assert split_texts(frame).select("prompt", "chosen", "rejected").row(0) == expected


def test_split_texts_accepts_no_rows() -> None:
    empty = pl.DataFrame(schema={"chosen": pl.String, "rejected": pl.String, "cost": pl.Int64})
    assert split_texts(empty).shape == (0, 4)


SHORT = st.text("ab é\n", max_size=12)


def by_hand(chosen: str, rejected: str) -> tuple[str | None, str, str]:
    same = takewhile(lambda letters: letters[0] == letters[1], zip(chosen, rejected, strict=False))
    common = "".join(letter for letter, _ in same)
    cut = max(common.rfind(space) for space in " \n") + 1
    return common[:cut].strip() if cut else None, chosen[cut:].strip(), rejected[cut:].strip()


@settings(deadline=None)
@given(st.lists(st.tuples(SHORT, SHORT, SHORT), min_size=1, max_size=5))
def test_split_texts_agrees_with_plain_python(parts: list[tuple[str, str, str]]) -> None:
    rows = [(head + a, head + b) for head, a, b in parts]
    frame = pl.DataFrame(rows, schema={"chosen": pl.String, "rejected": pl.String}, orient="row")
    assert split_texts(frame).select("prompt", "chosen", "rejected").rows() == [by_hand(*row) for row in rows]
