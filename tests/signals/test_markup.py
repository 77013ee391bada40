"""Markup, and texts that stop in the middle."""

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from curate.signals.markup import RESPONSE, TEXT, ends_midsentence, markdown_share, open_fence, think

Signal = Callable[[pl.Expr], pl.Expr]
SENTENCE = "The first sentence of this answer is long enough to be running text. "  # 69 characters


def value(signal: Signal, text: str | None) -> Any:
    return pl.DataFrame({"text": [text]}, schema={"text": pl.String}).select(signal(pl.col("text"))).item()


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        ("Run this:\n```python\nprint(1)", True),
        ("```\na\n```\n```\nb", True),
        ("- ```sh\n  ls", True),
        ("1. ```sh\n   ls", True),
        ("```python\nprint(1)\n```", False),
        ("  ```\n  a\n  ```", False),
        ("Write ``` to open a fence.", False),
        ("Inline `code` only.", False),
    ],
)
def test_open_fence(text: str, is_open: bool) -> None:
    assert value(open_fence, text) is is_open


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("<think>Let me see</think>42", True),
        ("So it is 42.</thinking>42", True),
        ("<REASONING>", True),
        ("I think so.", False),
        ("<thinker>", False),
        ("< think >", False),
    ],
)
def test_think(text: str, holds: bool) -> None:
    assert value(think, text) is holds


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("# Title\ntext", 0.5),
        ("- a\n* b\n+ c\n1. d\n2) e", 1.0),
        ("> quote\n| a | b |\n```\n  - nested", 1.0),
        ("#hashtag\n-5 degrees\n1.5 m\n**bold**", 0.0),
        ("a # b", 0.0),
        ("", 0.0),
    ],
)
def test_markdown_share(text: str, share: float) -> None:
    assert value(markdown_share, text) == share


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE + "The second one stops after a comma,",
        SENTENCE + "The second one stops after the",
        SENTENCE + "The second one stops in the midd",
        SENTENCE + "It stops before white space, and \n\n",
        "A line before it.\n" + SENTENCE + "THE SECOND ONE STOPS AFTER AND",
        "Uma resposta que tem mais de sessenta caracteres e acaba depois de uma",
        "Una respuesta que tiene más de sesenta caracteres y termina después de la",
        "この" * 15 + "「は」. 1a. " + "この" * 15,
    ],
)
def test_ends_midsentence(text: str) -> None:
    assert value(ends_midsentence, text) is True


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE,
        SENTENCE + "Does it end?",
        SENTENCE + "He said “yes.”",
        SENTENCE + "The second one ends with pH",
        SENTENCE + "See https://example.com/and",
        SENTENCE + "Nobody knows which is greater. - Albert Einstein",
        SENTENCE + "I do not know what you are talking about",
        SENTENCE + "Is there anything else I can help you with",
        SENTENCE + "#and",
        "Stops after the",  # too short to be running text
        SENTENCE + "\nStops after the",  # its last line is too short as well
        "- " + SENTENCE + "a list item may stop after the",
        "3. " + SENTENCE + "a list item may stop after the",
        "> " + SENTENCE + "a quotation may stop after the",
        "A heading of more than sixty characters that has no sentence before it",
        "```\n" + SENTENCE + "an open fence is another signal's matter, and",
        # The letter before the last ones is not ASCII: "o", "a", "es" alone are words that cannot end a sentence.
        "Uma resposta que tem mais de sessenta caracteres e acaba com a palavra não",
        "Una respuesta que tiene más de sesenta caracteres y termina con la palabra día",
        "Uma resposta que tem mais de sessenta caracteres e acaba com a palavra pães",
    ],
)
def test_does_not_end_midsentence(text: str) -> None:
    assert value(ends_midsentence, text) is False


def test_midsentence_needs_sixty_characters() -> None:
    assert value(ends_midsentence, "a" * 56 + " the") is True
    assert value(ends_midsentence, "a" * 55 + " the") is False


@pytest.mark.parametrize(
    ("sentences", "rest", "expected"), [(1, 60, True), (1, 61, False), (2, 61, False), (3, 100, True), (3, 101, False)]
)
def test_a_whole_sentence_may_lack_its_full_stop(sentences: int, rest: int, expected: bool) -> None:
    """It is taken for one where it is long, and longer still where the writer sets full stops."""
    assert value(ends_midsentence, "This line has one. " * sentences + "b" * rest) is expected


def test_midsentence_looks_at_the_last_300_characters() -> None:
    assert value(ends_midsentence, "- " + "a" * 294 + " the") is False  # a list item
    assert value(ends_midsentence, "- " + "a" * 295 + " the") is True


@pytest.mark.parametrize("signal", [signal.function for signal in TEXT + RESPONSE])
def test_null_is_not_measured(signal: Signal) -> None:
    assert value(signal, None) is None


@pytest.mark.parametrize("signal", [open_fence, think, ends_midsentence])
def test_an_empty_text_has_no_markup(signal: Signal) -> None:
    assert value(signal, "") is False
