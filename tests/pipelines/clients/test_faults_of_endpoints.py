"""Errors of endpoints are shown as their message, whatever form they come in, never as raw JSON."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clients.faults import Fault, fault_of

REFUSED = {"message": "No seed here", "type": "invalid_request_error", "param": "seed", "code": "unsupported_parameter"}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        # OpenAI; vLLM; TGI; FastAPI; Google; Ollama; Cohere; Mistral; Anthropic
        ({"error": REFUSED}, Fault(400, "No seed here", "unsupported_parameter", "seed")),
        (
            {"object": "error", "message": "No", "type": "BadRequestError", "param": None, "code": 400},
            Fault(400, "No", "BadRequestError"),
        ),
        (
            {"error": "Template error: no system role", "error_type": "template_error"},
            Fault(400, "Template error: no system role"),
        ),
        ({"detail": "Not Found"}, Fault(400, "Not Found")),
        (
            {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]},
            Fault(400, "seed: Extra inputs are not permitted", "", "seed"),
        ),
        (
            {
                "object": "error",
                "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs"}]},
                "type": "invalid_request_error",
            },
            Fault(400, "seed: Extra inputs", "extra_forbidden", "seed"),
        ),
        (
            [{"error": {"code": 400, "message": "No seed", "status": "INVALID_ARGUMENT"}}],
            Fault(400, "No seed", "INVALID_ARGUMENT"),
        ),
        ({"error": "model 'x' not found"}, Fault(400, "model 'x' not found")),
        ({"message": "invalid seed"}, Fault(400, "invalid seed")),
        (
            {"type": "error", "error": {"type": "invalid_request_error", "message": "No"}},
            Fault(400, "No", "invalid_request_error"),
        ),
        # OpenRouter: the provider's own error inside
        (
            {
                "error": {
                    "message": "Provider returned error",
                    "code": 400,
                    "metadata": {"raw": json.dumps({"error": REFUSED}), "provider_name": "X"},
                }
            },
            Fault(400, "Provider returned error (No seed here)"),
        ),
        # LiteLLM: JSON behind words
        (
            {"error": {"message": "BadRequest: " + json.dumps({"error": REFUSED}), "code": "400"}},
            Fault(400, "BadRequest: No seed here", "unsupported_parameter", "seed"),
        ),
        # no JSON, or no message
        ("plain text", Fault(400, '"plain text"')),
        ({"error": {}}, Fault(400, '{"error": {}}')),
        ({"error": {"code": "busy"}}, Fault(400, "", "busy")),
        ({"error": True}, Fault(400, "True")),
    ],
)
def test_forms(body: Any, fault: Fault) -> None:
    assert fault_of(400, json.dumps(body).encode()) == fault


def test_pages_are_shown_by_their_title() -> None:
    page = b"<!DOCTYPE html><html><head><title>502 Bad\n Gateway</title></head><body><h1>nginx</h1></body></html>"
    assert str(fault_of(502, page)) == "502 Bad Gateway"
    assert str(fault_of(502, b"<html><body><p>We are <b>down</b></p></body></html>")) == "We are down"
    assert str(fault_of(502, b"upstream\nfailed")) == "upstream failed"
    assert fault_of(502, b"") == Fault(502)


def test_a_message_is_bounded() -> None:
    assert len(str(fault_of(400, b"x" * 10_000_000))) == 2_000
    assert len(str(fault_of(400, json.dumps({"error": {"message": "y" * 10_000_000}}).encode()))) == 2_000
    assert len(str(fault_of(400, json.dumps({"detail": [{"msg": "z" * 5_000}] * 500}).encode()))) == 2_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "detail", "code", "type", "status", "param", "metadata", "raw", "loc", "msg"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_no_form_is_an_exception(value: Any) -> None:
    fault = fault_of(400, json.dumps(value).encode())
    assert fault.status == 400
    assert isinstance(fault.param + fault.code + str(fault), str)
