"""The language of a text, by the model that the package contains."""

import polars as pl
import pytest

from curate.signals.language import language

EN = "Good morning everyone, how are you doing today?"
PT = "Bom dia a todos, como vocês estão hoje?"
ES = "Buenos días a todos, ¿cómo están ustedes hoy?"
JA = "今日はいい天気ですね、散歩に行きましょう。"


def languages(*texts: str | None) -> list[str | None]:
    return language(pl.Series(texts, dtype=pl.String)).get_column("language").to_list()


def test_languages_keep_the_row_order_with_nulls() -> None:
    assert languages(EN, None, PT, "", EN, ES, "12", JA) == ["en", None, "pt", None, "en", "es", None, "ja"]


def test_confidence_is_a_probability_and_null_where_the_language_is() -> None:
    sure, unmeasured = language(pl.Series([PT, None])).get_column("language_confidence").to_list()
    assert 0.9 < sure <= 1
    assert unmeasured is None


def test_a_confidence_is_never_more_than_one() -> None:
    text = "나는 오늘 학교에 갔습니다 그리고 친구를 만났습니다"  # for which the model says 1.00006
    assert language(pl.Series([text])).rows() == [("ko", 1.0)]


@pytest.mark.parametrize(
    "text",
    [
        "hello there",  # ten letters
        "12345 67890 !!!! 12345",
        "https://example.com/a/path/with/many/letters",
        " \n\t",
    ],
)
def test_too_few_letters_are_not_measured(text: str) -> None:
    assert languages(text) == [None]


def test_twelve_letters_are_enough() -> None:
    assert languages("abcdefghijk", "abcdefghijkl")[0] is None
    assert languages("abcdefghijk", "abcdefghijkl")[1] is not None


@pytest.mark.parametrize(("before", "measured"), [("1" * 68, 1), ("1" * 69, 0), (" " * 148, 1), (" " * 149, 0)])
def test_letters_count_among_80_characters_or_160_before_white_space_is_joined(before: str, measured: bool) -> None:
    assert (languages(before + "abcdefghijkl") != [None]) == measured


@pytest.mark.parametrize(
    "text",
    [
        EN.upper(),
        EN.replace(" ", "\n"),
        f"https://exemplo.com/um/caminho/em/portugues {EN}",
        f"```\n{EN}\n```",
        EN + " " * 200 + ES * 10,  # the first 80 characters decide
        (EN + " " + EN)[:80] + " " + ES * 10,
    ],
)
def test_formatting_does_not_change_the_language(text: str) -> None:
    assert languages(text) == ["en"]


def test_types_and_no_rows() -> None:
    empty = language(pl.Series([], dtype=pl.String))
    assert empty.schema == {"language": pl.String, "language_confidence": pl.Float32}
    assert len(empty) == 0
