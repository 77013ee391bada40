"""
Seconds for 2,000 prompts x 4 against a local endpoint that takes a number of requests at once that nobody is told.

    python -m tests.benchmarks.concurrency --capacity 96 --delay 0.2

Requests beyond the capacity get a 429 at once; the others take between half and one and a half times the delay. The
client is the real one, with the limit that it finds by itself, and with fixed limits: 32 (the default of earlier
versions) and the best one, found by search. The search uses fewer prompts; the best, its neighbours and the capacity
itself are then timed with all of them. A fixed limit pauses after a 429 as earlier versions did, and is not lowered.
The capacity must be one at which the endpoint and not the client limits the speed: generate.py shows how many answers
per second the client alone takes.
"""

import argparse
import os
import platform
import time
from typing import NamedTuple
from unittest import mock

from pipelines.clients import endpoint, limits
from pipelines.clients.budget import Budget
from pipelines.clients.cache import RequestCache
from pipelines.clients.connect import open_models
from pipelines.clients.dispatcher import Dispatcher
from pipelines.clients.requests import Request
from tests.benchmarks.endpoint import counts, running

OLD_DEFAULT, SAMPLES = 32, 4
POWERS = (8, 16, 32, 64, 128, 256, 512)


class Run(NamedTuple):
    """One way to send all requests."""

    name: str
    seconds: float
    requests: int
    refused: int
    failed: int

    def __str__(self) -> str:
        rate = self.requests / self.seconds
        return f"| {self.name} | {self.seconds:.1f} | {rate:,.0f} | {self.refused:,} | {self.failed:,} |"


class FixedLimiter(limits.Limiter):
    """A limit that stays what it is; a 429 pauses all requests."""

    def __init__(self, most: int | None = None, host: limits.Host | None = None) -> None:
        super().__init__(most, host)
        self._started = True
        self.allowed = float(self.most)

    def answered(self, slot: limits.Slot) -> None:
        self._refusal_rounds = 0  # the next pause is short again

    def _decrease(self) -> None:
        pass

    def _first_pause(self) -> float:
        return limits.FIRST_DELAY


def timed(root: str, prompts: int, fixed: int | None = None) -> Run:
    """Send all requests with a fixed limit or, without one, with the default settings of a model."""
    from curate.recipe.models import Model

    model = Model(model="openai:m", base_url=f"{root}/v1", concurrency=fixed)
    asked = [
        Request([{"role": "user", "content": f"Question {n}?"}], {"max_tokens": 64, "seed": sample}, sample)
        for n in range(prompts)
        for sample in range(SAMPLES)
    ]
    counts(root)
    limiter = FixedLimiter if fixed else limits.Limiter
    with (
        mock.patch.object(endpoint, "Limiter", limiter),
        RequestCache(":memory:") as cache,
        open_models([model], Dispatcher(cache, Budget(None, [model]))) as clients,
    ):
        started = time.perf_counter()
        replies = clients[model.model](asked)
        seconds = time.perf_counter() - started
    failed = sum(reply.error is not None for reply in replies)
    name = f"fixed {fixed}" if fixed else "found by trying"
    run = Run(name, seconds, len(asked), counts(root).refused, failed)
    print(run, flush=True)
    return run


def searched(root: str, prompts: int) -> int:
    """Return the fixed limit that is fastest with some prompts: powers of two, then ever closer to the best."""
    seconds = {limit: timed(root, prompts, limit).seconds for limit in POWERS}
    best = min(seconds, key=lambda limit: seconds[limit])
    step = best // 4
    while step >= 4:
        for limit in (best - step, best + step):
            if limit not in seconds:
                seconds[limit] = timed(root, prompts, limit).seconds
        best = min(seconds, key=lambda limit: seconds[limit])
        step //= 2
    return best


def main() -> None:
    """Print seconds of each way, and the ratios to the best fixed limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--search", type=int, default=300, help="prompts with which fixed limits are searched")
    parser.add_argument("--repeat", type=int, default=3, help="runs with the limit that is found by trying")
    parser.add_argument("--capacity", type=int, default=96, help="requests that the endpoint takes at once")
    parser.add_argument("--delay", type=float, default=0.2, help="seconds an answer takes, on average")
    parser.add_argument("--port", type=int, default=18198)
    options = parser.parse_args()
    head = "| limit | seconds | requests/s | 429s | failed |\n|---|--:|--:|--:|--:|"
    print(f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}, capacity {options.capacity}")
    with running(options.port, options.capacity, options.delay) as root:
        print(f"\nSearch, with {options.search:,} prompts x {SAMPLES}:\n\n{head}")
        best = searched(root, options.search)
        print(f"\nWith {options.prompts:,} prompts x {SAMPLES}:\n\n{head}")
        ours = [timed(root, options.prompts) for _ in range(options.repeat)]
        limits_near = sorted({best - 4, best, best + 4, options.capacity})
        others = [timed(root, options.prompts, limit) for limit in limits_near]
        old = timed(root, options.prompts, OLD_DEFAULT)
    least = min(others, key=lambda run: run.seconds)
    worst = max(ours, key=lambda run: run.seconds)
    print(f"\nThe best fixed limit is {least.name.removeprefix('fixed ')}.")
    tried, before = worst.seconds / least.seconds, old.seconds / least.seconds
    print(f"Times as long: found by trying {tried:.2f} (slowest of {options.repeat} runs), {old.name} {before:.2f}.")


if __name__ == "__main__":
    main()
