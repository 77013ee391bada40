"""Request and Reply, the two records that all of pipelines exchanges with models."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

Messages = Sequence[Mapping[str, str]]  # [{"role": …, "content": …}, …], with the optional fields that each has


ROOM = ("max_tokens", "max_completion_tokens")  # the two names of the limit on output tokens
# Fields of a request for the log-probs of its own messages, which vLLM and servers like it understand.
OF_PROMPT = {"prompt_logprobs": 0, "continue_final_message": True, "add_generation_prompt": False}
OF_ANSWER = {"logprobs": True, "top_logprobs": 1}  # for those of the answer; they change nothing about it


@dataclass(frozen=True, slots=True)
class Request:
    """One request for one answer. `params` are fields of the chat completion (temperature, max_tokens, seed, …)."""

    messages: Messages
    params: Mapping[str, Any] = field(default_factory=dict)
    sample: int = 0  # distinguishes requests that are otherwise equal
    # What follows a reply: another request, whose reply counts instead; None ends it. Called in the client's thread.
    then: "Callable[[Reply], Request | None] | None" = field(default=None, compare=False, repr=False)
    # Whether a stored reply will do; else it is asked for again.
    accepts: "Callable[[Reply], bool] | None" = field(default=None, compare=False, repr=False)
    optional: bool = field(default=False, compare=False)  # the reply before it stands where it brings none
    follows: bool = field(default=False, compare=False)  # it follows from a reply, and goes before those that wait
    skip: int = field(default=0, compare=False)  # tokens of the messages that do not count in `Reply.logp_per_token`

    def __post_init__(self) -> None:
        # From a frame, messages have all optional fields; nulls among them would be sent, and change the cache key.
        plain = [{name: value for name, value in turn.items() if value is not None} for turn in self.messages]
        object.__setattr__(self, "messages", plain)

    @property
    def max_tokens(self) -> int:
        """Limit on output tokens, by either name of the parameter; 0 = none is set."""
        return int(next(filter(None, map(self.params.get, ROOM)), 0))

    def with_room(self, max_tokens: int) -> "Request":
        """Return the same request with another limit on output tokens, as an optional one that nothing follows."""
        name = next((name for name in ROOM if self.params.get(name)), ROOM[0])
        return replace(self, params={**self.params, name: max_tokens}, then=None, optional=True)

    def key(self, model: str) -> str:
        """
        Cache key: a hash of model, messages, parameters and sample. Without the address, so ports may change, and
        without what leaves the answer as it is: whether log-probs are reported, and the limit on output tokens (an
        answer that ended by itself is the same under a larger one).
        """
        params = {name: value for name, value in self.params.items() if name not in (*ROOM, *OF_ANSWER)}
        plain = json.dumps(
            [model, self.messages, params, self.sample],
            sort_keys=True,
            ensure_ascii=True,
        )
        return hashlib.sha256(plain.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply. `text` is null exactly when `error` is set."""

    text: str | None
    finish_reason: str | None = None  # stop, length, …; null = not reported
    input_tokens: int | None = None  # null = the endpoint did not count
    output_tokens: int | None = None
    error: str | None = None
    reasoning: str | None = None  # what the model thought before it answered, where the endpoint tells it apart
    # Mean log-prob of the answer's tokens, or of the request's own where it asked for those; null = not reported.
    logp_per_token: float | None = None

    @property
    def is_final(self) -> bool:
        """Whether the model had its say: with a text, or without one for a reason that asking again does not change."""
        return self.error is None or self.finish_reason is not None

    def holds_for(self, max_tokens: int, given: int) -> bool:
        """Whether this reply, which had `given` tokens of room, would be the same with `max_tokens`; 0 = no limit."""
        if given == max_tokens:
            return True
        length = self.output_tokens or given
        return self.finish_reason != "length" and (not max_tokens or 0 < length <= max_tokens)

    def to_json(self) -> str:
        """Serialize as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


# Returns replies in the order of the requests; failed ones carry their error.
SendRequests = Callable[[Sequence[Request]], list[Reply]]

# Called with the cost of an attempt without a reply: tokens in and out, null = unknown.
ReportLostCost = Callable[[int | None, int | None], None]
# A context in which one request is sent: waits until the budget allows it, or raises when nothing more is sent.
BudgetHold = Callable[[Request], AbstractAsyncContextManager[ReportLostCost]]
