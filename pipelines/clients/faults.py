"""Errors of OpenAI-compatible endpoints, in any of the forms that servers give them: status, code, field, message."""

import re
from dataclasses import dataclass
from typing import Any

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # no JSON, or nested without end
MAX_BYTES = 1 << 16  # of an error body that are read
MAX_CHARS = 2000  # of a message
MAX_DEPTH = 4  # of messages that are JSON texts with a message
MESSAGES = ("message", "detail", "msg", "error_description", "title", "reason", "error")
TAG = re.compile(r"<[^<>]*>")
FAILED = range(400, 600)
FILTER_CODES = (
    "content_filter", "content_policy_violation", "responsibleaipolicyviolation", "data_inspection_failed",
    "datainspectionfailed", "moderation_blocked",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """An error of an endpoint. As a string: its message."""

    status: int = 0  # of HTTP, or the one that the error itself names; 0 = none
    message: str = ""
    code: str = ""  # a word such as insufficient_quota
    param: str = ""  # the field of the request that it is about

    def __str__(self) -> str:
        """Return the message, or the code where there is none."""
        return self.message or self.code

    @property
    def is_filter(self) -> bool:
        """Whether the prompt was refused for its content."""
        return self.code.lower() in FILTER_CODES


def fault_of(status: int, body: bytes) -> Fault:
    """Return the error in the body of a response, whatever its form; the beginning of the body where it has none."""
    found = fault_in(body)
    if found is None:
        text = body[:MAX_BYTES].decode("utf-8", "replace")
        is_page = "<html" in text.lower()
        title = text.partition("<title>")[2].partition("</title>")[0] if is_page else ""
        found = Fault(message=title or (TAG.sub(" ", text) if is_page else text))
    return Fault(status, " ".join(found.message.split())[:MAX_CHARS], found.code, found.param)


def fault_in(answer: Any) -> Fault | None:
    """
    Return the error in a response: bytes of JSON or a value. None if it holds none.

        fault_in(b'{"error": {"message": "No such model", "code": 404}}')  # Fault(404, "No such model")
    """
    if isinstance(answer, bytes):
        try:
            answer = msgspec.json.decode(answer)
        except UNREADABLE:
            return None
        if isinstance(answer, dict) and not answer.get("error"):  # vLLM, FastAPI, TGI: without an object of its own
            return _of(answer, 0) if any(answer.get(name) for name in MESSAGES) else None
        if isinstance(answer, list) and answer:  # Google
            answer = answer[0]
    error = answer.get("error") if isinstance(answer, dict) else None
    return _of(error, 0) if error else None


def _of(error: Any, depth: int) -> Fault:
    if isinstance(error, str):
        return _of_text(error, depth)
    if isinstance(error, list):  # FastAPI: one entry per field
        faults = [_of(entry, depth + 1) for entry in error] if depth < MAX_DEPTH else []
        first = faults[0] if faults else Fault()
        return Fault(message="; ".join(map(str, faults)), code=first.code, param=first.param)
    if not isinstance(error, dict):
        return Fault(message=str(error)[:MAX_CHARS])
    inner = next((error[name] for name in MESSAGES if error.get(name)), "")
    fault = _of(inner, depth + 1) if depth < MAX_DEPTH else Fault()
    place = error.get("loc")
    where = ".".join(str(part) for part in place if part != "body") if isinstance(place, list) else ""
    told = error["metadata"].get("raw") if isinstance(error.get("metadata"), dict) else None  # OpenRouter
    cause = str(_of(told, depth + 1)) if told and depth < MAX_DEPTH else ""
    words = [f"{where}: " if where else "", fault.message, f" ({cause})" if cause else ""]
    codes = [str(error.get(name) or "") for name in ("code", "type", "status")]
    return Fault(
        status=fault.status or next((int(code) for code in codes if code.isdecimal() and int(code) in FAILED), 0),
        message="".join(words)[:MAX_CHARS],
        code=fault.code or next((code for code in codes if code and not code.isdecimal()), ""),
        param=fault.param or where or str(error.get("param") or ""),
    )


def _of_text(text: str, depth: int) -> Fault:
    """Return the error in a message, which may itself be JSON, alone or behind some words."""
    start = text.find("{")
    if depth < MAX_DEPTH and start >= 0:
        try:
            inner = msgspec.json.decode(text[start:])
        except UNREADABLE:
            return Fault(message=text)
        fault = _of(inner, depth + 1) if isinstance(inner, dict) else Fault()
        if fault.message:
            return Fault(fault.status, text[:start] + fault.message, fault.code, fault.param)
    return Fault(message=text)
