"""A refused parameter is left out or renamed, in any wording; a refusal about something else changes nothing."""

from typing import Any

import pytest

from pipelines.clients.faults import Fault
from pipelines.clients.form import Form, form_of, merged

PLAIN = Form({})
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
PARAMS = {"temperature": 0.8, "max_tokens": 9, "seed": 3, "logprobs": True, "response_format": {"type": "json_schema"}}
BODY = PLAIN.body("m", MESSAGES, PARAMS)
USUAL = ["model", "messages", "stream", "temperature", "max_tokens", "seed", "logprobs", "response_format"]


def after(message: str, status: int = 400, code: str = "", param: str = "", form: Form = PLAIN) -> str | None:
    """What changes after this refusal, in words."""
    changed = form.after(Fault(status, message, code, param), form.body("m", MESSAGES, PARAMS))
    return None if changed is None else changed.changes(form)


def test_the_usual_body_asks_for_no_stream_and_leaves_nulls_out() -> None:
    assert list(BODY) == USUAL
    assert BODY["stream"] is False
    assert BODY["messages"] == MESSAGES
    assert "stream" not in PLAIN.body("m", MESSAGES, {"stream": None, "top_p": None})


@pytest.mark.parametrize(
    "refusal",
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'.",
            400,
            "unsupported_parameter",
            "max_tokens",
        ),
        ("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",),
        ("max_tokens: Extra inputs are not permitted", 422, "extra_forbidden", "max_tokens"),
        ("Unrecognized request argument supplied: max_tokens",),
        ("`max_tokens` is deprecated",),
    ],
)
def test_the_limit_has_two_names(refusal: tuple[Any, ...]) -> None:
    assert after(*refusal) == "with max_completion_tokens for max_tokens"


def test_a_limit_that_is_refused_under_both_names_is_never_left_out() -> None:
    renamed = Form({"max_tokens": "max_completion_tokens"})
    assert after("Unknown parameter: max_completion_tokens", form=renamed) is None
    newer = PLAIN.body("m", MESSAGES, {"max_completion_tokens": 9})
    changed = PLAIN.after(Fault(400, "Unknown parameter: max_completion_tokens"), newer)
    assert changed == Form({"max_completion_tokens": "max_tokens"})
    assert changed.body("m", MESSAGES, {"max_completion_tokens": 9})["max_tokens"] == 9
    assert (
        changed.after(
            Fault(400, "max_tokens is not supported"), changed.body("m", MESSAGES, {"max_completion_tokens": 9})
        )
        is None
    )


@pytest.mark.parametrize(
    ("refusal", "changes"),
    [
        (
            (
                "Unsupported value: 'temperature' does not support 0.8 with this model. Only the default (1).",
                400,
                "unsupported_value",
                "temperature",
            ),
            "without temperature",
        ),
        (("temperature: Input should be less than or equal to 1", 422), "without temperature"),
        (("seed: Extra inputs are not permitted", 422, "extra_forbidden", "seed"), "without seed"),
        (("Unknown field 'seed'",), "without seed"),
        (('Invalid JSON payload received. Unknown name "seed": Cannot find field.',), "without seed"),
        (("logprobs is not supported by this model",), "without logprobs"),
        (("This model does not support the parameters: logprobs, seed",), "without logprobs"),  # and seed the next time
        (("unknown parameter", 400, "", "stream"), "without stream"),
    ],
)
def test_other_parameters_are_left_out(refusal: tuple[Any, ...], changes: str) -> None:
    assert after(*refusal) == changes


@pytest.mark.parametrize(
    "refusal",
    [
        ("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",),
        ("INVALID_REQUEST_BODY model: case does not support feature: structured-outputs",),
        ("This response_format type is unavailable now",),
        ("Structured outputs are not available for this model",),
        ("json_schema is not supported; use json_object",),
        ("guided decoding is disabled on this server",),
        ("Invalid schema for response_format 'verdict': 'additionalProperties' is required",),
        ("failed to parse grammar",),
        ("JSON mode is not supported", 422),
        ("Failed to initialize samplers: failed to parse grammar: not supported", 500),
        ("'type' must be one of text", 400, "", "response_format.type"),
    ],
)
def test_structured_outputs_in_any_wording(refusal: tuple[Any, ...]) -> None:
    assert after(*refusal) == "without response_format"


@pytest.mark.parametrize(
    "refusal",
    [
        ("System role not supported",),
        ("Template error: invalid operation: System role not supported (in <string>:1)", 422),
        ("System role not supported", 500),  # llama.cpp
        (
            "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
            400,
            "unsupported_value",
            "messages[0].role",
        ),
        ("Developer instruction is not enabled for models/gemma-3-4b-it",),
        ("Conversation roles must alternate user/assistant/user/assistant/...",),
        ("This model does not support system messages.",),
        ("Role 'system' is invalid",),
    ],
)
def test_the_system_role_in_any_wording(refusal: tuple[Any, ...]) -> None:
    assert after(*refusal) == "with the system prompt in the user turn"


