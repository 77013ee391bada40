"""Concurrency limit: it finds what an endpoint takes; fewer after a refusal, more again with answers."""

import asyncio
import random
import selectors
import time
from collections.abc import Coroutine
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clients import limits
from pipelines.clients.limits import START, Host, Hosts, Limiter, Round, Slot, backoff, most_at_once


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Make a hung limiter fail instead of hanging the tests."""
    return asyncio.run(asyncio.wait_for(coroutine, 20))


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Its clock jumps to the next timer, so that a test takes no time and does not depend on the machine's load."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(Jump(self))

    def time(self) -> float:
        return self.now


class Jump(selectors.DefaultSelector):  # type: ignore[misc, valid-type, unused-ignore]
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> Any:
        self.loop.now += timeout or 0
        return super().select(0)


def simulated(coroutine: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(asyncio.wait_for(coroutine, 10_000))


@pytest.mark.parametrize(
    ("failures", "least", "most"),
    [(0, 0.25, 0.5), (1, 0.25, 0.5), (2, 0.5, 1), (3, 1, 2), (6, 8, 16), (7, 15, 30), (8, 15, 30), (10_000, 15, 30)],
)
def test_backoff_doubles_up_to_30_seconds(failures: int, least: float, most: float) -> None:
    found = [backoff(failures) for _ in range(200)]
    assert least <= min(found) <= max(found) <= most
    assert len(set(found)) > 100  # jitter


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(most=st.integers(1, 8), seed=st.integers(0, 10_000))
def test_all_get_through_and_never_too_many_at_once(most: int, seed: int) -> None:
    draws = random.Random(seed)

    async def play() -> tuple[int, int, int]:
        limiter, under_way, through = Limiter(most), 0, 0

        async def one() -> None:
            nonlocal under_way, through
            while True:
                async with limiter() as slot:
                    under_way += 1
                    try:
                        assert under_way <= most
                        await asyncio.sleep(draws.choice((0, 0, 0.0005)))
                    finally:
                        under_way -= 1
                    if draws.random() < 0.7:
                        limiter.answered(slot)
                        through += 1
                        return
                limiter.refused(slot.sent, 0.0005)

        tasks = [asyncio.create_task(one()) for _ in range(40)]
        for task in tasks:
            if draws.random() < 0.2:
                await asyncio.sleep(0)
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return under_way, limiter.active, through + sum(task.cancelled() for task in tasks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "FIRST_DELAY", 0.0)  # without waits of half a second
        assert run(play()) == (0, 0, 40)


async def answers(limiter: Limiter, number: int) -> None:
    """Record answers as if all slots were in use."""
    for _ in range(number):
        async with limiter() as slot:
            await asyncio.sleep(1)
            limiter.active = int(limiter.allowed)
            limiter.answered(slot._replace(among=limiter.active))
            limiter.active = 1


def test_answers_double_the_limit_until_the_first_refusal_and_then_raise_it_by_one_a_round() -> None:
    async def play() -> list[float]:
        limiter, seen = Limiter(50), []
        for _ in range(2):
            await answers(limiter, int(limiter.allowed))
            seen.append(limiter.allowed)
        for _ in range(3):
            limiter.refused(asyncio.get_running_loop().time(), 0.6)
            seen.append(round(limiter.allowed, 2))
            await asyncio.sleep(0.001)
        for _ in range(2):
            await answers(limiter, int(limiter.allowed))
            seen.append(round(limiter.allowed, 1))
        await answers(limiter, 3000)
        return [*seen, limiter.allowed]

    assert simulated(play()) == [16, 32, 25.6, 20.48, 16.38, 17.3, 18.3, 50]


def test_without_requests_that_wait_the_limit_stays_as_it_is() -> None:
    async def play() -> float:
        limiter = Limiter()
        for _ in range(100):
            async with limiter() as slot:
                limiter.answered(slot)
        return limiter.allowed

    assert run(play()) == START


def test_refusals_of_concurrent_requests_count_once() -> None:
    async def play() -> tuple[float, float]:
        limiter = Limiter(8)
        sent = asyncio.get_running_loop().time()
        await asyncio.sleep(0.001)
        holds = [limiter.refused(sent, 3) for _ in range(10)]
        return limiter.allowed, max(holds)

    allowed, hold = run(play())
    assert allowed == 6.4
    assert hold == pytest.approx(3, abs=0.1)


def test_without_retry_after_the_wait_grows() -> None:
    async def play() -> list[float]:
        limiter, waits = Limiter(4), []
        for _ in range(6):
            await asyncio.sleep(0.002)
            waits.append(limiter.refused(asyncio.get_running_loop().time(), None))
        return waits

    waits = run(play())
    assert 0.25 <= waits[0] <= 0.5
    assert waits == sorted(waits)
    assert 8 <= waits[-1] <= 16


def test_a_repeated_retry_after_of_0_still_waits() -> None:
    async def play() -> list[float]:
        limiter = Limiter(4)
        return [limiter.refused(asyncio.get_running_loop().time() + n, 0) for n in range(1, 4)]

    assert min(run(play())) >= 0.25


@pytest.mark.slow
def test_nothing_is_sent_during_a_pause_and_within_the_limit_after() -> None:
    async def play() -> tuple[float, int, int]:
        limiter, started, at_once = Limiter(8), time.monotonic(), 0
        times: list[float] = []

        async def one() -> None:
            nonlocal at_once
            async with limiter():
                times.append(time.monotonic() - started)
                at_once = max(at_once, limiter.active)
                await asyncio.sleep(0.01)

        limiter.refused(asyncio.get_running_loop().time(), 0.6)
        tasks = [asyncio.create_task(one()) for _ in range(8)]
        await asyncio.sleep(0.01)
        held = limiter.active  # they hold a slot and wait
        limiter.refused(asyncio.get_running_loop().time(), 0.6)
        await asyncio.gather(*tasks)
        return min(times), held, at_once

    first, held, at_once = run(play())
    assert first >= 0.59
    assert (held, at_once) == (6, 5)


def test_first_come_first_served() -> None:
    async def play() -> list[int]:
        limiter, order = Limiter(1), []

        async def one(number: int) -> None:
            async with limiter():
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(one(number) for number in range(20)))
        return order

    assert run(play()) == list(range(20))


def test_the_slot_of_a_cancelled_task_goes_to_the_next() -> None:
    async def play() -> bool:
        limiter = Limiter(1)
        async with limiter():
            first = asyncio.create_task(limiter._enter())
            second = asyncio.create_task(limiter._enter())
            await asyncio.sleep(0)
        first.cancel()  # the slot has just been given to it
        await asyncio.wait_for(second, 1)
        return limiter.active == 1

    assert run(play())


def test_a_task_cancelled_during_a_pause_frees_its_slot() -> None:
    async def play() -> int:
        limiter = Limiter(1)
        limiter.refused(asyncio.get_running_loop().time(), 60)
        held = asyncio.create_task(limiter._enter())
        await asyncio.sleep(0.01)
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
        return limiter.active

    assert run(play()) == 0


# ---- endpoints that take a number of requests nobody is told ----


class Service:
    """Takes so many requests at once and refuses the others; or lets them wait. Answers take the latencies in turn."""

    def __init__(self, capacity: int, *latencies: float, queues: bool = False) -> None:
        self.capacity, self.latencies, self.queues = capacity, cycle(latencies or (0.004,)), queues
        self.active = self.refused = self.most = 0
        self.turns = asyncio.Semaphore(capacity)

    async def takes(self) -> bool:
        if self.active >= self.capacity and not self.queues:
            self.refused += 1
            await asyncio.sleep(0.0002)
            return False
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            async with self.turns:
                await asyncio.sleep(next(self.latencies))
        finally:
            self.active -= 1
        return True


async def finish(limiter: Limiter, count: int, *services: Service) -> list[int]:
    """Send requests through all services until each is answered; returns the limit after each answer."""
    seen: list[int] = []

    async def one() -> None:
        while True:
            async with limiter() as slot:
                taken = [await service.takes() for service in services]
                if all(taken):
                    limiter.answered(slot)
                    seen.append(int(limiter.allowed))
                    return
            limiter.refused(slot.sent, None)

    await asyncio.gather(*(one() for _ in range(count)))
    return seen


@pytest.mark.parametrize("capacity", [3, 20, 60])
def test_a_capacity_that_nobody_is_told_is_found(capacity: int) -> None:
    async def play() -> tuple[list[int], int]:
        service = Service(capacity)
        seen = await finish(Limiter(200), 20 * capacity + 200, service)
        return seen, service.refused

    seen, refused = simulated(play())
    later = seen[10 * capacity :]
    assert 0.7 * capacity <= sum(later) / len(later) <= capacity + 1
    assert max(later) <= capacity + 1
    assert refused <= len(seen) / (2 * capacity) + 20  # about one a sawtooth, and those of the search


def test_a_given_maximum_is_never_exceeded() -> None:
    async def play() -> tuple[int, int]:
        service = Service(500)
        seen = await finish(Limiter(20), 400, service)
        return service.most, max(seen)

    assert simulated(play()) == (20, 20)


def test_a_server_that_queues_is_not_sent_ever_more() -> None:
    """More than it works on at once would only wait there, up to the timeout."""

    async def play() -> list[int]:
        return await finish(Limiter(1024), 1_200, Service(32, 0.01, queues=True))

    seen = simulated(play())
    assert max(seen) <= 32 * 16  # while it is being found
    assert 20 <= seen[-1] <= 70


def test_a_limit_that_grows_with_the_throughput_goes_on_growing() -> None:
    async def play() -> list[int]:
        return await finish(Limiter(256), 2_000, Service(256, 0.01, queues=True))

    assert max(simulated(play())) == 256


def test_long_answers_among_short_ones_do_not_look_like_a_queue() -> None:
    """The short ones come first, and each round seems slower than the one before, until the first long one ends."""

    async def play() -> int:
        return max(await finish(Limiter(128), 1_000, Service(500, 0.001, 0.06)))

    assert simulated(play()) == 128


def test_two_models_of_one_host_with_different_limits_both_finish() -> None:
    """The host takes 40, of one of the models 5: that one does not slow down the other, and is not starved by it."""

    async def play() -> tuple[list[int], list[int], list[float]]:
        host, whole, own = Host(), Service(40), Service(5)
        times: list[float] = []
        started = asyncio.get_running_loop().time()

        async def timed(count: int, *services: Service) -> list[int]:
            seen = await finish(Limiter(200, host), count, *services)
            times.append(asyncio.get_running_loop().time() - started)
            return seen

        small, large = await asyncio.gather(timed(100, own, whole), timed(1_000, whole))
        return small, large, times

    small, large, times = simulated(play())
    assert (len(small), len(large)) == (100, 1_000)
    assert max(small[50:]) <= 6
    assert sum(large[500:]) / 500 >= 0.6 * 35
    assert times[0] < 2  # 100 requests, 3 to 5 at once, 4 ms each, and the pauses of the search


def test_two_equal_models_share_what_their_host_takes() -> None:
    async def play() -> list[list[int]]:
        host, whole = Host(), Service(40)
        first = asyncio.create_task(finish(Limiter(200, host), 2_500, whole))
        await asyncio.sleep(0.05)  # it has all of the host when the other one begins
        second = await finish(Limiter(200, host), 500, whole)
        return [second, await first]

    second, first = simulated(play())
    assert (len(first), len(second)) == (2_500, 500)
    assert sum(second[250:]) / 250 >= 10  # half of it would be 18


def test_a_model_begins_with_what_its_host_took_before() -> None:
    async def play() -> list[int]:
        hosts, service = Hosts(), Service(30)
        await finish(Limiter(200, hosts.of("http://localhost:8000/v1")), 600, service)
        later = Limiter(200, hosts.of("http://LOCALHOST:8000/v2"))
        other = Limiter(200, hosts.of("http://localhost:8001/v1"))
        limited = Limiter(12, hosts.of("http://localhost:8000/v1"))
        return [(await finish(one, 1, service))[0] for one in (later, other, limited)]

    later, other, limited = simulated(play())
    assert 20 <= later <= 31
    assert (other, limited) == (START, 12)


def test_what_a_host_took_says_nothing_where_the_first_request_is_refused() -> None:
    async def play() -> list[int]:
        host = Host()
        await finish(Limiter(200, host), 800, Service(60))
        return await finish(Limiter(200, host), 60, Service(6))

    assert max(simulated(play())[6:]) <= 8


def test_tasks_that_are_cancelled_leave_no_slot_behind() -> None:
    async def play() -> tuple[int, int]:
        host, service = Host(), Service(10)
        tasks = [asyncio.create_task(finish(Limiter(40, host), 100, service)) for _ in range(2)]
        for task in tasks:
            await asyncio.sleep(0.02)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)
        return host.active, service.active

    assert simulated(play()) == (0, 0)


def test_a_pause_is_short_beside_an_answer() -> None:
    async def play() -> list[float]:
        waits = []
        for latency in (0.1, 1, 60):
            limiter, now = Limiter(), asyncio.get_running_loop().time()
            limiter.answered(Slot(now - latency, 1, Round()))
            waits.append(limiter.refused(now + 1, None))
        return waits

    for wait, most in zip(run(play()), (0.025, 0.25, limits.FIRST_DELAY), strict=True):
        assert most / 2 <= wait <= most + 0.001


def test_answers_to_earlier_requests_do_not_shorten_the_pauses() -> None:
    async def play() -> list[float]:
        limiter, waits = Limiter(), list[float]()
        for _ in range(4):
            await asyncio.sleep(0.002)
            limiter.answered(
                Slot(limiter._last_refusal - 1 if waits else asyncio.get_running_loop().time() - 1, 1, Round())
            )
            waits.append(limiter.refused(asyncio.get_running_loop().time(), None))
        return waits

    waits = run(play())
    assert waits == sorted(waits)
    assert waits[-1] >= 4 * waits[0] / 2


def test_without_a_maximum_connections_leave_files_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    for files, most in [(1024, 256), (20_000, 1024), (16, 8), (resource.RLIM_INFINITY, 1024)]:
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert Limiter().most == most_at_once() == most
