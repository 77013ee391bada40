"""End-of-turn tokens at the end of messages are taken off and noted; everything else stays."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import curate
from curate.schema import MESSAGES
from curate.text.end_tokens import end_tokens, without_end_tokens
from tests.data import plain

SIDES = ("prompt", "chosen")
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {"prompt": MESSAGES, "chosen": MESSAGES, "extra": pl.String}


def stripped(text: str | None, extra: str | None = None) -> tuple[str | None, str | None]:
    """Return the text of a response without its end token, and `extra`."""
    prompt = [{"role": "user", "content": "Tea?"}]
    row = {"prompt": prompt, "chosen": text and [{"role": "assistant", "content": text}], "extra": extra}
    found = without_end_tokens(pl.DataFrame([row], schema=SCHEMA), SIDES).row(0, named=True)
    assert plain(found["prompt"]) == prompt
    return found["chosen"] and found["chosen"][0]["content"], found["extra"]


@pytest.mark.parametrize("token", end_tokens())
def test_every_token_is_taken_off_and_noted(token: str) -> None:
    assert stripped(f"Soak them.{token}") == (
        "Soak them.",
        json.dumps({"stripped_end_token": token}, separators=(",", ":"), ensure_ascii=False),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Soak them. <|im_end|>\n", "Soak them."),
        ("Soak them.</s></s>", "Soak them."),
        ("<|eot_id|>", ""),
        ("Soak them.\n", "Soak them.\n"),
        ("<|im_end|> ends a turn.", "<|im_end|> ends a turn."),
        ("a <s>wrong</s>", "a <s>wrong</s>"),
        ("It ends with `</s>`", "It ends with `</s>`"),
        ("<|im_start|>user\nHi<|im_end|>", "<|im_start|>user\nHi"),  # which is still a leak
        (None, None),
    ],
)
def test_only_what_ends_a_text(text: str | None, expected: str | None) -> None:
    assert stripped(text)[0] == expected


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (None, {"stripped_end_token": "</s>"}),
        ("{}", {"stripped_end_token": "</s>"}),
        ('{"a": {"b": "}"}} ', {"a": {"b": "}"}, "stripped_end_token": "</s>"}),
    ],
)
def test_the_other_columns_stay(extra: str | None, expected: dict[str, object]) -> None:
    assert json.loads(stripped("Soak them.</s>", extra)[1] or "") == expected
    assert stripped("Soak them.", extra) == ("Soak them.", extra)


@given(st.text(st.characters(codec="utf-8", exclude_characters="<")), st.sampled_from(end_tokens()))
def test_a_text_is_as_it_would_be_without_its_token(text: str, token: str) -> None:
    assert stripped(f"{text}.{token}")[0] == f"{text}."


def test_ids_are_those_of_the_texts_without_the_token() -> None:
    plain = {"prompt": "Beans?", "chosen": "Soak them.", "rejected": "No idea."}
    ended = {name: f"{text}<|return|>" for name, text in plain.items()}
    one, other = curate.read([plain, ended]).select("pair_id", "prompt_id", "chosen").rows()
    assert one == other
