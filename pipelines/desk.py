"""The desk all requests of a run go over: what was answered before is not asked again, what is asked is counted."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from curate.errors import CurateError
from pipelines.budget import Budget
from pipelines.cache import RequestCache
from pipelines.requests import Reply, Request

Send = Callable[[Request, Callable[[Request], AbstractAsyncContextManager[None]]], Awaitable[Reply]]


@dataclass(slots=True)
class Tally:
    """What became of the requests so far."""

    answered: int = 0  # now, by the model
    known: int = 0  # answered before, or asked twice at once
    failed: int = 0
    tokens: int = 0  # out, of the answers that came now
    started: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """Requests that are settled, one way or the other."""
        return self.answered + self.known + self.failed


class Desk:
    """Cache, budget and count, shared by every model of a run. All methods but the constructor run on the loop."""

    def __init__(self, cache: RequestCache, budget: Budget, told: Callable[[], None] = lambda: None) -> None:
        self.cache, self.budget = cache, budget
        self.told = told  # called after every request that is settled
        self.tally = Tally()
        self.stopped: BaseException | None = None  # why nothing more is sent
        self.on_abort: list[Callable[[], None]] = []  # what ends requests that are under way
        self._under_way: dict[str, asyncio.Future[Reply]] = {}
        for model, (_, sent, got) in cache.spent().items():
            budget.add(model, sent, got)

    async def ask(self, model: str, request: Request, send: Send) -> Reply:
        """The stored reply; or the one that is under way; or a new one, stored the moment it is there."""
        if (stored := self.stored(model, request)) is not None:
            return stored
        key = request.key(model)
        if (twin := self._under_way.get(key)) is not None:
            reply = await asyncio.shield(twin)
            self.tally.known += 1
            self.told()
            return reply
        if self.stopped is not None:
            raise self.stopped
        mine = self._under_way[key] = asyncio.get_running_loop().create_future()
        try:
            reply = await send(request, lambda r: self._gate(model, r))
            self._settle(key, model, request, reply)
            mine.set_result(reply)
        except BaseException as error:
            if isinstance(error, CurateError):  # pointless to go on: what is under way ends, nothing new is sent
                self.stopped = self.stopped or error
            mine.set_exception(error)
            mine.exception()  # a twin may wait for it, or nobody
            raise
        finally:
            del self._under_way[key]
        return reply

    def stored(self, model: str, request: Request) -> Reply | None:
        """The reply of an earlier start, counted as known."""
        reply = self.cache.get(request.key(model))
        if reply is not None:
            self.tally.known += 1
            self.told()
        return reply

    def abort(self, error: BaseException) -> None:
        """Send nothing more, and do not wait for what is under way (an interrupt). From any thread."""
        self.stopped = self.stopped or error
        for end in self.on_abort:
            end()

    def settle(self, model: str, request: Request, reply: Reply) -> None:
        """Store and count a reply that came by another way than `ask` (a batch of a model in this process)."""
        self._settle(request.key(model), model, request, reply)

    def _settle(self, key: str, model: str, request: Request, reply: Reply) -> None:
        if reply.error is None:
            self.cache.put(key, model, reply)
            self.tally.answered += 1
            self.tally.tokens += reply.output_tokens or 0
        else:
            self.tally.failed += 1
        if reply.error is None or reply.input_tokens is not None:  # a failure that was counted was paid for, too
            self.budget.add_reply(model, request, reply)
        self.told()

    def _gate(self, model: str, request: Request) -> AbstractAsyncContextManager[None]:
        if self.stopped is not None:
            raise self.stopped
        return self.budget.hold(model, request)
