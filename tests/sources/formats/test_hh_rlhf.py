"""Transcripts, written by hand like those of the real dataset: stray markers, empty turns, early divergence."""

import pytest

from tests.staged import problem, staged, texts


def talk(*turns: str) -> str:
    """ "H: q", "A: a" -> a transcript."""
    names = {"H": "Human", "A": "Assistant"}
    return "".join(f"\n\n{names[turn[0]]}{turn[1:]}" for turn in turns)


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        pytest.param(
            talk("H: q", "A: a"), talk("H: q", "A: b"),
            ("user: q", "assistant: a", "assistant: b"), id="one turn each"),
        pytest.param(
            talk("H: p", "A: o", "H: q", "A: a"), talk("H: p", "A: o", "H: q", "A: b"),
            ("user: p | assistant: o | user: q", "assistant: a", "assistant: b"), id="many shared turns"),
        pytest.param(
            talk("H: q", "A: a", "H: r", "A: c"), talk("H: q", "A: b", "H: s", "A: d"),
            ("user: q", "assistant: a | user: r | assistant: c", "assistant: b | user: s | assistant: d"),
            id="diverging before the last turn"),
        pytest.param(
            talk("H: q", "A: a"), talk("H: q", "A: a"),
            ("user: q", "assistant: a", "assistant: a"), id="equal"),
        pytest.param(
            talk("H: q", "A:"), talk("H: q", "A: b"),
            ("user: q", "assistant: ", "assistant: b"), id="an empty last turn"),
        pytest.param(
            talk("H: q", "H: r", "A: a", "A: c"), talk("H: q", "H: r", "A: b"),
            ("user: q | user: r", "assistant: a | assistant: c", "assistant: b"), id="a marker twice in a row"),
        pytest.param(
            talk("H: q", "A: a Human: so\nHuman: x"), talk("H: q", "A: b"),
            ("user: q", "assistant: a Human: so\nHuman: x", "assistant: b"), id="markers inside a turn"),
        pytest.param(
            talk("H: q", "A: a\n\nb\n\n- Human: c"), talk("H: q", "A: b"),
            ("user: q", "assistant: a\n\nb\n\n- Human: c", "assistant: b"), id="paragraphs inside a turn"),
        pytest.param(
            "Be kind." + talk("H: q", "A: a"), "Be kind." + talk("H: q", "A: b"),
            ("system: Be kind. | user: q", "assistant: a", "assistant: b"), id="text before the first marker"),
        pytest.param(
            "Human: q\n\nAssistant: a", " \n\n\n Human: q\n\nAssistant: b",
            ("user: q", "assistant: a", "assistant: b"), id="other white space at the beginning"),
        pytest.param(
            talk("H: q", "A: a").replace("\n", "\r\n"), talk("H: q", "A: b").replace("\n", "\r\n"),
            ("user: q", "assistant: a", "assistant: b"), id="lines that end with CR LF"),
        pytest.param(
            talk("H: q ", "A:\n  a\n"), talk("H: q", "A: b"),
            ("user: q", "assistant: a", "assistant: b"), id="white space around turns"),
    ],
)  # fmt: skip
def test_transcripts(chosen: str, rejected: str, expected: tuple[str, str, str]) -> None:
    rows = staged(
        {"chosen": talk("H: x", "A: y"), "rejected": talk("H: x", "A: z")}, {"chosen": chosen, "rejected": rejected}
    )
    assert problem(rows[1]) == (None, None)
    assert [texts(row) for row in rows] == [("user: x", "assistant: y", "assistant: z"), expected]


NO_TURN = ("no_transcript", "no 'Human:' or 'Assistant:' turn found")
NO_SHARED = ("no_shared_prompt", "chosen and rejected share no Human turn")


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        (talk("H: q", "A: a"), talk("H: other", "A: b"), NO_SHARED),
        (talk("A: a"), talk("A: b"), NO_SHARED),
        (talk("H: q"), talk("H: q", "A: b"), NO_SHARED),  # there is no turn left for the answer
        ("no marker", talk("H: q", "A: b"), NO_SHARED),
        ("", talk("H: q", "A: b"), NO_TURN),
        ("", "", NO_TURN),
        (None, talk("H: q", "A: b"), ("missing_chosen", "chosen: null")),
        (talk("H: q", "A: a"), None, ("missing_rejected", "rejected: null")),
        (3, None, ("not_text", "chosen: a number where text should be")),
        (talk("H: q", "A: a"), ["x"], ("not_text", "rejected: a list where text should be")),
    ],
)
def test_an_unusable_row_keeps_its_position(chosen: object, rejected: object, expected: tuple[str, str]) -> None:
    good = {"chosen": talk("H: q", "A: a"), "rejected": talk("H: q", "A: b")}
    rows = staged(good, {"chosen": chosen, "rejected": rejected}, good)
    assert [problem(row) for row in rows] == [(None, None), expected, (None, None)]
    assert [row["source_row"] for row in rows] == [0, 1, 2]
    assert texts(rows[0]) == texts(rows[2]) == ("user: q", "assistant: a", "assistant: b")


def test_other_columns_are_kept() -> None:
    good = {"chosen": talk("H: q", "A: a"), "rejected": talk("H: q", "A: b")}
    assert staged(good | {"topic": "x"})[0]["extra"] == '{"topic":"x"}'
