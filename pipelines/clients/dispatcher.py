"""The desk all requests of a run go over: what was answered before is not asked again, what is asked is counted."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from curate.errors import CurateError
from pipelines.clients.budget import Budget
from pipelines.clients.cache import RequestCache
from pipelines.clients.requests import BudgetHold, Reply, ReportLostCost, Request

Send = Callable[[Request, BudgetHold], Awaitable[Reply]]


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


class Dispatcher:
    """Cache, budget and count, shared by every model of a run. All methods but the constructor run on the loop."""

    def __init__(self, cache: RequestCache, budget: Budget, on_settled: Callable[[], None] = lambda: None) -> None:
        self.cache, self.budget = cache, budget
        self.on_settled = on_settled  # called after every request that is settled
        self.tally = Tally()
        self.stopped: BaseException | None = None  # why nothing more is sent
        self.on_abort: list[Callable[[], None]] = []  # what ends requests that are under way
        self._under_way: dict[str, asyncio.Future[Reply]] = {}
        self._idle: set[asyncio.Task[Any]] = set()  # of these, those that wait for their turn and are not sent
        for model, (sent, got) in cache.paid().items():
            budget.add(model, sent, got)

    async def ask(self, model: str, request: Request, send: Send) -> Reply:
        """The stored reply; or the one that is under way; or a new one, stored the moment it is there."""
        key = request.key(model)
        if (stored := self._stored(key)) is not None:
            return stored
        if (twin := self._under_way.get(key)) is not None:
            reply = await asyncio.shield(twin)
            self._count(known=reply.error is None, failed=reply.error is not None)
            return reply
        self._check()
        mine = self._under_way[key] = asyncio.get_running_loop().create_future()
        try:
            reply = await self._send(model, request, send)
            self._settle(key, model, request, reply)
            mine.set_result(reply)
        except BaseException as error:
            if isinstance(error, CurateError):
                self._stop(error)
            mine.set_exception(error)
            mine.exception()  # a twin may wait for it, or nobody
            raise
        finally:
            del self._under_way[key]
        return reply

    async def _send(self, model: str, request: Request, send: Send) -> Reply:
        task = _this_task()
        self._idle.add(task)
        try:
            return await send(request, partial(self._gate, model))
        except asyncio.CancelledError:
            self._check()  # it was cancelled because all are to stop: that is what there is to say
            raise
        finally:
            self._idle.discard(task)

    def stored(self, model: str, request: Request) -> Reply | None:
        """The reply of an earlier start, counted as known."""
        return self._stored(request.key(model))

    def _stored(self, key: str) -> Reply | None:
        reply = self.cache.get(key)
        if reply is not None:
            self._count(known=True)
        return reply

    def abort(self) -> None:
        """Send nothing more, and do not wait for what is under way (an interrupt). From any thread."""
        # Not the interrupt itself: raised in a loop it would end the loop, and leave everybody waiting.
        self.stopped = self.stopped or asyncio.CancelledError()
        for end in self.on_abort:
            end()

    def settle(self, model: str, request: Request, reply: Reply) -> None:
        """Store and count a reply that came by another way than `ask` (a batch of a model in this process)."""
        self._settle(request.key(model), model, request, reply)

    def _settle(self, key: str, model: str, request: Request, reply: Reply) -> None:
        if reply.error is None:
            self.cache.put(key, model, reply)
            self.budget.add(model, *self.budget.counted(model, request, reply))
            self.tally.tokens += reply.output_tokens or 0
        elif reply.input_tokens is not None:  # a failure that was counted was paid for, too
            self._record_lost_cost(model, request, reply.input_tokens, reply.output_tokens)
        self._count(answered=reply.error is None, failed=reply.error is not None)

    def _count(self, *, answered: bool = False, known: bool = False, failed: bool = False) -> None:
        self.tally.answered += answered
        self.tally.known += known
        self.tally.failed += failed
        self.on_settled()

    def _stop(self, error: CurateError) -> None:
        """Pointless to go on: what was sent may come to its end, and is kept; what waits for its turn does not wait."""
        if self.stopped is None:
            self.stopped = error
            for task in self._idle - {_this_task()}:
                task.cancel()

    def _check(self) -> None:
        if self.stopped is not None:
            raise self.stopped.with_traceback(None)  # or it would grow with everyone who raises it

    @asynccontextmanager
    async def _gate(self, model: str, request: Request) -> AsyncIterator[ReportLostCost]:
        self._check()
        task = _this_task()
        async with self.budget.hold(model, request):
            self._idle.discard(task)
            try:
                yield partial(self._record_lost_cost, model, request)
            except asyncio.CancelledError:
                self._record_lost_cost(model, request, None, None)
                raise
        self._idle.add(task)

    def _record_lost_cost(self, model: str, request: Request, sent: int | None, got: int | None) -> None:
        """Count what was paid for, or may have been, and brought no reply. What is not known counts at its dearest."""
        most_sent, most_got = self.budget.worst_case(model, request)
        sent, got = most_sent if sent is None else sent, most_got if got is None else got
        self.cache.lose(model, sent, got)
        self.budget.add(model, sent, got)


def heed_interrupts() -> None:
    """
    Let Ctrl-C wake who waits for other threads. polars has signals restart what they interrupt, so that nobody would
    learn of it before the wait is over (pola-rs/polars#21739).
    """
    if hasattr(signal, "siginterrupt"):  # not on Windows
        signal.siginterrupt(signal.SIGINT, True)


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("outside a task")
    return task
