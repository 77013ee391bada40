"""The engine of one machine: threads. polars, numpy and most other libraries here work outside Python's lock."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import islice
from typing import cast

import numpy as np

from curate.engine.base import Item, Result

WORKERS = max(1, min(os.cpu_count() or 1, 8))  # polars' own threads come on top


class Threads:
    """Runs functions in threads; a result waits for those before it."""

    def __init__(self, workers: int = WORKERS) -> None:
        self._workers = workers

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield `function(item)` for every item, in order."""
        if isinstance(items, Sequence) and len(items) <= 1:  # as for most frames of a notebook
            yield from map(function, items)
            return
        _keep_freed_memory()
        todo = iter(items)
        pool = ThreadPoolExecutor(self._workers)
        running: deque[Future[Result]] = deque()
        try:
            for item in islice(todo, self._workers + 1):
                running.append(pool.submit(function, item))
            while running:
                result = running.popleft().result()
                for item in islice(todo, 1):
                    running.append(pool.submit(function, item))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt does not wait for queued items


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items; each is made in another thread while the one before it is used."""
    todo, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, todo, end)
        while (item := waiting.result()) is not end:
            waiting = pool.submit(next, todo, end)
            yield cast(Item, item)


@cache
def _keep_freed_memory() -> None:
    """
    Make the C library keep freed memory for the next block: returning and requesting it takes a third of the time.

    glibc keeps up to twice the size of a block once a block of this size was freed; other libraries are not affected.
    """
    np.empty(31 << 20, np.uint8)


THREADS = Threads()
