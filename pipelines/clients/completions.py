"""Parse replies of OpenAI-compatible endpoints: the answer, or why there is none; Retry-After, model lists."""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from curate import limits
from pipelines.clients import logps
from pipelines.clients.faults import UNREADABLE, Fault, fault_in
from pipelines.clients.requests import Reply

RETRIED = (408, 409, 425, 429)  # statuses that are retried, besides 500 and above
STREAM = re.compile(rb"(data|event|id|retry)?:")  # how the lines of a server-sent stream begin
DONE = b"[DONE]"  # the last event of a stream
# Fields with the thoughts of a reasoning model: DeepSeek and vLLM, OpenRouter and newer vLLM, Ollama.
REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
THOUGHTS = ("thinking", "reasoning")  # types of a content part
MAX_DEPTH = 3  # of lists of parts that hold parts
FILTERED = ("content_filter", "safety", "prohibited_content", "blocklist", "recitation", "sensitive")
CALLED = ("tool_calls", "function_call", "tool_use")


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


@dataclass(slots=True)
class _Said:
    """What a body holds, in one piece or collected from the events of a stream."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    called: str = ""  # the tool that was called
    finish: str | None = None
    usage: Usage = field(default_factory=Usage)
    tokens: list[Any] = field(default_factory=list)  # of the answer, with their log-probs
    prompt: list[Any] | None = None  # log-probs of the prompt's tokens
    choices: int = 0
    fault: Fault | None = None
    is_empty: bool = True  # nothing in it has the form of a completion
    ended: bool = True  # false: a stream that broke off

    def add(self, answer: Any) -> None:
        """Add a completion, or a piece of one. Of several choices the first counts."""
        if not isinstance(answer, dict):
            return
        self.is_empty &= not isinstance(answer.get("choices"), list)
        if answer.get("usage") is not None:
            self.usage = Usage.of(answer["usage"])
        if isinstance(listed := answer.get("prompt_logprobs"), list):
            self.prompt = listed
        self.fault = self.fault or fault_in(answer)
        choices = answer.get("choices")
        firsts = [c for c in choices if isinstance(c, dict) and not c.get("index")] if isinstance(choices, list) else []
        for choice in firsts[:1]:
            self.choices += 1
            self.fault = self.fault or fault_in(choice)
            if isinstance(reason := choice.get("finish_reason"), str) and reason:
                self.finish = reason
            reported = choice.get("logprobs")
            if isinstance(reported, dict) and isinstance(content := reported.get("content"), list):
                self.tokens += content
            message = next((m for m in (choice.get("message"), choice.get("delta")) if isinstance(m, dict)), {})
            self._hear(message if message else {"content": choice.get("text")})  # `text`: a plain completion

    def _hear(self, message: Mapping[str, Any]) -> None:
        content = message.get("content")
        parts = content if isinstance(content, list) else [content]
        self.texts += (_text(part) for part in parts if _kind(part) not in (*THOUGHTS, "refusal"))
        self.thoughts.append(next(filter(None, (_text(message.get(name)) for name in REASONING)), ""))
        self.thoughts += (_text(part) for part in parts if _kind(part) in THOUGHTS)
        self.refusals.append(_text(message.get("refusal")))
        self.refusals += (_text(part) for part in parts if _kind(part) == "refusal")
        calls = message.get("tool_calls") or message.get("function_call")
        if calls and not self.called:
            first = calls[0] if isinstance(calls, list) else calls
            named = first.get("function", first) if isinstance(first, dict) else {}
            self.called = (isinstance(named, dict) and _text(named.get("name"))) or "without a name"


def read(body: bytes, skip: int = 0) -> Reply | Retry | Fault:
    """
    Parse the body of a response with status 200, also one that streams although it was not asked to.

    `skip`: tokens of the prompt that are left out of its mean log-prob, if the body holds log-probs of the prompt.

    A Fault is an error that came with status 200 and names its own status.
    """
    said = _Said()
    try:
        if STREAM.match(body.lstrip()):
            said.ended = False
            for event in _events(body):
                said.ended |= event == DONE
                said.add(None if event == DONE else msgspec.json.decode(event))
        else:
            said.add(msgspec.json.decode(body.rstrip().removesuffix(DONE).rstrip().removesuffix(b"data:")))
    except UNREADABLE:
        return _foreign(body)
    if said.fault is not None and said.fault.status:
        return said.fault
    if not said.choices:
        return _foreign(body, said.fault) if said.is_empty else Retry("the reply has no choices", said.usage)
    return _reply(said, skip)


def _reply(said: _Said, skip: int) -> Reply | Retry:
    if said.fault is not None or said.finish == "error":
        why = f" ({said.fault})" if said.fault else ""
        return Retry(f"the endpoint ended the answer with an error{why}", said.usage)
    if not (said.ended or said.finish):
        return Retry("the stream ended before the answer did", said.usage)
    sent, got = said.usage.prompt_tokens, said.usage.completion_tokens
    text, thoughts, refusal = map("".join, (said.texts, said.thoughts, said.refusals))
    reasoning = thoughts if thoughts.strip() else None
    if said.prompt is not None:  # what the model adds to the messages is of no interest
        return Reply(text, said.finish, sent, got, logp_per_token=logps.of_prompt(said.prompt, skip))
    if text.strip():
        likely = logps.of_answer(said.tokens, text)
        return Reply(text, said.finish, sent, got, reasoning=reasoning, logp_per_token=likely)
    if (finish := (said.finish or "").lower()) in FILTERED:
        why, finish = f"filtered by the endpoint (finish_reason {finish})", "content_filter"
    elif said.called or finish in CALLED:
        why, finish = f"no text, but a call of a tool ({said.called or finish})", "tool_calls"
    elif refusal.strip():
        why, finish = f"refused by the model ({' '.join(refusal.split())[:100]})", "refusal"
    elif finish == "length":  # reasoning models with a small max_tokens
        why = "cut off at max_tokens before any text"
    elif reasoning:
        why, finish = ONLY_REASONING, said.finish or "reasoning"
    else:
        return Retry("the reply is empty", said.usage)
    return Reply(None, finish, sent, got, error=why, reasoning=reasoning)


# Of a reply without text; the model's setting `reasoning_as_answer` counts its reasoning as the text.
ONLY_REASONING = "only reasoning and no answer (reasoning_as_answer: true counts it as one)"


def _foreign(body: bytes, fault: Fault | None = None) -> Retry:
    fault = fault or fault_in(body)
    return Retry(f"the reply is not a chat completion{f' ({fault})' if fault else ''}", Usage(), foreign=True)


def _events(body: bytes) -> Iterator[bytes]:
    """Yield the data of each event of a server-sent stream (WHATWG HTML, 9.2), without comments and other fields."""
    data: list[bytes] = []
    for line in (*body.splitlines(), b""):
        if not line and data:
            yield b"\n".join(data).strip()
            data = []
        elif line.startswith(b"data:"):
            data.append(line[5:])


def _kind(part: Any) -> Any:
    return part.get("type") if isinstance(part, dict) else None


def _text(value: Any, depth: int = 0) -> str:
    """Return the text of a field: a string, or the strings in parts and lists of them; empty for anything else."""
    if isinstance(value, str):
        return value
    if depth > MAX_DEPTH:
        return ""
    if isinstance(value, list):
        return "".join(_text(part, depth + 1) for part in value)
    if isinstance(value, dict):
        fields = ("text", "thinking", "reasoning", "refusal", "content", "summary")
        return next(filter(None, (_text(value.get(name), depth + 1) for name in fields)), "")
    return ""


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


class _Rendered(msgspec.Struct):
    prompt: str


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]
