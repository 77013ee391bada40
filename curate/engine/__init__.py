"""
Where work on blocks runs: `Threads` of this process, or a Ray cluster. Stages get an `Engine` and do not know which.

A task must not rely on anything that its function does not carry: under Ray it runs in another process, perhaps on
another machine. So it reads its rows there, from the run directory, and returns little: sketches, sums, records.
"""

from curate.engine.base import Block, Engine, sliced, starts_of
from curate.engine.threads import THREADS, WORKERS, Threads, ahead

__all__ = ["THREADS", "WORKERS", "Block", "Engine", "Threads", "ahead", "sliced", "starts_of"]


def __dir__() -> list[str]:
    return sorted(__all__)
