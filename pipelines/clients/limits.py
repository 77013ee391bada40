"""How many requests an endpoint is sent at once: found by trying, and backoff while it answers 429."""

import asyncio
import math
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from curate.recipe.endpoint import origin

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds before the second attempt, and the most before any later one
SHORTEST_PAUSE = 0.01  # seconds, after a 429 of an endpoint that answers at once
PAUSE_SHARE = 0.25  # of an answer's latency that the first pause takes: as long as the surplus needs to be answered
START = 8  # requests at once before anything is known
MOST = 1024  # requests at once where the recipe names no maximum
DECREASE = 0.8  # of the limit remain after a 429, so that the average is nine tenths of what the endpoint takes
GAIN = 1.1  # answers per second, at least, for a doubling of the requests at once
STRIDE = 4  # times the number of requests of which it is known that they pay: the most that is tried
HOLD = 10  # rounds without growth after a growth that brought nothing
SMALLEST_ROUND = 8  # answers from which a mean is taken, at least


def backoff(failures: int, first: float = FIRST_DELAY) -> float:
    """Return seconds before the next attempt: doubled per failure, with jitter so that requests do not synchronize."""
    longest = min(LONGEST_DELAY, first * 2.0 ** min(max(failures - 1, 0), 20))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret


def most_at_once() -> int:
    """Return the maximum where none is given: each request has a connection, which is a file to the system."""
    try:
        import resource
    except ImportError:  # on Windows
        return MOST
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if files == resource.RLIM_INFINITY else max(START, min(MOST, files // 4))


@dataclass(slots=True)
class Round:
    """
    The requests that are sent while those of the round before are being answered.

    It says something when all of them have ended: before that only the quick answers are known, and an endpoint would
    seem to become slower and slower.
    """

    sent: int = 0
    ended: int = 0  # in any way
    answers: int = 0
    latency: float = 0.0  # of all answers together
    among: int = 0

    def add(self, slot: "Slot", now: float) -> None:
        """Count an answer."""
        self.answers += 1
        self.latency += max(now - slot.sent, 1e-9)
        self.among += slot.among

    @property
    def level(self) -> float:
        """Requests in flight, on average."""
        return self.among / self.answers if self.answers else 0.0

    @property
    def throughput(self) -> float:
        """Answers per second: requests in flight by latency (Little's law), whatever pauses and gaps there were."""
        return self.among / self.latency

    def pays(self, before: "Round") -> bool:
        """Return whether the endpoint answered more per second than in an earlier round with fewer requests."""
        doublings = math.log2(self.level / before.level)
        return self.throughput >= before.throughput * math.pow(GAIN, doublings)


class Slot(NamedTuple):
    """A request that may be sent."""

    sent: float  # by the loop's clock
    among: int  # requests of its limiter in flight, this one included
    round: Round


class Host:
    """What is known of one host: how many requests, of all its models together, it was seen to take."""

    def __init__(self) -> None:
        self.limiters: list[Limiter] = []
        self.taken = 0.0

    @property
    def active(self) -> int:
        """Requests in flight, of all models."""
        return sum(limiter.active for limiter in self.limiters)

    @property
    def free(self) -> int:
        """How many more it is known to take."""
        return int(self.taken) - self.active

    def answered(self) -> None:
        """Record an answer."""
        self.taken = max(self.taken, self.active)

    def refused(self) -> None:
        """Record a 429. If the limit is the model's own, answers to the others raise the number again."""
        self.taken = min(self.taken, self.active) * DECREASE


class Hosts:
    """The hosts of a run, by scheme, name and port."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str | None, int | None], Host] = {}

    def of(self, address: str) -> Host:
        """Return what is known of an address's host. Raises RecipeError for a broken address."""
        return self._known.setdefault(origin(address), Host())


class Limiter:
    """
    Concurrency limit for one model at one endpoint, first in, first out: it finds how many requests the endpoint takes.

    It starts low and grows by one per answer (a doubling per round of answers) up to the first 429; from then on by one
    per round, and a 429 takes a fifth of it. It grows only while requests wait for it, and never beyond `most`. A 429
    also pauses all requests: for as long as the endpoint asks, or else shortly, and exponentially longer while nothing
    new is answered. An endpoint that queues instead of refusing shows in the answers per second: if a doubled limit
    brings less than a tenth more of them, the limit falls back, since requests would only age in the queue.

    Every model has a limiter of its own, since one cannot see whether the host refuses or the model: a model with
    a low limit of its own must not slow down the others of its host. Where the host is what refuses, all of them are
    refused, the largest most often; thus they share what it takes, as connections share a line. What is shared is where
    to begin: a model of a host that is known starts with what the host took before and is free now.
    """

    def __init__(self, most: int | None = None, host: Host | None = None) -> None:
        self.most = most or most_at_once()
        self.allowed = float(min(self.most, START))
        self.active = 0  # slots in use, also during a pause
        self._host = host or Host()
        self._host.limiters.append(self)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._paused_until = 0.0
        self._last_refusal = float("-inf")
        self._refusal_rounds = 0  # rounds of refusals since the last answer to a request sent after them
        self._started = self._was_answered = False
        self._doubling = True
        self._hold = 0  # rounds until it may grow again
        self._round, self._before = Round(), Round()
        self._paid: Round | None = None  # the last round in which growth had paid, or a later one with fewer requests
        self._latency: float | None = None

    @asynccontextmanager
    async def __call__(self, *, first: bool = False) -> AsyncIterator[Slot]:
        """Hold a slot while the block runs; `first`: before those that wait."""
        await self._enter(first=first)
        slot = Slot(asyncio.get_running_loop().time(), self.active, self._round)
        slot.round.sent += 1
        try:
            yield slot
        finally:
            slot.round.ended += 1
            if self._before.ended >= self._before.sent and self._round.sent >= max(SMALLEST_ROUND, self.active):
                self._end_round()
            self._leave()

    def answered(self, slot: Slot) -> None:
        """Record an answer, while its slot is held."""
        now = asyncio.get_running_loop().time()
        self._was_answered = True
        self._host.answered()
        if slot.sent > self._last_refusal:  # an earlier one says nothing about the limit since then
            self._refusal_rounds = 0
            self._grow()
        slot.round.add(slot, now)
        if self._latency is None:
            self._latency = now - slot.sent

    def refused(self, sent: float, asked: float | None) -> float:
        """
        Record a 429 for a request sent at `sent`; `asked` is the Retry-After in seconds, if any. Returns the pause in
        seconds. Refusals of requests that were sent before the first of them was known count as one.
        """
        now = asyncio.get_running_loop().time()
        pause = asked or 0.0
        if sent > self._last_refusal:
            self._decrease()
            self._last_refusal = now
            self._refusal_rounds += 1
            if pause < (first := self._first_pause()):  # no time given, or "at once" although it keeps refusing
                pause = max(pause, backoff(self._refusal_rounds, first))
        self._paused_until = max(self._paused_until, now + pause)
        return self._paused_until - now

    def _grow(self) -> None:
        if not self._hold and (self._waiting or self.active >= int(self.allowed)):
            most = min(self.most, STRIDE * max(START, self._paid.level if self._paid else 0))
            grown = self.allowed + (1 if self._doubling else 1 / self.allowed)
            self.allowed = max(self.allowed, min(most, grown))

    def _decrease(self) -> None:
        self._host.refused()
        if self.allowed > START and not self._was_answered:
            self.allowed = float(START)  # what the host took of others says nothing about this model
        else:
            self.allowed = max(1.0, self.allowed * DECREASE)
            self._doubling = False

    def _first_pause(self) -> float:
        if self._latency is None:
            return FIRST_DELAY
        return min(FIRST_DELAY, max(SHORTEST_PAUSE, self._latency * PAUSE_SHARE))

    def _end_round(self) -> None:
        """Begin another round, and stop growing if the one that has been answered shows that it no longer pays."""
        done, before = self._before, self._paid
        self._before, self._round = self._round, Round()
        if done.answers < SMALLEST_ROUND:
            return
        self._latency = done.latency / done.answers
        self._hold = max(0, self._hold - 1)
        if before is None or done.level <= before.level:
            self._paid = done
        elif done.level >= 2 * before.level:  # a smaller step would be lost in the noise
            if done.pays(before):
                self._paid = done
            else:
                self.allowed = max(1.0, min(self.allowed, before.level))
                self._doubling, self._hold = False, HOLD

    async def _enter(self, *, first: bool = False) -> None:
        loop = asyncio.get_running_loop()
        if not self._started:
            self._started = True
            self.allowed = float(min(self.most, max(self.allowed, self._host.free)))
        await self._acquire(first=first)
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
