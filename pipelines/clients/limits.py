"""Adaptive concurrency limit and backoff: fewer requests at once while an endpoint answers 429."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds before the second attempt, and the most before any later one


def backoff(failures: int, first: float = FIRST_DELAY) -> float:
    """Return seconds before the next attempt: doubled per failure, with jitter so that requests do not synchronize."""
    longest = min(LONGEST_DELAY, first * 2.0 ** min(max(failures - 1, 0), 20))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret


class Limiter:
    """
    Concurrency limit for one endpoint, first in, first out.

    A 429 halves the limit and pauses all requests for as long as the endpoint asks, or with exponential backoff where
    it names no time. Each round of answers raises the limit by one, up to `most`.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.allowed = float(most)
        self.active = 0  # slots in use
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._paused_until = 0.0
        self._last_refusal = float("-inf")
        self._refusal_rounds = 0  # rounds of refusals since the last answer

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[float]:
        """Hold a slot while the block runs; yields the loop's time at which it was acquired."""
        await self._enter()
        try:
            yield asyncio.get_running_loop().time()
        finally:
            self._leave()

    def answered(self) -> None:
        """Record an answer; a round of them raises the limit by one."""
        self._refusal_rounds = 0
        self.allowed = min(self.most, self.allowed + 1 / self.allowed)

    def refused(self, sent: float, asked: float | None) -> float:
        """
        Record a 429 for a request sent at `sent`; `asked` is the Retry-After in seconds, if any. Returns the pause in
        seconds. Refusals of requests that were sent before the first of them was known count as one.
        """
        now = asyncio.get_running_loop().time()
        pause = asked or 0.0
        if sent > self._last_refusal:
            self.allowed = max(1.0, self.allowed / 2)
            self._last_refusal = now
            self._refusal_rounds += 1
            if pause < FIRST_DELAY:  # no time given, or "at once" although it keeps refusing
                pause = max(pause, backoff(self._refusal_rounds))
        self._paused_until = max(self._paused_until, now + pause)
        return self._paused_until - now

    async def _enter(self) -> None:
        loop = asyncio.get_running_loop()
        await self._acquire(first=False)
        while (pause := self._paused_until - loop.time()) > 0:
            try:
                await asyncio.sleep(pause)
            except asyncio.CancelledError:
                self._leave()
                raise
            if self.active > int(self.allowed):  # the limit fell since the slot was acquired
                self._leave()
                await self._acquire(first=True)

    async def _acquire(self, *, first: bool) -> None:
        if self.active < int(self.allowed) and (first or not self._waiting):
            self.active += 1
            return
        turn = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)(turn)
        try:
            await turn  # the task that sets the result has already counted the slot
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        self.active -= 1
        while self._waiting and self.active < int(self.allowed):
            turn = self._waiting.popleft()
            if not turn.done():
                self.active += 1
                turn.set_result(None)
