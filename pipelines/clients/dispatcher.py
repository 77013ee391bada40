"""Dispatcher for all requests of a run: cache lookup, deduplication of concurrent requests, budget and counts."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from curate.errors import CurateError
from pipelines.clients.budget import Budget, BudgetReached
from pipelines.clients.cache import RequestCache
from pipelines.clients.limits import Hosts
from pipelines.clients.requests import BudgetHold, Reply, ReportLostCost, Request

Send = Callable[[Request, BudgetHold], Awaitable[Reply]]


@dataclass(slots=True)
class Tally:
    """Counts of the requests so far, by outcome."""

    answered: int = 0  # by the model, since this start
    known: int = 0  # from the cache, or duplicates of a request in flight
    failed: int = 0
    unasked: int = 0  # optional requests that the budget did not allow
    tokens: int = 0  # output tokens of `answered`
    started: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """Settled requests, whatever their outcome."""
        return self.answered + self.known + self.failed


class Dispatcher:
    """Cache, budget and counts shared by all models of a run. All methods except `abort` run on the event loop."""

    def __init__(self, cache: RequestCache, budget: Budget, on_settled: Callable[[], None] = lambda: None) -> None:
        self.cache, self.budget = cache, budget
        self.on_settled = on_settled  # called after every settled request
        self.tally = Tally()
        self.hosts = Hosts()  # a judge begins where the models that answered at its host had ended
        self.stopped: BaseException | None = None  # the reason why nothing more is sent
        self.on_abort: list[Callable[[], None]] = []  # callbacks that cancel requests in flight
        self._in_flight: dict[tuple[str, int], asyncio.Future[Reply]] = {}
        self._idle: set[asyncio.Task[Any]] = set()  # tasks of requests that wait for their turn
        for model, (sent, got) in cache.paid().items():
            budget.add(model, sent, got)

    async def ask(
        self, model: str, request: Request, send: Send, heard: Callable[[Reply], Reply] = lambda reply: reply
    ) -> Reply:
        """
        Return the stored reply, else that of an equal request in flight, else a new one, stored on arrival; or the
        reply to the request that follows from it (`Request.then`), and so on. Each is passed through `heard`.
        """
        reply = heard(await self._ask(model, request, send))
        while (following := self.following(request, reply)) is not None:
            request, before = following, reply
            reply = self.counting(request, before, heard(await self._ask(model, request, send)))
        return reply

    def following(self, request: Request, reply: Reply) -> Request | None:
        """Return the request that follows a reply. An error that is raised there stops everything."""
        try:
            following = request.then(reply) if request.then else None
            return following and replace(following, follows=True)
        except CurateError as error:
            self._stop(error)
            raise

    @staticmethod
    def counting(request: Request, before: Reply, reply: Reply) -> Reply:
        """Return the reply that counts, of the one to a request and the one that it followed."""
        return before if request.optional and reply.text is None else reply

    async def _ask(self, model: str, request: Request, send: Send) -> Reply:
        key = (request.key(model), request.max_tokens)
        if (stored := self.stored(model, request)) is not None:
            return stored
        if (equal := self._in_flight.get(key)) is not None:
            reply = await asyncio.shield(equal)
            self._count(known=reply.is_final, failed=not reply.is_final)
            return reply
        self._check()
        future = self._in_flight[key] = asyncio.get_running_loop().create_future()
        try:
            try:
                reply = await self._send(model, request, send)
            except BudgetReached as error:
                if not request.optional:
                    raise
                self.tally.unasked += 1
                reply = Reply(None, error=str(error))
            self.settle(model, request, reply)
            future.set_result(reply)
        except BaseException as error:
            if isinstance(error, CurateError):
                self._stop(error)
            future.set_exception(error)
            future.exception()  # mark as retrieved: there may be no equal request that waits for it
            raise
        finally:
            del self._in_flight[key]
        return reply

    async def _send(self, model: str, request: Request, send: Send) -> Reply:
        task = _this_task()
        self._idle.add(task)
        try:
            return await send(request, partial(self._gate, model))
        except asyncio.CancelledError:
            self._check()  # cancelled because everything stops: raise the reason instead
            raise
        finally:
            self._idle.discard(task)

    def stored(self, model: str, request: Request) -> Reply | None:
        """Return the stored reply, if any, and count it as known."""
        reply = self.cache.get(model, request)
        if reply is not None:
            self._count(known=True)
        return reply

    def abort(self) -> None:
        """Send nothing more and cancel requests in flight, after an interrupt. Callable from any thread."""
        # Not KeyboardInterrupt: raised inside the loop it would end the loop, and all waiting threads would hang.
        self.stopped = self.stopped or asyncio.CancelledError()
        for cancel in self.on_abort:
            cancel()

    def settle(self, model: str, request: Request, reply: Reply) -> None:
        """Store and count a reply, also one that did not come through `ask` (of a model in this process)."""
        if reply.is_final:
            self.cache.put(model, request, reply)
            self.budget.add(model, *self.budget.counted(model, request, reply))
            self.tally.tokens += reply.output_tokens or 0
        elif reply.input_tokens is not None:  # a failure with token counts was paid for
            self._record_lost_cost(model, request, reply.input_tokens, reply.output_tokens)
        self._count(answered=reply.is_final, failed=not reply.is_final)

    def _count(self, *, answered: bool = False, known: bool = False, failed: bool = False) -> None:
        self.tally.answered += answered
        self.tally.known += known
        self.tally.failed += failed
        self.on_settled()

    def _stop(self, error: CurateError) -> None:
        """Stop after a fatal error: requests in flight may finish and are stored; waiting ones are cancelled."""
        if self.stopped is None:
            self.stopped = error
            for task in self._idle - {_this_task()}:
                task.cancel()

    def _check(self) -> None:
        if self.stopped is not None:
            raise self.stopped.with_traceback(None)  # otherwise each raise would extend the same traceback

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
        """Count an attempt that was or may have been paid for and brought no reply; unknown counts at their maximum."""
        max_sent, max_got = self.budget.worst_case(model, request)
        sent, got = max_sent if sent is None else sent, max_got if got is None else got
        self.cache.lose(model, sent, got)
        self.budget.add(model, sent, got)


def heed_interrupts() -> None:
    """
    Let Ctrl-C interrupt waits for other threads. polars installs handlers with SA_RESTART, so an interrupt would only
    be noticed after the wait (pola-rs/polars#21739).
    """
    if hasattr(signal, "siginterrupt"):  # not on Windows
        signal.siginterrupt(signal.SIGINT, True)


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("not inside a task")
    return task
