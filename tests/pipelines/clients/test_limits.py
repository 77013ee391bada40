"""Concurrency limit: never more than allowed, fewer after a refusal, more again with answers."""

import asyncio
import random
import time
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clients import limits
from pipelines.clients.limits import Limiter, backoff


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Make a hung limiter fail instead of hanging the tests."""
    return asyncio.run(asyncio.wait_for(coroutine, 20))


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
                async with limiter() as sent:
                    under_way += 1
                    try:
                        assert under_way <= most
                        await asyncio.sleep(draws.choice((0, 0, 0.0005)))
                    finally:
                        under_way -= 1
                    if draws.random() < 0.7:
                        limiter.answered()
                        through += 1
                        return
                limiter.refused(sent, 0.0005)

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


def test_a_refusal_halves_the_limit_and_answers_raise_it() -> None:
    async def play() -> list[float]:
        limiter, seen = Limiter(16), []
        for _ in range(3):
            limiter.refused(asyncio.get_running_loop().time(), 0.6)
            seen.append(limiter.allowed)
            await asyncio.sleep(0.001)
        for _ in range(2):  # from 2 to 3 in two answers, to 4 in three more
            limiter.answered()
        seen.append(round(limiter.allowed, 3))
        for _ in range(200):
            limiter.answered()
        return [*seen, limiter.allowed]

    assert run(play()) == [8, 4, 2, 2.9, 16]


def test_refusals_of_concurrent_requests_count_once() -> None:
    async def play() -> tuple[float, float]:
        limiter = Limiter(16)
        sent = asyncio.get_running_loop().time()
        await asyncio.sleep(0.001)
        holds = [limiter.refused(sent, 3) for _ in range(10)]
        return limiter.allowed, max(holds)

    allowed, hold = run(play())
    assert allowed == 8
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
    assert (held, at_once) == (4, 2)


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
