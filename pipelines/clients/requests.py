"""Request and Reply, the two records that all of pipelines exchanges with models."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from typing import Any

Messages = Sequence[Mapping[str, str]]  # [{"role": …, "content": …}, …]


@dataclass(frozen=True, slots=True)
class Request:
    """One request for one answer. `params` are fields of the chat completion (temperature, max_tokens, seed, …)."""

    messages: Messages
    params: Mapping[str, Any] = field(default_factory=dict)
    sample: int = 0  # distinguishes requests that are otherwise equal

    @property
    def max_tokens(self) -> int:
        """Limit on output tokens, by either name of the parameter; 0 = none is set."""
        return int(self.params.get("max_tokens") or self.params.get("max_completion_tokens") or 0)

    def key(self, model: str) -> str:
        """Cache key: a hash of model, messages, parameters and sample. Without the address, so ports may change."""
        plain = json.dumps(
            [model, list(map(dict, self.messages)), dict(self.params), self.sample],
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

    def to_json(self) -> str:
        """Serialize as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


# Returns replies in the order of the requests; failed ones carry their error.
SendRequests = Callable[[Sequence[Request]], list[Reply]]

# Called with the cost of an attempt without a reply: tokens in and out, null = unknown.
ReportLostCost = Callable[[int | None, int | None], None]
# A context in which one request is sent: waits until the budget allows it, or raises when nothing more is sent.
BudgetHold = Callable[[Request], AbstractAsyncContextManager[ReportLostCost]]
