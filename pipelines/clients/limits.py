"""How many requests are under way at once: as many as allowed, fewer while the endpoint says that it is too many."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds before the second try, and before any later one at most


def backoff(failures: int, first: float = FIRST_DELAY) -> float:
    """Seconds before the next try, doubled with each failure, with jitter so that requests do not come back in step."""
    longest = min(LONGEST_DELAY, first * 2.0 ** min(max(failures - 1, 0), 20))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret


class Limiter:
    """
    A gate for one endpoint, first come, first served. A refusal (429) halves what it lets through and holds everything
    back for as long as the endpoint asks, or ever longer while it does not say; every round of answers lets one more
    through, up to `most`.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.allowed = float(most)
        self.active = 0  # places taken
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._held_until = 0.0
        self._last_refusal = float("-inf")
        self._in_row = 0  # rounds of refusals since the last answer

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[float]:
        """Wait for a place, and give it back at the end; yields the loop's time at which it was there."""
        await self._enter()
        try:
            yield asyncio.get_running_loop().time()
        finally:
            self._leave()

    def answered(self) -> None:
        """An answer came: a round of them raises the limit by one."""
        self._in_row = 0
        self.allowed = min(self.most, self.allowed + 1 / self.allowed)

    def refused(self, sent: float, asked: float | None) -> float:
        """
        The endpoint said 429 to what was sent then, and perhaps how many seconds to wait. Returns for how long nothing
        is sent. Several refusals count as one when they were sent before the first of them was known.
        """
        now = asyncio.get_running_loop().time()
        hold = asked or 0.0
        if sent > self._last_refusal:
            self.allowed = max(1.0, self.allowed / 2)
            self._last_refusal = now
            self._in_row += 1
            if hold < FIRST_DELAY:  # it does not say, or says "at once" and goes on refusing
                hold = max(hold, backoff(self._in_row))
        self._held_until = max(self._held_until, now + hold)
        return self._held_until - now

    async def _enter(self) -> None:
        loop = asyncio.get_running_loop()
        await self._place(first=False)
        while (hold := self._held_until - loop.time()) > 0:
            try:
                await asyncio.sleep(hold)
            except asyncio.CancelledError:
                self._leave()
                raise
            if self.active > int(self.allowed):  # fewer are allowed than when the place was given
                self._leave()
                await self._place(first=True)

    async def _place(self, *, first: bool) -> None:
        if self.active < int(self.allowed) and (first or not self._waiting):
            self.active += 1
            return
        turn = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)(turn)
        try:
            await turn  # whoever sets its result has taken the place for us
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
