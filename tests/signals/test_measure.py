"""All signals of a block of pairs: one row in, one row out, in the listed columns."""

from typing import Any

import polars as pl
import pytest

from curate.errors import RecipeError
from curate.rules import DEFAULTS
from curate.schema import PAIR
from curate.signals import COLUMNS, RESPONSES, SIDES, SIGNALS, measure, signal_of, with_signals

NULLS = dict.fromkeys(PAIR)


def pair(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    sides = {"prompt": ("user", prompt), "chosen": ("assistant", chosen), "rejected": ("assistant", rejected)}
    return NULLS | {side: [{"role": role, "content": text}] for side, (role, text) in sides.items()}


def block(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=PAIR)


PLAIN = pair("What is the capital of Brazil?", "It is Brasília, since 1960.", "São Paulo")
EMPTY = pair("", "", "")
CHINESE = pair("你好吗？", "我很好，谢谢你。今天的天气非常好，我们去公园吧。", "不好。")
CODE = pair("Code?", "```python\nprint(1)\n", "<think>hm</think>\n```\nprint(1)\n```")


def test_a_block_with_null_rows_keeps_the_row_order() -> None:
    rows = [NULLS, PLAIN, NULLS, EMPTY, CHINESE, NULLS, CODE, PLAIN, NULLS]
    one_by_one = pl.concat(measure(block(row)) for row in rows)
    assert measure(block(*rows)).equals(one_by_one)


def test_a_row_without_texts_has_nulls() -> None:
    assert measure(block(NULLS)).row(0) == (None,) * len(COLUMNS)


def test_some_values_of_a_simple_pair() -> None:
    names = [
        "prompt_chars",
        "chosen_words",
        "rejected_words",
        "chosen_digit_share",
        "chosen_upper_share",
        "chars_ratio",
    ]
    assert measure(block(PLAIN)).select(names).row(0) == (30, 5, 2, pytest.approx(4 / 27), pytest.approx(2 / 27), 3.0)


def test_chinese_words_are_characters() -> None:
    assert measure(block(CHINESE)).select("prompt_words", "chosen_words", "rejected_words").row(0) == (3, 20, 2)


def test_all_messages_of_a_side_and_of_the_prompt_are_measured() -> None:
    row = PLAIN | {"prompt": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]}
    assert measure(block(row)).select("prompt_chars", "prompt_lines", "prompt_words").row(0) == (8, 3, 2)


def test_no_rows() -> None:
    empty = measure(block())
    assert empty.columns == list(COLUMNS)
    assert len(empty) == 0


def test_the_types_do_not_depend_on_the_rows() -> None:
    assert measure(block()).schema == measure(block(NULLS)).schema == measure(block(PLAIN, CODE)).schema


@pytest.mark.slow
def test_a_text_of_five_megabytes() -> None:
    values = measure(block(pair("Count.", "one two three four\n" * 263_158, "No.")))
    assert values.select("chosen_chars", "chosen_words", "chosen_dup_line_share").row(0) == (
        5_000_002,
        1_052_632,
        pytest.approx(263_157 / 263_158),
    )


def test_with_signals_adds_columns_to_the_pairs() -> None:
    frame = with_signals(block(PLAIN))
    assert set(frame.columns) == {*PAIR, *COLUMNS}
    assert frame.item(0, "chosen")[0]["content"] == "It is Brasília, since 1960."


def test_every_signal_has_a_definition_and_its_columns() -> None:
    assert all(signal.about for signal in SIGNALS.values())
    assert SIGNALS["chars"].columns == ("prompt_chars", "chosen_chars", "rejected_chars")
    assert SIGNALS["refusal"].columns == ("chosen_refusal", "rejected_refusal")
    assert SIGNALS["margin"].columns == ("margin",)
    assert {signal.sides for signal in SIGNALS.values()} == {SIDES, RESPONSES, ()}


def test_every_default_rule_belongs_to_a_signal() -> None:
    assert {name.partition("_")[2] for name in DEFAULTS} <= set(COLUMNS)


def test_signal_of_suggests_the_closest_name() -> None:
    assert signal_of("chosen_chars").name == "chars"
    with pytest.raises(RecipeError, match=r"unknown signal 'chosen_char'\. Did you mean 'chosen_chars'\?"):
        signal_of("chosen_char")
