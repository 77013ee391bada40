"""Replies of endpoints in every form that was seen: the answer, or why there is none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clients.completions import ONLY_REASONING, Retry, Usage, read
from pipelines.clients.faults import Fault
from pipelines.clients.requests import Reply

USAGE = {"prompt_tokens": 5, "completion_tokens": 7}


def completion(message: Any, finish: str | None = "stop", **others: Any) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return json.dumps({"id": "x", "choices": [choice], "usage": USAGE} | others).encode()


def stream(*events: Any, done: bool = True) -> bytes:
    lines = [f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def piece(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def answer(
    text: str | None, finish: str | None = "stop", error: str | None = None, reasoning: str | None = None
) -> Reply:
    return Reply(text, finish, 5, 7, error, reasoning)


@pytest.mark.parametrize(
    ("message", "finish", "reply"),
    [
        ({"content": "Yes."}, "stop", answer("Yes.")),
        ({"content": "Yes."}, None, answer("Yes.", None)),
        ({"content": "Yes,"}, "length", answer("Yes,", "length")),
        ({"content": "Yes,"}, "content_filter", answer("Yes,", "content_filter")),
        # parts
        ({"content": [{"type": "text", "text": "Y"}, {"type": "text", "text": "es."}]}, "stop", answer("Yes.")),
        ({"content": ["Y", "es."]}, "stop", answer("Yes.")),
        (
            {"content": [{"type": "output_text", "text": "Yes."}, {"type": "image_url"}, 7, None]},
            "stop",
            answer("Yes."),
        ),
        ({"content": {"text": "Yes."}}, "stop", answer("Yes.")),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
                    {"type": "text", "text": "Yes."},
                ]
            },
            "stop",
            answer("Yes.", reasoning="Hm"),
        ),
        # reasoning, under every name
        ({"content": "Yes.", "reasoning_content": "Hm"}, "stop", answer("Yes.", reasoning="Hm")),
        ({"content": "Yes.", "reasoning": "Hm", "reasoning_content": "Hm"}, "stop", answer("Yes.", reasoning="Hm")),
        ({"content": "Yes.", "thinking": "Hm"}, "stop", answer("Yes.", reasoning="Hm")),
        (
            {"content": "Yes.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]},
            "stop",
            answer("Yes.", reasoning="Hm"),
        ),
        ({"content": "Yes.", "reasoning": None, "reasoning_content": " "}, "stop", answer("Yes.")),
        ({"content": None, "reasoning_content": "Hm"}, "stop", answer(None, "stop", ONLY_REASONING, "Hm")),
        ({"content": "", "reasoning": "Hm"}, None, answer(None, "reasoning", ONLY_REASONING, "Hm")),
        (
            {"content": None, "reasoning": "Hm"},
            "length",
            answer(None, "length", "cut off at max_tokens before any text", "Hm"),
        ),
        # no text, for a reason
        (
            {"content": None},
            "content_filter",
            answer(None, "content_filter", "filtered by the endpoint (finish_reason content_filter)"),
        ),
        ({"content": ""}, "SAFETY", answer(None, "content_filter", "filtered by the endpoint (finish_reason safety)")),
        (
            {"content": None, "tool_calls": [{"type": "function", "function": {"name": "look_up", "arguments": "{}"}}]},
            "tool_calls",
            answer(None, "tool_calls", "no text, but a call of a tool (look_up)"),
        ),
        (
            {"content": None, "function_call": {"name": "f"}},
            "stop",
            answer(None, "tool_calls", "no text, but a call of a tool (f)"),
        ),
        (
            {"content": None, "tool_calls": [7]},
            "stop",
            answer(None, "tool_calls", "no text, but a call of a tool (without a name)"),
        ),
        ({"content": None}, "tool_calls", answer(None, "tool_calls", "no text, but a call of a tool (tool_calls)")),
        (
            {"content": None, "refusal": "I can't\nhelp."},
            "stop",
            answer(None, "refusal", "refused by the model (I can't help.)"),
        ),
        (
            {"content": [{"type": "refusal", "refusal": "No."}]},
            "stop",
            answer(None, "refusal", "refused by the model (No.)"),
        ),
        # text beside it is an answer; its finish_reason says that it is not complete
        (
            {"content": "Let me see.", "tool_calls": [{"function": {"name": "f"}}]},
            "tool_calls",
            answer("Let me see.", "tool_calls"),
        ),
    ],
)
def test_messages(message: Any, finish: str | None, reply: Reply) -> None:
    assert read(completion(message, finish)) == reply
    assert read(completion(message, finish) + b"\n\ndata: [DONE]\n\n") == reply
    assert (
        read(stream({"choices": [{"delta": message, "finish_reason": finish}]}, {"choices": [], "usage": USAGE}))
        == reply
    )


@pytest.mark.parametrize(
    ("message", "finish"),
    [
        ({"content": None}, "stop"),
        ({"content": " \n"}, "stop"),
        ({"content": 7}, None),
        ({}, None),
        (None, "stop"),
        (7, "stop"),
    ],
)
def test_a_reply_without_anything_is_tried_again(message: Any, finish: str | None) -> None:
    assert read(completion(message, finish)) == Retry("the reply is empty", Usage(5, 7))


def test_a_completion_of_text() -> None:
    assert read(json.dumps({"choices": [{"text": "Yes.", "finish_reason": "stop"}]}).encode()) == Reply("Yes.", "stop")


@pytest.mark.parametrize(
    "body",
    [
        stream(piece(role="assistant", content=""), piece(content="Y"), piece(content="es."), piece("stop")),
        stream(piece(content="Yes."), piece("stop"), done=False),  # it ended all the same
        b": OPENROUTER PROCESSING\n\n" + stream(piece(content="Yes."), piece("stop")),
        b"event: message\nid: 7\n" + stream(piece(content="Yes."), piece("stop")),
        b"\xef\xbb\xbf"[3:] + b"\n\n" + stream(piece(content="Yes."), piece("stop")),
        stream(piece(content="Yes."), piece("stop")).replace(b"\n", b"\r\n"),
        stream(piece(content="Yes."), piece("stop")).replace(b"data: ", b"data:"),
        stream({"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}),  # whole, in one event
    ],
)
def test_streams(body: bytes) -> None:
    assert read(body) == Reply("Yes.", "stop")


def test_a_stream_without_a_finish_reason_ends_with_done() -> None:
    assert read(stream(piece(content="Yes."))) == Reply("Yes.", None)
    assert read(stream(piece(content="Yes."), done=False)) == Retry("the stream ended before the answer did", Usage())
    assert isinstance(read(stream(piece(content="Yes."), '{"choices": [{"del', done=False)), Retry)


def test_a_stream_of_thoughts_and_text_with_counts() -> None:
    body = stream(
        piece(reasoning_content="H"),
        piece(reasoning_content="m"),
        piece(content="Yes."),
        piece("stop"),
        {"choices": [], "usage": USAGE},
    )
    assert read(body) == answer("Yes.", reasoning="Hm")


def test_of_several_choices_the_first_counts() -> None:
    choices = [
        {"index": 1, "message": {"content": "No."}},
        {"index": 0, "message": {"content": "Yes."}, "finish_reason": "stop"},
    ]
    assert read(json.dumps({"choices": choices}).encode()) == Reply("Yes.", "stop")


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 5, "completion_tokens": -35}, (5, None)),
        ({"prompt_tokens": "5", "completion_tokens": 7.5}, (None, None)),
        ({"prompt_tokens": True, "completion_tokens": 10**30}, (None, None)),
        ({}, (None, None)),
        (None, (None, None)),
        ([5, 7], (None, None)),
        ("5", (None, None)),
    ],
)
def test_counts_that_are_nonsense_are_null_and_cost_no_text(usage: Any, counts: tuple[int | None, int | None]) -> None:
    assert read(completion({"content": "Yes."}, usage=usage)) == Reply("Yes.", "stop", *counts)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        # An error with status 200 that names its own status is treated like that status.
        ({"error": {"message": "Rate limited", "code": 429}}, Fault(429, "Rate limited")),
        (
            {
                "choices": [
                    {"message": {"content": "Ye"}, "finish_reason": "error", "error": {"message": "Lost", "code": 502}}
                ]
            },
            Fault(502, "Lost"),
        ),
        ({"error": "busy"}, Retry("the reply is not a chat completion (busy)", Usage(), foreign=True)),
        ({"hello": 1}, Retry("the reply is not a chat completion", Usage(), foreign=True)),
        ([1], Retry("the reply is not a chat completion", Usage(), foreign=True)),
        ({"choices": []}, Retry("the reply has no choices", Usage())),
        ({"choices": [], "usage": USAGE}, Retry("the reply has no choices", Usage(5, 7))),
        (
            {"choices": [{"message": {"content": "Ye"}, "finish_reason": "error"}], "usage": USAGE},
            Retry("the endpoint ended the answer with an error", Usage(5, 7)),
        ),
        (
            {"choices": [{"message": {"content": "Ye"}, "error": {"message": "Lost"}}], "usage": USAGE},
            Retry("the endpoint ended the answer with an error (Lost)", Usage(5, 7)),
        ),
    ],
)
def test_errors_with_status_200(body: Any, outcome: object) -> None:
    assert read(json.dumps(body).encode()) == outcome


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "stop", "text", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "delta",
                    "content",
                    "text",
                    "finish_reason",
                    "error",
                    "code",
                    "usage",
                    "type",
                    "tool_calls",
                    "index",
                    "reasoning",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(
    st.one_of(
        JSON, JSON.map(lambda value: {"choices": [{"message": value}]}), JSON.map(lambda value: {"choices": [value]})
    )
)
def test_no_reply_of_any_shape_is_an_exception(value: Any) -> None:
    plain = json.dumps(value).encode()
    for body in (plain, stream(value), stream(value, value, done=False), plain + b"data: [DONE]", plain[:-1]):
        outcome = read(body)
        assert isinstance(outcome, Reply | Retry | Fault)
        if isinstance(outcome, Reply):
            assert (outcome.text is None) == (outcome.error is not None)
            assert outcome.is_final


@pytest.mark.slow
def test_a_stream_of_megabytes_in_small_pieces_takes_linear_time() -> None:
    pieces = 40_000
    body = stream(*[piece(content="word " * 40)] * pieces, piece("stop"))
    assert len(body) > 8_000_000
    reply = read(body)
    assert isinstance(reply, Reply)
    assert reply.text == "word " * 40 * pieces
