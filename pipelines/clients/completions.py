"""Parse responses of OpenAI-compatible endpoints: answers, errors, Retry-After, model lists."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import msgspec

from pipelines.clients.requests import Reply

RETRIED = (408, 409, 425, 429)  # statuses that are retried, besides 500 and above
MAX_ERROR_BYTES = 1 << 16  # of an error body that are read


class Usage(msgspec.Struct, frozen=True):
    """Token counts; null = not reported by the endpoint."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


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
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = _error(body)
        return Retry(f"the reply is not a chat completion{f' ({error})' if error else ''}", Usage(), foreign=True)
    usage = answer.usage or Usage()
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
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []


def _error(body: bytes) -> str | None:
    try:
        error = msgspec.json.decode(body)["error"]
        return error if isinstance(error, str) else " ".join(str(error.get(key) or "") for key in ("code", "message"))
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError, AttributeError):
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
    usage: Usage | None = None


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]
