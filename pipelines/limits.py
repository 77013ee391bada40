"""How many requests are under way at once: as many as allowed, fewer while the endpoint says that it is too many."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds before the second try, and before any later one at most
SETTLE = 1.0  # seconds in which several refusals count as one: they were sent before the first was known


def backoff(tries: int, first: float = FIRST_DELAY) -> float:
    """Seconds before the next try, doubled each time, with jitter so that the requests do not come back in step."""
    longest = min(LONGEST_DELAY, first * 2.0 ** min(tries, 20))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret


class Limiter:
    """
    A gate for one endpoint. A refusal (429) halves what it lets through and holds everything back for as long as the
    endpoint asks; every round of answers lets one more through, up to `most`.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.allowed = float(most)
        self.active = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._held_until = 0.0
        self._last_refusal = float("-inf")

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        """Wait for a place, and give it back at the end."""
        await self._enter()
        try:
            yield
        finally:
            self.active -= 1
            self._wake()

    def answered(self) -> None:
        """An answer came: a round of them raises the limit by one."""
        self.allowed = min(self.most, self.allowed + 1 / self.allowed)

    def refused(self, wait: float) -> None:
        """The endpoint said 429, and how many seconds to wait."""
        now = asyncio.get_running_loop().time()
        if now - self._last_refusal > SETTLE:
            self.allowed = max(1.0, self.allowed / 2)
            self._last_refusal = now
        self._held_until = max(self._held_until, now + wait)

    async def _enter(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self.active >= int(self.allowed):
                turn = loop.create_future()
                self._waiting.append(turn)
                try:
                    await turn
                except asyncio.CancelledError:
                    self._wake()  # the turn may have been given already: hand it on
                    raise
            elif (hold := self._held_until - loop.time()) > 0:
                await asyncio.sleep(hold)
            else:
                self.active += 1
                return

    def _wake(self) -> None:
        free = int(self.allowed) - self.active
        while free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1
