"""Log-probs of tokens in replies."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clients.completions import read
from pipelines.clients.logps import of_answer, of_prompt
from pipelines.clients.requests import Reply


def token(text: str | None, logprob: Any, raw: list[Any] | None = None) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": raw}


@pytest.mark.parametrize(
    ("content", "text", "mean"),
    [
        ([token("Hi", -0.5)], "Hi", -0.5),
        ([token("Hi", -0.5), token(" you", -1.5)], "Hi you", -1.0),
        ([token("Hi", -0.5), token("<|im_end|>", -9.0)], "Hi", -0.5),  # vLLM reports the end of the turn, too
        ([token("Hi", -0.5), token("", -9.0)], "Hi", -0.5),
        ([token("<think>", -3.0), token("hm</think>", -5.0), token("Hi", -0.5)], "Hi", -0.5),
        ([token("Hi", -3.0), token("</think>", -5.0), token("Hi", -0.5)], "Hi", -0.5),  # the last place counts
        ([token("\ufffd", -1.0, [0xF0, 0x9F]), token("\ufffd", -3.0, [0x8D, 0xB5])], "🍵", -2.0),
        ([token("Hi", 0.0)], "Hi", 0.0),
        ([token("Hi", 0.25)], "Hi", 0.0),  # rounding of the server
        ([token("Hi", -1)], "Hi", -1.0),
        ([token("\ufffd", -1.0), token("\ufffd", -3.0)], "🍵", None),  # without bytes nothing can be told
        ([token("Hi", -0.5)], "Ho", None),
        ([token("Hi", None)], "Hi", None),
        ([token("Hi", "-0.5")], "Hi", None),
        ([token("Hi", True)], "Hi", None),
        ([token(None, -0.5)], "Hi", None),
        ([token("Hi", -0.5, [256])], "Hi", -0.5),
        ([None], "Hi", None),
        ([], "Hi", None),
        ([token("Hi", -0.5)], "", None),
    ],
)
def test_the_mean_is_over_the_tokens_of_the_text(content: list[Any], text: str, mean: float | None) -> None:
    assert of_answer(content, text) == mean


@pytest.mark.parametrize(
    ("listed", "skip", "mean"),
    [
        ([None, {"5": {"logprob": -1.0}}, {"9": {"logprob": -3.0}}], 1, -2.0),
        ([None, {"5": {"logprob": -1.0}}, {"9": {"logprob": -3.0}}], 2, -3.0),
        ([None, {"5": {"logprob": -1.0}}], 0, -1.0),  # the first token never counts
        ([None, {"5": {"logprob": -1.0}, "7": {"logprob": -0.2}}], 1, -1.0),  # the prompt's own comes first
        ([None, {"5": {"logprob": -1.0}}], 2, None),
        ([None, {"5": {"logprob": -1.0}}, None], 1, None),
        ([None, {}], 1, None),
        ([None, {"5": -1.0}], 1, None),
        ([], 0, None),
    ],
)
def test_the_mean_is_over_the_tokens_after_the_first_ones(listed: list[Any], skip: int, mean: float | None) -> None:
    assert of_prompt(listed, skip) == mean


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["logprob", "bytes", "token"]), inner),
    max_leaves=12,
)


@given(st.lists(ANY, max_size=5), st.text(max_size=3), st.integers(0, 4))
def test_no_list_is_an_exception(listed: list[Any], text: str, skip: int) -> None:
    for mean in (of_answer(listed, text), of_prompt(listed, skip)):
        assert mean is None or (mean <= 0 and math.isfinite(mean))


def test_log_probs_of_an_answer_are_read_in_one_piece_and_from_a_stream() -> None:
    first, second = ([token("Hi", -0.5)], [token(" you", -1.5)])
    whole = {"message": {"content": "Hi you"}, "finish_reason": "stop", "logprobs": {"content": [*first, *second]}}
    assert read(json.dumps({"choices": [whole]}).encode()) == Reply("Hi you", "stop", logp_per_token=-1.0)
    pieces = [
        {"delta": {"content": "Hi"}, "logprobs": {"content": first}},
        {"delta": {"content": " you"}, "finish_reason": "stop", "logprobs": {"content": second}},
    ]
    events = "".join(f"data: {json.dumps({'choices': [piece]})}\n\n" for piece in pieces)
    assert read(f"{events}data: [DONE]\n\n".encode()) == Reply("Hi you", "stop", logp_per_token=-1.0)
    odd: Any
    for odd in (None, {}, {"content": None}, [], "no"):
        assert read(json.dumps({"choices": [whole | {"logprobs": odd}]}).encode()) == Reply("Hi you", "stop")


def test_log_probs_of_a_prompt_are_a_reply_whatever_the_model_adds() -> None:
    body = {
        "choices": [{"message": {"content": None}, "finish_reason": "length"}],
        "prompt_logprobs": [None, {"5": {"logprob": -1.0}}, {"9": {"logprob": -3.0}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    assert read(json.dumps(body).encode(), skip=2) == Reply("", "length", 3, 1, logp_per_token=-3.0)
    assert read(json.dumps(body).encode(), skip=3) == Reply("", "length", 3, 1)
