"""Parse responses of OpenAI-compatible endpoints: answers, errors, Retry-After, model lists."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from curate import limits
from pipelines.clients.requests import Reply

RETRIED = (408, 409, 425, 429)  # statuses that are retried, besides 500 and above
MAX_ERROR_BYTES = 1 << 16  # of an error body that are read
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # no JSON, or nested without end


class Usage(msgspec.Struct, frozen=True):
    """Token counts; null = not reported by the endpoint, or nonsense."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @classmethod
    def of(cls, reported: object) -> "Usage":
        """Return the counts of a reply's `usage`: whole numbers from 0 to `limits.TOKENS`, and null for others."""
        given = reported if isinstance(reported, dict) else {}
        counts = (given.get(name) for name in cls.__struct_fields__)
        return cls(*(c if type(c) is int and 0 <= c <= limits.TOKENS else None for c in counts))


@dataclass(frozen=True, slots=True)
class Retry:
    """A failed attempt that may succeed when repeated."""

    why: str
    usage: Usage | None = None  # what it cost nevertheless; null = nothing, it was not processed
    wait: float | None = None  # seconds, from Retry-After
    busy: bool = False  # 429: the endpoint works, but is overloaded
    counts: bool = True  # towards the request's number of attempts
    foreign: bool = False  # the body is not a chat completion


def read(body: bytes) -> Reply | Retry:
    """Parse the body of a response with status 200."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except UNREADABLE:
        error = _error(body)
        return Retry(f"the reply is not a chat completion{f' ({error})' if error else ''}", Usage(), foreign=True)
    usage = Usage.of(answer.usage)
    if not answer.choices:
        return Retry("the reply has no choices", usage)
    choice = answer.choices[0]
    message = choice.message or _Message(choice.text)
    parts = message.content if isinstance(message.content, list) else [_Part(message.content)]
    text = "".join(part.text or "" for part in parts) or message.refusal or ""
    if text.strip():
        return Reply(text, choice.finish_reason, usage.prompt_tokens, usage.completion_tokens)
    if choice.finish_reason == "length":  # reasoning models with a small max_tokens
        why = "cut off at max_tokens before any text"
        return Reply(None, "length", usage.prompt_tokens, usage.completion_tokens, error=why)
    return Retry("the reply is empty", usage)


def error_of(body: bytes) -> str:
    """Return code and message of the error object, or else the beginning of the body."""
    return _error(body) or body[:MAX_ERROR_BYTES].decode("utf-8", "replace")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header (a number or a date); None if it is missing or neither."""
    value = headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def model_names(body: bytes) -> list[str]:
    """Return the models in a response to GET /models; an empty list if it is malformed."""
    try:
        return [model.id for model in msgspec.json.decode(body, type=_Models).data if model.id]
    except UNREADABLE:
        return []


def rendered_prompt(body: bytes) -> str:
    """Return the text of llama.cpp's response to POST /apply-template; empty if it is malformed."""
    try:
        return msgspec.json.decode(body, type=_Rendered).prompt
    except UNREADABLE:
        return ""


def _error(body: bytes) -> str | None:
    try:
        error = msgspec.json.decode(body)["error"]
        return error if isinstance(error, str) else " ".join(str(error.get(key) or "") for key in ("code", "message"))
    except (*UNREADABLE, LookupError, TypeError, AttributeError):
        return None


class _Part(msgspec.Struct):
    text: str | None = None


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None  # of a plain completion
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: Any = None  # checked by itself: nonsense must not cost the text


class _Rendered(msgspec.Struct):
    prompt: str


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]
