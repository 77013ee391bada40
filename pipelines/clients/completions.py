"""What an OpenAI-compatible endpoint sends back: answers, errors, how long to wait, which models it knows."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import msgspec

from pipelines.clients.requests import Reply

RETRIED = (408, 409, 425, 429)  # and everything from 500 on
LONGEST_ERROR = 1 << 16  # bytes of an error that are looked at


class Usage(msgspec.Struct, frozen=True):
    """Tokens that were counted; null = the endpoint did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """A try that failed where another may not."""

    why: str
    usage: Usage | None = None  # what it cost all the same; null = nothing, it was not processed
    wait: float | None = None  # seconds the endpoint asked for
    busy: bool = False  # 429: the endpoint lives, it is only too much
    counts: bool = True  # as one of the tries that a request has
    foreign: bool = False  # an answer, but not a chat completion


def read(body: bytes) -> Reply | Retry:
    """The answer in a reply with status 200."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = _error(body)
        return Retry(f"the reply is no chat completion{f' ({said})' if said else ''}", Usage(), foreign=True)
    usage = answer.usage or Usage()
    if not answer.choices:
        return Retry("the reply holds no choice", usage)
    choice = answer.choices[0]
    message = choice.message or _Message(choice.text)
    text = _text(message.content) or message.refusal or ""
    if text.strip():
        return Reply(text, choice.finish_reason, usage.prompt_tokens, usage.completion_tokens)
    if choice.finish_reason == "length":  # as reasoning models do when max_tokens is small
        why = "cut off at max_tokens before any text"
        return Reply(None, "length", usage.prompt_tokens, usage.completion_tokens, error=why)
    return Retry("the reply is empty", usage)


def error_of(body: bytes) -> str:
    """What an endpoint said went wrong: code and message of its error object, or the beginning of the text."""
    return _error(body) or body[:LONGEST_ERROR].decode("utf-8", "replace")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date; null where it is missing or neither."""
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
    """The models that GET /models lists; none where it does not."""
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


def _text(content: "str | list[_Part] | None") -> str:
    if isinstance(content, list):
        return "".join(part.text or "" for part in content)
    return content or ""


class _Part(msgspec.Struct):
    text: str | None = None


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None  # of a bare completion
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: Usage | None = None


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]
