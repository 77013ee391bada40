"""
Where work on blocks runs: `Threads` of this process, or a Ray cluster. Stages get an `Engine` and do not know which.

A task must not rely on anything that its function does not carry: under Ray it runs in another process, perhaps on
another machine. So it reads its rows there, from the run directory, and returns little: sketches, sums, records.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from curate.engine.base import Block, Engine, sliced, starts_of
from curate.engine.threads import THREADS, WORKERS, Threads, ahead

__all__ = ["THREADS", "WORKERS", "Block", "Engine", "Threads", "ahead", "opened", "sliced", "starts_of"]


@contextmanager
def opened(use: str, *, address: str | None, workers: int | None, shared: Path) -> Iterator[Engine]:
    """Open the engine of a recipe; `shared` is a file of the run directory, which every node of a cluster must see."""
    if use == "threads":
        yield Threads(workers) if workers else THREADS
        return
    from curate.engine.cluster import connected

    with connected(address, workers, shared) as engine:
        yield engine


def __dir__() -> list[str]:
    return sorted(__all__)
