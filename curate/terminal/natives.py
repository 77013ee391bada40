"""Standard error for Python alone: what native libraries write there, past Python, is left out."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without_natives() -> Iterator[None]:
    """
    Leave out what is written to file descriptor 2 directly while the block runs, also by processes started in it.

    Python's own stream goes on writing to where the descriptor led. Does nothing where that stream is no file (in a
    notebook or a test).
    """
    buffer = getattr(sys.__stderr__, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # the same with `python -u`
    if not isinstance(raw, io.FileIO) or raw.closed or raw.fileno() != 2:
        yield
        return
    assert sys.__stderr__ is not None  # noqa: S101 - it has a buffer
    sys.__stderr__.flush()
    ours, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    raw.__init__(ours, "wb", closefd=False)  # type: ignore[misc] # the same object, which others hold
    try:
        yield
    finally:
        sys.__stderr__.flush()
        os.dup2(ours, 2)
        raw.__init__(2, "wb", closefd=False)  # type: ignore[misc]
        os.close(ours)
