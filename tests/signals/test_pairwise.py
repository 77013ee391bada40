"""Signals of the whole pair. Rows are (prompt, chosen, rejected): one user turn and two answers."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.schema import PAIR
from curate.signals import measure
from curate.signals.pairwise import compare_words, languages_differ
from curate.text.tokens import words

Text = str | None
Turns = list[tuple[str, str]]
START = "The meeting begins at nine o'clock on the second"  # 48 characters
EN = "Good morning everyone, how are you doing today?"
PT = "Bom dia a todos, como vocês estão hoje?"
NULLS = dict.fromkeys(PAIR)


def turns(role: str, text: Text) -> list[dict[str, str]] | None:
    return None if text is None else [{"role": role, "content": text}]


def texts(*rows: tuple[Text, Text, Text]) -> pl.DataFrame:
    pairs = [
        NULLS | {"prompt": turns("user", p), "chosen": turns("assistant", c), "rejected": turns("assistant", r)}
        for p, c, r in rows
    ]
    return pl.DataFrame(pairs, schema=PAIR)


def signal(name: str, *rows: tuple[Text, Text, Text]) -> list[Any]:
    return measure(texts(*rows)).get_column(name).to_list()


def of_columns(name: str, **columns: list[Any]) -> list[Any]:
    """Measure a signal of rows that differ only in some columns of PAIR."""
    height = len(next(iter(columns.values())))
    frame = texts(*[("Hi", "Hello", "Bye")] * height)
    return measure(frame.with_columns(pl.Series(k, v, dtype=PAIR[k]) for k, v in columns.items()))[name].to_list()


def of_roles(name: str, *rows: tuple[str, str, str]) -> list[Any]:
    """Measure a signal of (prompt, chosen, rejected), each written as the first letters of its roles."""
    roles = {"s": "system", "d": "developer", "u": "user", "a": "assistant", "t": "tool"}
    sides = zip(*rows, strict=True)
    columns = {
        side: [[{"role": roles[letter], "content": "x"} for letter in letters] for letters in column]
        for side, column in zip(("prompt", "chosen", "rejected"), sides, strict=True)
    }
    return of_columns(name, **columns)


def test_identical() -> None:
    rows = [("q", "a", "a"), ("q", "a", "A"), ("q", "", ""), (None, None, None)]
    assert signal("identical", *rows) == [True, False, True, None]


def test_chars_ratio_is_longer_over_shorter() -> None:
    rows = [("q", "abcdef", "não"), ("q", "não", "abcdef"), ("q", "a", "b"), ("q", "", "a"), (None, None, None)]
    assert signal("chars_ratio", *rows) == [2.0, 2.0, 1.0, None, None]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (START, START + " floor of the house.", True),
        (START, START + "s", True),
        (START + "\n", START + " floor", True),
        (START, START, False),
        (START + ".", START + ". Bring a pen.", False),  # stops at the end of a sentence
        (START, START + ". Bring a pen.", False),  # as does this one: only the full stop is missing
        (START + " at 9.3", START + " at 9.30 sharp.", True),  # a stop that is not the last character
        (START, START.upper() + " floor", False),
        (START[8:], "It " + START + " floor", False),  # inside, not a prefix
        (START[:40], START, True),
        (START[:39], START, False),  # too short to be judged
        ("", START, False),
    ],
)
def test_truncated_on_either_side(one: str, other: str, expected: bool) -> None:
    assert signal("truncated", ("q", one, other), ("q", other, one)) == [expected, expected]


def test_a_prompt_of_twenty_characters_can_be_repeated() -> None:
    twenty, nineteen = "Why is the sky blue?", "Why is the sea red?"
    rows = [(asked, f"{asked} Light.", "Light.") for asked in (twenty, nineteen)]
    assert signal("chosen_repeats_prompt", *rows) == [True, None]


def test_repeats_prompt() -> None:
    asked = "What is the capital of Brazil?"
    rows = [
        (asked, asked + " Brasília.", "Brasília."),
        (asked, "Brasília.", f"\n{asked}"),
        (asked, "You ask: " + asked, asked.upper()),
        (f" {asked}\n", asked, "Brasília."),
        ("Say it twice again", "Say it twice again", "Say it twice again"),  # 18 characters
        ("", "", ""),
        (None, None, None),
    ]
    assert signal("chosen_repeats_prompt", *rows) == [True, False, False, True, None, None, None]
    assert signal("rejected_repeats_prompt", *rows) == [False, True, False, False, None, None, None]


def test_repeats_prompt_compares_with_the_last_user_turn() -> None:
    asked = [{"role": "user", "content": c} for c in ("The first of the questions", "The last of the questions")]
    chosen = [turns("assistant", "The last of the questions is easy"), turns("assistant", "The first of the questions")]
    assert of_columns("chosen_repeats_prompt", prompt=[asked, asked], chosen=chosen) == [True, False]


def test_languages_differ() -> None:
    rows = [("q", EN, PT), ("q", EN, EN), ("q", EN, "Sim"), ("q", "", ""), (None, None, None)]
    assert signal("languages_differ", *rows) == [True, False, None, None, None]


def test_uncertain_languages_are_not_compared() -> None:
    unsure = "abc abc def def ghi ghi"
    frame = texts(("q", EN, unsure))
    assert measure(frame).item(0, "rejected_language_confidence") < 0.7
    assert measure(frame).item(0, "languages_differ") is None


@pytest.mark.parametrize(
    ("chosen", "rejected", "differ"),
    [(0.7, 0.7, True), (0.7, 0.9, True), (0.9, 0.7, True), (0.69, 0.9, None), (0.9, 0.69, None)],
)
def test_a_language_is_known_from_a_confidence_of_seven_tenths(
    chosen: float, rejected: float, differ: bool | None
) -> None:
    confidence = {
        f"{side}_language_confidence": pl.Series([value], dtype=pl.Float32)
        for side, value in (("chosen", chosen), ("rejected", rejected))
    }
    measured = pl.DataFrame({"chosen_language": ["en"], "rejected_language": ["pt"], **confidence})
    assert measured.select(languages_differ()).item() is differ


def test_think_differs() -> None:
    rows = [
        ("q", "<think>so</think>4", "4"),
        ("q", "<think>so</think>4", "<think>no</think>5"),
        ("<think>", "I think 4", "4"),
        (None, None, None),
    ]
    assert signal("think_differs", *rows) == [True, False, False, None]


def test_refusal_differs() -> None:
    no = "I'm sorry, but I can't help with that."
    rows = [("q", no, "Sure."), ("q", "Sure.", no), ("q", no, no), ("q", "Sure.", "Yes."), (None, None, None)]
    assert signal("refusal_differs", *rows) == [True, True, False, False, None]


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "broken"),
    [
        ("u", "a", "a", False),
        ("su", "a", "a", False),
        ("sduau", "a", "aua", False),
        ("uatau", "a", "a", False),
        ("u", "ata", "a", False),
        ("uu", "a", "a", True),
        ("u", "aa", "a", True),
        ("u", "a", "aa", True),
        ("ua", "a", "a", True),
        ("u", "u", "a", True),
        ("usu", "a", "a", True),
        ("u", "a", "asa", True),
        ("au", "a", "a", True),
        ("sau", "a", "a", True),
        ("", "a", "a", True),
        ("t", "a", "a", True),
    ],
)
def test_roles_broken(prompt: str, chosen: str, rejected: str, broken: bool) -> None:
    assert of_roles("roles_broken", (prompt, chosen, rejected)) == [broken]


def test_prompt_not_from_user() -> None:
    rows = [("u", "a", "a"), ("sua", "a", "a"), ("ua", "a", "a"), ("s", "a", "a"), ("", "a", "a")]
    assert of_roles("prompt_not_from_user", *rows) == [False, True, True, True, True]
    assert signal("prompt_not_from_user", (None, None, None)) == [None]


def test_turns_are_counted() -> None:
    rows = [("suau", "a", "aua"), ("u", "a", "a"), ("", "", "")]
    assert of_roles("prompt_turns", *rows) == [4, 1, 0]
    assert of_roles("response_turns", *rows) == [3, 1, 0]
    assert signal("prompt_turns", (None, None, None)) == [None]
    assert signal("response_turns", (None, None, None)) == [None]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tie", [True, False, False, None, None]),
        ("margin", [0.0, 0.5, -2.0, None, None]),
        ("scores_contradict", [False, False, True, None, None]),
    ],
)
def test_scores(name: str, expected: list[Any]) -> None:
    chosen, rejected = [1.0, 1.0, 1.0, 1.0, None], [1.0, 0.5, 3.0, None, None]
    assert of_columns(name, chosen_score=chosen, rejected_score=rejected) == expected


def test_strength_is_that_of_the_source() -> None:
    assert of_columns("strength", strength=[0.25, 0.0, None]) == [0.25, 0.0, None]


def test_word_jaccard() -> None:
    rows = [("q", "One, two.", "two THREE"), ("q", "a b", "b a a"), ("q", "a", "b"), ("q", "", "a"), ("q", "", "?")]
    assert signal("word_jaccard", *rows, (None, None, None)) == [pytest.approx(1 / 3), 1.0, 0.0, 0.0, None, None]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Yes, it is.", "Yes it is", True),
        ("Yes, it is.", "yes it is", False),
        ("Yes,\n\nit   is!", "**Yes**, it is", True),
        ("I don't know", "I don’t know", True),
        ("Qué sí, ahora.", "Qué sí ahora", True),
        ("¿Qué? ¡Sí!", "Qué, Sí", False),
        ("你好。", "你好", True),
        ("", "", True),
        ("", "...", False),
        ("He said “yes”.", 'He said "yes"', True),
        ("*It* *is* so.", "It is so", True),
        ("It is; it was.", "It is, it was!", True),
        ("In 1999.", "In 1999", True),
        ("`x <= y`", "`x < y`", False),
        ("x <= y", "x < y", False),
        ("- a\n- b\n- c", "a b c", False),
        ("1. First\n2. Then", "1 First 2 Then", False),
        ("*p", "p", False),
        ("int *a,*b", "int a,b", False),
        ("__init__", "init", False),
        ("n!", "n", False),
        ("a, b", "a b", False),
        ("key: value", "key value", False),
        ("You are here?", "You are here!", False),
        ("do_it(one, two)", "do_it(one two)", False),
        ("total = one;", "total = one", False),
        ("for one in many:\n  go\n  stop", "for one in many:\n  go\nstop", False),
        ("```\ngo\n\n\nstop  \n```", "```\r\ngo\r\nstop\r\n```", True),
        ("it is", "is it", False),
        ("1 + 1", "1 - 1", False),
        ("1.5", "15", False),
        ("no where", "nowhere", False),
        ("no where", "now here", False),
        ("year", "yeár", False),
        ("a (b)", "a b", False),
    ],
)
def test_identical_normalized(one: str, other: str, expected: bool) -> None:
    assert signal("identical_normalized", ("q", one, other), ("q", other, one)) == [expected, expected]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("What shall we do?", True),
        ("Add the missing comma: Let's eat grandma", False),
        ("Correct the punctuation.", False),
        ("Corrige la frase.", False),
        ("Onde faltam vírgulas?", False),
        ("Write it in bold.", False),
    ],
)
def test_marks_count_where_the_prompt_asks_about_form(prompt: str, expected: bool) -> None:
    rows = [(prompt, "Let's eat, grandma.", "Let's eat grandma"), (prompt, "Let's **eat**.", "Let's eat")]
    assert signal("identical_normalized", *rows) == [expected, expected]
    assert signal("identical_normalized", (prompt, "Let's  eat. ", "Let’s eat.")) == [True]


def test_the_same_letters_in_other_words_are_not_identical() -> None:
    """Without its spaces, each is the same text of twelve letters."""
    letters = "abcdefghijkl"
    split = [f"{letters[:n]} {letters[n:]}" for n in range(1, 12)]
    rows = [("q", one, other) for one, other in pairwise(split)]
    assert signal("identical_normalized", *rows) == [False] * 10


def test_the_same_words_in_another_order_are_not_identical() -> None:
    rows = [("q", "a " * n + "aa", "aa" + " a" * n) for n in range(1, 8)]
    assert signal("identical_normalized", *rows) == [False] * 7


def test_identical_normalized_is_not_measured_without_texts() -> None:
    assert signal("identical_normalized", (None, None, None)) == [None]


# ---- the same in plain Python ----

WORDS = ["a", "b", "A", "it's", "it’s", "é", "日"]
GAPS = [" ", "  ", ", ", "\n", ".", " + "]
SHORT = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)), max_size=6).map(
    lambda parts: "".join(word + gap for word, gap in parts)
)


def plain_words(text: str) -> list[str]:
    for mark in ",.\n":
        text = text.replace(mark, " ")
    return text.lower().replace("’", "'").replace("日", " 日 ").split()


def plain_jaccard(one: str, other: str) -> float | None:
    a, b = set(plain_words(one)), set(plain_words(other))
    return len(a & b) / len(a | b) if a | b else None


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.tuples(SHORT, SHORT), max_size=5))
def test_compare_words_agrees_with_plain_python(rows: list[tuple[str, str]]) -> None:
    texts = pl.Series([text for row in rows for text in row], dtype=pl.String)
    places = np.arange(len(texts))
    compared = compare_words(texts, words(texts), places[0::2], places[0::2], places[1::2])
    assert compared.get_column("word_jaccard").to_list() == [pytest.approx(plain_jaccard(*row)) for row in rows]
    identical = compared.get_column("identical_normalized").to_list()
    assert [same and plain_words(a) != plain_words(b) for same, (a, b) in zip(identical, rows, strict=True)] == [
        False
    ] * len(rows)


# ---- what counts and what does not, for any sentence ----

SENTENCES = st.lists(st.sampled_from(["tea", "beans", "don't", "Él", "1999", "wait"]), min_size=1, max_size=8)
FORMS: dict[str, Callable[[str], str]] = {
    "spaces": lambda word: f"{word}  ",
    "lines": lambda word: f"{word}\n\n",
    "bold": lambda word: f"**{word}** ",
    "italics": lambda word: f"*{word}* ",
    "quotes": lambda word: f"“{word}” ",
    "apostrophe": lambda word: word.replace("'", "’") + " ",
    "comma": lambda word: f"{word} " if word.isdigit() else f"{word}, ",
    "dots": lambda word: f"{word} " if word.isdigit() else f"{word}… ",
}
MARKS = ["?", " -", " *", " <=", ":", " #", "=", ")", "`", "]", " |"]


@pytest.mark.slow
@given(SENTENCES, st.data())
def test_forms_of_the_same_sentence_are_identical(words: list[str], data: st.DataObject) -> None:
    forms = data.draw(st.lists(st.sampled_from(sorted(FORMS)), min_size=len(words), max_size=len(words)))
    other = "".join(FORMS[form](word) for form, word in zip(forms, words, strict=True))
    assert signal("identical_normalized", ("Tea?", " ".join(words) + ".", other)) == [True]


@pytest.mark.slow
@given(SENTENCES, st.sampled_from(MARKS), st.data())
def test_one_mark_more_is_a_difference(words: list[str], mark: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(words) - 1))
    other = [f"{word}{mark}" if place == at else word for place, word in enumerate(words)]
    assert signal("identical_normalized", ("Tea?", " ".join(words), " ".join(other))) == [False]
