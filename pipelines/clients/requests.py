"""What is asked of a model and what comes back: the two records that everything in pipelines speaks."""

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
    sample: int = 0  # tells apart requests that are the same otherwise

    @property
    def max_tokens(self) -> int:
        """How long the answer may be, by either name; 0 = nothing is said."""
        return int(self.params.get("max_tokens") or self.params.get("max_completion_tokens") or 0)

    def key(self, model: str) -> str:
        """What the reply is stored under: model, messages, parameters and sample. No address, so ports may change."""
        plain = json.dumps(
            [model, list(map(dict, self.messages)), dict(self.params), self.sample],
            sort_keys=True,
            ensure_ascii=True,
        )
        return hashlib.sha256(plain.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `text` is null exactly when `error` says why there is none."""

    text: str | None
    finish_reason: str | None = None  # stop, length, …; null = not said
    input_tokens: int | None = None  # null = the endpoint did not count
    output_tokens: int | None = None
    error: str | None = None

    def to_json(self) -> str:
        """As it is stored."""
        return json.dumps(asdict(self), ensure_ascii=False)


# Replies in the order of the requests; failed ones are in it with their error.
SendRequests = Callable[[Sequence[Request]], list[Reply]]

# Told what a try cost that brought no reply: tokens in and out, null = not known.
ReportLostCost = Callable[[int | None, int | None], None]
# What a request is sent in: waits until it may be, or raises where nothing is sent any more.
BudgetHold = Callable[[Request], AbstractAsyncContextManager[ReportLostCost]]