@pytest.mark.parametrize(
    "refusal",
    [
        (
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (1000 in the "
            "messages, 4000 in the completion). Please reduce max_tokens.",
            400,
            "context_length_exceeded",
            "messages",
        ),
        (
            "max_tokens is too large: 9. This model supports at most 8 completion tokens.",
            400,
            "invalid_value",
            "max_tokens",
        ),
        ("'max_tokens' must be less than the model's context",),
        ("Invalid value for this parameter", 400, "invalid_value"),
        ("Invalid 'messages[1].content': string too long.", 400, "", "messages[1].content"),
        ("The model `m` does not exist", 404, "model_not_found"),
        ("The seed of the pomegranate", 400),  # about no refusal
        ("The server had an error", 500),
        ("The system is temporarily unavailable", 500),
        ("seed is not supported", 500),  # a server error is not about a field
        ("temperature is not supported", 401),
        ("response_format is not supported", 429),
        ("", 400),
    ],
)
def test_other_refusals_change_nothing(refusal: tuple[Any, ...]) -> None:
    assert after(*refusal) is None


def test_what_is_not_sent_cannot_be_refused() -> None:
    body = PLAIN.body("m", MESSAGES[1:], {"max_tokens": 9})
    for message in ("System role not supported", "json_schema is not supported", "Unknown parameter: seed"):
        assert PLAIN.after(Fault(400, message), body) is None


def test_the_system_prompt_stands_in_front_of_the_first_user_turn() -> None:
    assert merged(MESSAGES) == [{"role": "user", "content": "Be brief.\n\nWhy?"}]
    chat = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Why?"},
    ]
    assert merged(chat) == chat
    system = [{"role": "system", "content": "One."}, {"role": "developer", "content": "Two."}]
    assert merged([*system, *chat]) == [{"role": "user", "content": "One.\n\nTwo.\n\nHi"}, *chat[1:]]
    assert merged(system[:1]) == [{"role": "user", "content": "One."}]
    assert merged([*system[:1], chat[1]]) == [{"role": "user", "content": "One."}, chat[1]]


def test_changes_of_several_requests_are_joined() -> None:
    one, other = Form({"seed": None}), Form({"max_tokens": "max_completion_tokens"}, system=False)
    joined = one.joined(other)
    assert joined == Form({"seed": None, "max_tokens": "max_completion_tokens"}, system=False)
    assert joined.changes(PLAIN) == (
        "without seed, with max_completion_tokens for max_tokens, with the system prompt in the user turn"
    )
    assert joined.changes(joined) == ""
    assert list(joined.body("m", MESSAGES, {"seed": 1, "max_tokens": 2})) == [
        "model",
        "messages",
        "stream",
        "max_completion_tokens",
    ]


@pytest.mark.parametrize(
    ("model", "address", "body"),
    [
        ("gpt-4o-mini", "https://api.openai.com/v1", ["temperature", "max_tokens", "seed", "logprobs"]),
        ("o3-mini", "https://api.openai.com/v1", ["max_completion_tokens", "seed"]),
        ("gpt-5", "https://api.openai.com/v1", ["max_completion_tokens", "seed"]),
        ("openai/gpt-5-mini", "https://openrouter.ai/api/v1", ["max_completion_tokens", "seed"]),
        (
            "gpt-5-chat-latest",
            "https://api.openai.com/v1",
            ["temperature", "max_completion_tokens", "seed", "logprobs"],
        ),
        ("mistral-small-latest", "https://api.mistral.ai/v1", ["temperature", "max_tokens", "random_seed", "logprobs"]),
        ("mistral-small-latest", "http://localhost:8000/v1", ["temperature", "max_tokens", "seed", "logprobs"]),
    ],
)
def test_known_families(model: str, address: str, body: list[str]) -> None:
    params = {name: PARAMS[name] for name in ("temperature", "max_tokens", "seed", "logprobs")}
    assert list(form_of(model, address).body(model, MESSAGES, params))[3:] == body


def test_families_without_a_system_role() -> None:
    found = {
        name: form_of(name, "http://h/v1").system
        for name in (
            "o1-mini",
            "google/gemma-2-9b-it",
            "gemma-3-4b-it",
            "Mistral-7B-Instruct-v0.2",
            "Mistral-7B-Instruct-v0.3",
            "qwen",
        )
    }
    assert [name for name, system in found.items() if not system] == [
        "o1-mini",
        "google/gemma-2-9b-it",
        "Mistral-7B-Instruct-v0.2",
    ]
